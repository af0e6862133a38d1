"""Keeping jaxlib from importing `jax`."""

import sys
import threading
from types import TracebackType


class _Guard(threading.local):
    depth = 0


_guard = _Guard()


class _JaxFinder:
    """Says that there is no `jax` while this thread is inside `no_jax`; finds nothing.

    It is no `importlib.abc.MetaPathFinder`, whose module takes 20 ms to import.
    """

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Refuse jaxlib's own imports of jax; leave those that the user means to others."""
        if fullname == "jax" and _guard.depth:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)


sys.meta_path.insert(0, _JaxFinder())  # asked only for what is not in sys.modules yet


class no_jax:  # noqa: N801  (a context manager, used like a function)
    """Keep jaxlib from importing `jax`: inside, this thread cannot.

    Some of jaxlib's readback functions import `jax` to find its Python sharding classes, and fall
    back to the C++ ones when that fails, as it does for users who do not have it.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        """Start refusing."""
        _guard.depth += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop refusing."""
        _guard.depth -= 1
