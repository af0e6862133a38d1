"""The printed form of a jaxpr: readable, typed, and read back by `functrax.core.parse`.

A short program is one line, a longer one has a line per equation::

    let @inner = { lambda ; a:f32[3]. let b:f32[3] = neg a in (b,) } in
    { lambda a:f32[3]; b:f32[3]. let
        c:f32[3] = mul b 2.0:f32[]
        d:f32[3] = jit[name=inner jaxpr=@inner] c
        e:f32[3] = jit[name=inner jaxpr=@inner] a
        f:f32[] = reduce_sum[axes=(0,)] d
      in (f, e) }

Constants stand before the semicolon and arguments behind it. Every variable is followed by its
type where it is defined, every literal where it stands; names count from ``a`` in each program, and
``_`` is a result that nobody uses. A program that several equations hold is printed once, in front.
"""

import enum
import functools
from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any, NamedTuple

import numpy as np

from functrax.core import dtypes
from functrax.core.jaxpr import Atom, ClosedJaxpr, Equation, Jaxpr, Var, install_printer
from functrax.core.params import fields_of, programs_in
from functrax.core.types import Literal, ShapedArray

#: The version of the printed form. The parser reads this one and older ones.
IR_VERSION = 1
HEADER = "# functrax ir "

WIDTH = 80

#: Words of the printed form that therefore name no variable and, as strings, stand in quotes.
KEYWORDS = frozenset(("let", "in", "lambda", "inf", "nan", "True", "False", "None"))

#: The dtypes that parameters name, by name.
DTYPES: dict[str, np.dtype[Any]] = {
    "float0": dtypes.float0,
    **{dtype.name: dtype for dtype in dtypes.NUMBERS},
}

Names = dict[Var, str]


def show(jaxpr: Jaxpr | ClosedJaxpr, *, source: bool = False, header: bool = False) -> str:
    """Print a program.

    Args:
        jaxpr: the program. The values of a closed one's constants are not printed.
        source: whether to write ``file:line (function)`` behind each equation.
        header: whether to begin with a line that says which version of the printed form this is.

    Returns:
        The text, without a newline at its end.

    Example:
        >>> import functrax
        >>> from functrax.primitives.elementwise import mul, sin
        >>> jaxpr = functrax.make_jaxpr(lambda x: mul(sin(x), x))(1.0)
        >>> print(show(jaxpr, header=True))
        # functrax ir 1
        { lambda ; a:~f32[]. let
            b:~f32[] = sin a
            c:~f32[] = mul b a
          in (c,) }
    """
    if isinstance(jaxpr, ClosedJaxpr):
        jaxpr = jaxpr.jaxpr
    printer = _Printer(source)
    if header:
        printer.lines.append(f"{HEADER}{IR_VERSION}")
    for inner, name in shared_programs(jaxpr).items():
        printer.program(inner, 0, f"let {name} = ", " in")
        printer.shared[inner] = name
    printer.program(jaxpr, 0, "", "")
    return "\n".join(printer.lines)


def show_equation(jaxpr: Jaxpr, eqn: Equation) -> str:
    """Print one equation of a program on one line, its inner programs as their names.

    Args:
        jaxpr: the program.
        eqn: one of its equations.

    Returns:
        The text, with the names that the printed program has.
    """
    printer = _Printer(False)
    for value in eqn.params.values():
        printer.shared.update((j, f"@{_identifier(j.name)}") for j in programs_in(value))
    return printer.one_line(eqn, name_variables(jaxpr))


install_printer(show)


# Names --------------------------------------------------------------------------------------------


def letters(number: int) -> str:
    """Return the name of the variable of a number: a, b, ..., z, ba, bb, ...

    Example:
        >>> letters(0), letters(25), letters(26), letters(26 * 26)
        ('a', 'z', 'ba', 'baa')
    """
    name = ""
    while True:
        number, digit = divmod(number, 26)
        name = chr(ord("a") + digit) + name
        if not number:
            return name


