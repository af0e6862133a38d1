"""Print the table primitive x rule: ``python -m functrax.primitives [--missing]``.

A cell says where the rule is, as file:line in functrax/primitives or under functrax, or by what
name it is refused on purpose. A rule that a family makes from a row of its table is where the row
is. ``--missing`` prints only the cells that are empty, and fails if there are any.
"""

import argparse
import functools
import importlib
import os
import pkgutil
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from functrax import primitives, transforms
from functrax.core.primitive import Primitive, Refusal, registry

RULES = ("abstract_eval", "jvp", "transpose", "batch", "lower")
#: Only primitives that hold programs have this rule; the others are known or unknown as a whole.
OPTIONAL = "partial"

_HOME = os.path.dirname(os.path.abspath(primitives.__file__))
_SHARED = os.path.join(_HOME, "rules.py")


def load_all() -> None:
    """Import every family, so that all primitives are registered."""
    for package in (primitives, transforms):
        for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)


def cell(primitive: Primitive, rule: str) -> str:
    """Return where a rule of a primitive is, the name it is refused by, or ``-`` if there is none.

    Example:
        >>> from functrax.primitives.elementwise import exp_p
        >>> cell(exp_p, "transpose"), cell(exp_p, "partial")
        ('not linear', '-')
    """
    found = getattr(primitive, rule)
    if found is None:
        return "-"
    return found.name if isinstance(found, Refusal) else _short(_place(found) or primitive.declared)


def _place(rule: Any) -> str | None:
    """Return the line of a rule's function, or None if that is one which many families share."""
    while isinstance(rule, functools.partial):
        rule = rule.func
    code = getattr(rule, "__code__", None)
    if code is None or code.co_filename == _SHARED:
        return None
    return f"{code.co_filename}:{code.co_firstlineno}"


def _short(place: str) -> str:
    """Return a place in functrax without the folder, and others as they are."""
    if os.path.dirname(place) == _HOME:
        return os.path.basename(place)
    return place.removeprefix(os.path.dirname(_HOME) + os.sep)


def missing() -> Iterator[str]:
    """Yield ``primitive.rule`` for each empty cell: neither a rule nor a refusal."""
    for name, primitive in sorted(registry.items()):
        for rule in RULES:
            found = getattr(primitive, rule)
            if not callable(found) and not isinstance(found, Refusal):
                yield f"{name}.{rule}"


def table() -> list[str]:
    """Return the lines of the table."""
    header = ("primitive", *(rule.removesuffix("_eval") for rule in (*RULES, OPTIONAL)))
    rows = [
        (name, *(cell(primitive, rule) for rule in (*RULES, OPTIONAL)))
        for name, primitive in sorted(registry.items())
    ]
    return aligned([header, *rows])


def aligned(rows: Iterable[Sequence[str]]) -> list[str]:
    """Pad the cells of each column to one width.

    Example:
        >>> aligned([("a", "bc"), ("def", "g")])
        ['a    bc', 'def  g']
    """
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = (zip(row, widths, strict=True) for row in rows)
    return ["  ".join(text.ljust(width) for text, width in row).rstrip() for row in padded]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or the empty cells, and return the exit status."""
    parser = argparse.ArgumentParser("python -m functrax.primitives", description=__doc__)
    parser.add_argument("--missing", action="store_true", help="print only the empty cells")
    only_missing = parser.parse_args(arguments).missing
    load_all()
    empty = list(missing())
    for line in empty if only_missing else table():
        print(line)
    return int(only_missing and bool(empty))


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a traceback
    sys.exit(main())
