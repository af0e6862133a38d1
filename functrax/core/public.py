"""What public packages show of themselves to `dir`, and so to the completion of editors."""

import sys
from collections.abc import Callable
from types import ModuleType


def directory(package: str) -> Callable[[], list[str]]:
    """Return the ``__dir__`` of a package that only re-exports: the names it is there for.

    These are all but the files that the package is made of. A file that has a ``__dir__`` is public
    itself; a single public file has ``__all__``, and returns that.

    Args:
        package: its ``__name__``.

    Returns:
        A function without arguments, to be assigned to ``__dir__`` in the package.

    Example:
        >>> dir(functrax.nn)[:4]
        ['celu', 'dot_product_attention', 'elu', 'gelu']
    """

    def names() -> list[str]:
        found = vars(sys.modules[package]).items()
        return [name for name, value in found if not name.startswith("_") and not _is_part(value)]

    def _is_part(value: object) -> bool:
        return (
            isinstance(value, ModuleType)
            and value.__name__.startswith(package + ".")
            and "__dir__" not in vars(value)
        )

    return names