def name_variables(jaxpr: Jaxpr) -> Names:
    """Return the names of a program's variables, in the order of their definitions.

    A result that is not used is named ``_``.
    """
    used = {v for eqn in jaxpr.eqns for v in eqn.invars if isinstance(v, Var)}
    used.update(v for v in jaxpr.outvars if isinstance(v, Var))
    free = (name for name in map(letters, count()) if name not in KEYWORDS)
    names: Names = {var: next(free) for var in (*jaxpr.constvars, *jaxpr.invars)}
    for eqn in jaxpr.eqns:
        for var in eqn.outvars:
            names[var] = next(free) if var in used else "_"
    return names


def shared_programs(jaxpr: Jaxpr) -> dict[Jaxpr, str]:
    """Return the programs that are held more than once, inner ones first, with unique names."""
    seen: dict[Jaxpr, int] = {}
    finished: list[Jaxpr] = []

    def visit(program: Jaxpr) -> None:
        for eqn in program.eqns:
            for value in eqn.params.values():
                for inner in programs_in(value):
                    seen[inner] = seen.get(inner, 0) + 1
                    if seen[inner] == 1:
                        visit(inner)
                        finished.append(inner)

    visit(jaxpr)
    names: dict[str, Jaxpr] = {}
    for inner in finished:
        if seen[inner] > 1:
            names[_unused(_identifier(inner.name), names)] = inner
    return {inner: "@" + name for name, inner in names.items()}


def _identifier(name: str) -> str:
    """Make a name of letters, digits and ``_``: ``<lambda>`` becomes ``lambda``."""
    kept = "".join(c if c.isalnum() or c == "_" else " " for c in name)
    return "_".join(kept.split()) or "program"


def _unused(name: str, taken: dict[str, Any]) -> str:
    if name not in taken:
        return name
    return next(new for new in (f"{name}_{i}" for i in count(1)) if new not in taken)


# Values -------------------------------------------------------------------------------------------


def format_literal(literal: Literal) -> str:
    """Print a literal so that the same number of the same type is read back.

    Example:
        >>> format_literal(Literal(2, ShapedArray((), np.dtype("float32"))))
        '2.0:f32[]'
    """
    return f"{_number(literal.value, literal.aval.dtype)}:{literal.aval!r}"


def _number(value: Any, dtype: Any) -> str:
    if dtypes.is_complex(dtype):
        value = complex(value)
        return f"({value.real!r}{'' if repr(value.imag)[0] == '-' else '+'}{value.imag!r}j)"
    if dtypes.is_floating(dtype):
        return repr(float(value))
    return repr(int(value)) if dtypes.is_integer(dtype) else repr(bool(value))


def format_string(text: str) -> str:
    """Print a word as it is, and any other string in quotes.

    Example:
        >>> format_string("inner"), format_string("<lambda>"), format_string("let")
        ('inner', "'<lambda>'", "'let'")
    """
    plain = text.isidentifier() and text.isascii() and text not in KEYWORDS and text not in DTYPES
    return text if plain else repr(text)


def _format_plain(value: Any) -> str | None:
    """Print a value without parts, or return None if it has some."""
    if value is None or isinstance(value, bool | np.bool_):
        return str(value)
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, str):
        return format_string(value)
    if isinstance(value, int | np.integer):
        return repr(int(value))
    if isinstance(value, float | np.floating):
        return repr(float(value))
    if isinstance(value, complex | np.complexfloating):
        return f"complex({float(value.real)!r}, {float(value.imag)!r})"
    if isinstance(value, np.dtype):
        return "float0" if value == dtypes.float0 else value.name
    return repr(value) if isinstance(value, ShapedArray | dtypes.KeyType) else None


class _Parts(NamedTuple):
    """How a tuple or record opens, and its parts with what stands before each."""

    opening: str
    items: list[tuple[str, Any]]


