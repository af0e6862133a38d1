"""Where in the user's code an equation came from, taken cheaply and decoded only when printed.

Taking a location costs a walk of a few frames and one tuple; no traceback object is made. The line
number is decoded from ``(code, lasti)`` when somebody asks.
"""

import os
import sys
from types import CodeType
from typing import NamedTuple

from functrax.errors import is_internal_file


class Source(NamedTuple):
    """The innermost user frame at the time an equation was written, and the ``named_scope`` around
    it.
    """

    code: CodeType
    lasti: int
    scope: str

    @property
    def filename(self) -> str:
        """The path of the user's file."""
        return self.code.co_filename

    @property
    def line(self) -> int:
        """The line number, from 1."""
        return self.position()[0]

    @property
    def column(self) -> int:
        """The column, from 0."""
        return self.position()[1]

    @property
    def function(self) -> str:
        """The qualified name of the user's function."""
        return self.code.co_qualname

    def position(self) -> tuple[int, int]:
        """Return line and column, decoded from the code object's table."""
        line, _, column, _ = _positions(self.code)[self.lasti // 2]
        return line or self.code.co_firstlineno, column or 0

    def __str__(self) -> str:
        """Print as ``train.py:41``."""
        return f"{os.path.basename(self.filename)}:{self.line}"


class Derived(Source):
    """The location of an equation that a transform derived from the user's: the linear part of a
    program, which may compute again what the program has computed.
    """

    __slots__ = ()


_Position = tuple[int | None, int | None, int | None, int | None]
_tables: dict[int, tuple[CodeType, list[_Position]]] = {}
"""Decoded tables by the id of the code object, which is kept alive: a long function has many
equations, and hashing a code object itself takes time in proportion to its length."""


def _positions(code: CodeType) -> list[_Position]:
    found = _tables.get(id(code))
    if found is None:
        if len(_tables) >= 64:
            _tables.clear()
        found = _tables[id(code)] = code, list(code.co_positions())
    return found[1]


_internal: dict[str, bool] = {}


def is_internal(code: CodeType) -> bool:
    """Tell whether a code object is functrax's own (cached)."""
    name = code.co_filename
    known = _internal.get(name)
    if known is None:
        known = _internal[name] = is_internal_file(name)
    return known


def current_source(scope: str, depth: int = 2) -> Source | None:
    """Return the innermost user frame, starting `depth` frames up, or None if there is none."""
    frame = sys._getframe(depth)  # pyright: ignore[reportPrivateUsage]
    internal = _internal
    while frame is not None:
        code = frame.f_code
        known = internal.get(code.co_filename)
        if known is None:
            known = is_internal(code)
        if not known:
            return Source(code, frame.f_lasti, scope)
        frame = frame.f_back
    return None


_transposed_scopes: dict[str, str] = {}


def transposed(source: Source | None) -> Source | None:
    """Return the location for what an equation becomes in the backward pass: its own line, in the
    scope ``transpose(scope)``.
    """
    if source is None:
        return None
    code, lasti, scope = source
    found = _transposed_scopes.get(scope)
    if found is None:
        if len(_transposed_scopes) >= 4096:
            _transposed_scopes.clear()
        found = _transposed_scopes[scope] = f"transpose({scope})"
    # `tuple.__new__`: the constructor of a NamedTuple is a Python function.
    return tuple.__new__(type(source), (code, lasti, found))


def is_backward(source: Source | None) -> bool:
    """Tell whether an equation belongs to the backward pass."""
    return source is not None and source.scope.startswith("transpose(")