def _parts(value: Any) -> _Parts | None:
    """Split a tuple, set or record into its parts, or return None if the value is none of these."""
    fields = fields_of(value)
    if fields is not None:
        return _Parts(f"{type(value).__name__}(", [(f"{name}=", part) for name, part in fields])
    if isinstance(value, frozenset):
        return _Parts("frozenset(", [("", tuple(sorted(value, key=repr)))])
    return _Parts("(", [("", part) for part in value]) if isinstance(value, tuple) else None


def _format_opaque(value: Any) -> str:
    """Print what stands for a Python object that cannot be read back."""
    while isinstance(value, functools.partial):
        value = value.func
    if isinstance(value, type):
        return f"<class {value.__name__}>"
    if getattr(value, "prints_in_programs", False):
        return f"<{value!r}>"
    name = getattr(value, "__name__", None)
    return f"<function {name}>" if name else f"<{type(value).__name__}>"


# Lines --------------------------------------------------------------------------------------------


class _Printer:
    """Writes programs as lines.

    Attributes:
        lines: what is written so far.
        shared: the names of the programs that are printed elsewhere.
        source: whether equations are followed by their ``file:line``.
    """

    def __init__(self, source: bool) -> None:
        self.lines: list[str] = []
        self.shared: dict[Jaxpr, str] = {}
        self.source = source

    def program(self, jaxpr: Jaxpr, indent: int, prefix: str, suffix: str) -> None:
        """Write a program; a prefix starts its first line and a suffix ends its last."""
        names = name_variables(jaxpr)
        margin = " " * indent
        line = self._short_program(jaxpr, names)
        if line is not None and len(margin + prefix + line + suffix) <= WIDTH:
            self.lines.append(margin + prefix + line + suffix)
            return
        start, end = _signature(jaxpr, names), _outputs(jaxpr, names)
        self._fill([f"{margin}{prefix}{{ lambda", *start, "let"], indent + 6)
        for eqn in jaxpr.eqns:
            self.equation(eqn, names, indent + 4)
        self._fill([f"{margin}  in", *end, "}" + suffix], indent + 6)

    def _short_program(self, jaxpr: Jaxpr, names: Names) -> str | None:
        """Return a program of at most one equation as one line, if nothing in it needs another."""
        if len(jaxpr.eqns) > 1 or any(map(self._needs_lines, jaxpr.eqns)):
            return None
        body = [self.one_line(eqn, names) for eqn in jaxpr.eqns]
        start, end = _signature(jaxpr, names), _outputs(jaxpr, names)
        return " ".join(["{ lambda", *start, "let", *body, "in", *end, "}"])

    def _needs_lines(self, eqn: Equation) -> bool:
        commented = self.source and eqn.source is not None
        return commented or any(map(self._has_inner, eqn.params.values()))

    def _has_inner(self, value: Any) -> bool:
        """Tell whether a parameter holds programs that are not printed elsewhere."""
        return any(inner not in self.shared for inner in programs_in(value))

    def equation(self, eqn: Equation, names: Names, indent: int) -> None:
        """Write an equation: on one line if it fits, else with a line per parameter."""
        inner = any(map(self._has_inner, eqn.params.values()))
        line = "" if inner else " " * indent + self.one_line(eqn, names)
        if line and len(line) <= WIDTH:
            self.lines.append(line)
        else:
            self._long_equation(eqn, names, indent)
        if self.source and eqn.source is not None:
            scope = f" in {eqn.source.scope}" if eqn.source.scope else ""
            self.lines[-1] += f"  # {eqn.source} ({eqn.source.function}){scope}"

    def one_line(self, eqn: Equation, names: Names) -> str:
        """Return an equation on one line."""
        params = [f"{key}={self._value(value)}" for key, value in _ordered(eqn.params)]
        operation = format_string(eqn.primitive.name) + (f"[{' '.join(params)}]" if params else "")
        return " ".join([*_results(eqn, names), "=", operation, *_operands(eqn, names)])

    def _long_equation(self, eqn: Equation, names: Names, indent: int) -> None:
        margin = " " * indent
        first, *results = _results(eqn, names)
        words = [margin + first, *results, "=", format_string(eqn.primitive.name)]
        if eqn.params:
            words[-1] += "["
            self._fill(words, indent + 4)
            for key, value in _ordered(eqn.params):
                self._param(value, indent + 2, f"{key}=", "")
            words = [margin + "]"]
        self._fill([*words, *_operands(eqn, names)], indent + 4)

    def _param(self, value: Any, indent: int, prefix: str, suffix: str) -> None:
        """Write a parameter or a part of one, on lines of its own."""
        margin = " " * indent
        has_inner = self._has_inner(value)
        line = "" if has_inner else f"{margin}{prefix}{self._value(value)}{suffix}"
        parts = _parts(value)
        if line and (len(line) <= WIDTH or parts is None or parts.opening == "("):
            self.lines.append(line)
        elif parts is None:
            self.program(value, indent, prefix, suffix)
        else:
            self.lines.append(f"{margin}{prefix}{parts.opening}")
            for name, item in parts.items:
                self._param(item, indent + 2, name, ",")
            self.lines.append(f"{margin}){suffix}")

    def _value(self, value: Any) -> str:
        """Return a parameter or a part of one on one line."""
        text = _format_plain(value)
        if text is not None:
            return text
        if isinstance(value, Jaxpr):
            return self.shared[value]
        parts = _parts(value)
        if parts is None:
            return _format_opaque(value)
        comma = "," if parts.opening == "(" and len(parts.items) == 1 else ""
        items = ", ".join(name + self._value(item) for name, item in parts.items)
        return f"{parts.opening}{items}{comma})"

    def _fill(self, words: Iterable[str], indent: int) -> None:
        self.lines.extend(fill(words, indent))


def _atom(v: Atom, names: Names) -> str:
    """Print an operand; one that the program does not define, with a question mark."""
    if isinstance(v, Literal):
        return format_literal(v)
    return names.get(v) or f"?:{v.aval!r}"


def _ordered(params: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return parameters with those that hold programs last."""
    return sorted(params.items(), key=lambda item: any(True for _ in programs_in(item[1])))


def _binders(variables: Sequence[Var], names: Names) -> list[str]:
    return [f"{names[var]}:{var.aval!r}" for var in variables]


def _results(eqn: Equation, names: Names) -> list[str]:
    return _binders(eqn.outvars, names) or ["()"]


def _operands(eqn: Equation, names: Names) -> list[str]:
    return [_atom(v, names) for v in eqn.invars]


def _signature(jaxpr: Jaxpr, names: Names) -> list[str]:
    """Return the words between ``lambda`` and ``let``: ``a:f32[3];``, ``b:f32[].``."""
    constants = _binders(jaxpr.constvars, names)
    arguments = _binders(jaxpr.invars, names)
    return f"{' '.join(constants)}; {' '.join(arguments)}.".split(" ")


def _outputs(jaxpr: Jaxpr, names: Names) -> list[str]:
    """Return the words of the tuple of results: ``(a,``, ``b)``."""
    outs = [_atom(v, names) for v in jaxpr.outvars]
    return f"({', '.join(outs)}{',' if len(outs) == 1 else ''})".split(" ")


def fill(words: Iterable[str], indent: int) -> list[str]:
    """Join words to lines of at most `WIDTH` columns; lines after the first are indented.

    Example:
        >>> fill(["ab"] * 30, 4)[1]
        '    ab ab ab'
    """
    lines: list[str] = []
    line = ""
    for word in words:
        if line and len(line) + 1 + len(word) > WIDTH:
            lines.append(line)
            line = " " * indent + word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]
