"""Read programs that `functrax.core.show` printed, or that somebody wrote in the same form.

The grammar, where ``*`` repeats and ``?`` may be absent; ``# comments`` go to the end of the line::

    text      = ("let" "@"NAME "=" program "in")* program
    program   = "{" "lambda" binder* ";" binder* "." "let" equation* "in" "(" atoms ")" "}"
    equation  = ("()" | binder*) "=" NAME ("[" (NAME "=" value)* "]")? atom*
    binder    = NAME ":" type
    atom      = NAME | NUMBER ":" type
    type      = "~"? DTYPE "[" sizes "]" ("{" axis names "}")?
    value     = NUMBER | True | False | None | STRING | word | dtype | type | "(" values ")"
              | NAME "(" (NAME "=")? value, ... ")" | NAME "." MEMBER | program | "@"NAME

A program that is read is checked like one that was traced, so it runs, or there is a clear error.
"""

import ast
import difflib
import enum
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar, overload

from functrax.core import dtypes
from functrax.core.check import check_jaxpr
from functrax.core.jaxpr import Atom, ClosedJaxpr, Equation, Jaxpr, Var
from functrax.core.params import param_types
from functrax.core.primitive import Primitive, registry
from functrax.core.show import DTYPES, HEADER, IR_VERSION, KEYWORDS
from functrax.core.types import NO_AXES, Literal, ShapedArray
from functrax.errors import JaxprError

T = TypeVar("T")

_FLOAT = r"(?:\d+(?:\.\d*)?(?:e[-+]?\d+)?|inf\b|nan\b)"
_TOKENS = re.compile(
    rf"""
      (?P<space>   (?:\s+|\#[^\n]*)+ )
    | (?P<string>  '(?:[^'\\\n]|\\.)*' | "(?:[^"\\\n]|\\.)*" )
    | (?P<complex> \([-+]?{_FLOAT}[-+]{_FLOAT}j\) )
    | (?P<type>    ~?[A-Za-z]\w*(?:<\w+>)?\[[\d,]*\](?:\{{[^{{}}\n]*\}})? )
    | (?P<key>     key<\w+> )
    | (?P<number>  [-+]?{_FLOAT} )
    | (?P<program> @\w+ )
    | (?P<name>    [^\W\d]\w* )
    | (?P<mark>    [][{{}}();.,:=] )
    | (?P<opaque>  <[^\n]*?>+ )
    | (?P<other>   . )
    """,
    re.VERBOSE,
)
_TYPE = re.compile(r"(~?)([^[]+)\[([\d,]*)\](?:\{(.*)\})?")
_INTEGER = re.compile(r"[-+]?\d+")

_short_dtypes: dict[str, Any] = {dtypes.short_name(dtype): dtype for dtype in DTYPES.values()}
_constants: dict[str, Any] = {"True": True, "False": False, "None": None}


class Token(NamedTuple):
    """A word of the text: its kind (a group of the pattern), what it says, and where it starts."""

    kind: str
    text: str
    start: int


@overload
def parse(text: str) -> Jaxpr: ...
@overload
def parse(text: str, consts: Sequence[Any]) -> ClosedJaxpr: ...
def parse(text: str, consts: Sequence[Any] | None = None) -> Jaxpr | ClosedJaxpr:
    """Read a printed program.

    Args:
        text: what `show`, or `repr` of a jaxpr, returned. Equations have no source lines afterwards.
        consts: the values of the constants, which stand before the semicolon, as arrays.

    Returns:
        The program; with `consts`, closed over them.

    Raises:
        JaxprError: if the text is malformed, with line and column; if the program is ill-typed; if it
            holds a Python object, as calls of functions with custom rules do.

    Example:
        >>> import functrax
        >>> from functrax.core.jaxpr import eval_jaxpr
        >>> jaxpr = parse("{ lambda ; a:f32[]. let b:f32[] = mul a 2.0:f32[] in (b,) }")
        >>> eval_jaxpr(jaxpr, (), functrax.numpy.float32(3.0))
        [Array(6., dtype=float32)]
    """
    parser = _Parser(text)
    try:
        jaxpr = parser.text_of_programs()
    except RecursionError:
        raise JaxprError("parse", "less deep nesting", f"nesting {parser.here()}") from None
    if consts is None:
        check_jaxpr(jaxpr)
        return jaxpr
    closed = ClosedJaxpr(jaxpr, consts)
    check_jaxpr(closed)
    return closed


class _Parser:
    """A recursive-descent parser: one method per rule of the grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.check_version()
        self.tokens = [
            Token(m.lastgroup or "", m.group(), m.start())
            for m in _TOKENS.finditer(text)
            if m.lastgroup != "space"
        ]
        self.tokens.append(Token("end", "the end of the text", len(text)))
        self.next = 0
        self.programs: dict[str, Jaxpr] = {}

    def check_version(self) -> None:
        """Refuse the text of a functrax that is newer."""
        found = re.match(re.escape(HEADER) + r"(\d+)", self.text.lstrip())
        if found and int(found[1]) > IR_VERSION:
            expected = f"version {IR_VERSION} of the printed form, or an older one"
            fix = "Read it with the functrax that printed it, or a newer one."
            raise JaxprError("parse", expected, f"version {found[1]}", fix=fix)

    # Tokens

    @property
    def token(self) -> Token:
        """The token that is read next."""
        return self.tokens[self.next]

    def take(self) -> Token:
        """Read a token."""
        token = self.token
        self.next += 1
        return token

    def at(self, *texts: str, ahead: int = 0) -> bool:
        """Tell whether the next tokens are these words or marks."""
        window = self.tokens[self.next + ahead : self.next + ahead + len(texts)]
        return [t.text for t in window if t.kind in ("mark", "name")] == list(texts)

    def skip(self, text: str) -> bool:
        """Read a word or mark if it is next, and tell whether it was."""
        found = self.at(text)
        self.next += found
        return found

    def expect(self, *texts: str) -> None:
        """Read words or marks that must be next."""
        for text in texts:
            if not self.skip(text):
                self.fail(repr(text))

    def name(self, expected: str) -> Token:
        """Read a name that is no keyword."""
        if self.token.kind != "name" or self.token.text in KEYWORDS:
            self.fail(expected)
        return self.take()

    def here(self, token: Token | None = None) -> str:
        """Say where a token is."""
        start = (token or self.token).start
        line_start = self.text.rfind("\n", 0, start) + 1
        line = self.text.count("\n", 0, start) + 1
        return f"at line {line}, column {start - line_start + 1}"

    def fail(self, expected: str, token: Token | None = None, fix: str | None = None) -> NoReturn:
        """Raise for what stands at a token."""
        token = token or self.token
        got = token.text if token.kind == "end" else repr(token.text)
        raise JaxprError("parse", expected, f"{got} {self.here(token)}", fix=fix)

    # Programs

    def text_of_programs(self) -> Jaxpr:
        """Read the definitions and the program behind them."""
        while self.skip("let"):
            token = self.take()
            if token.kind != "program" or token.text in self.programs:
                self.fail("a new name for a program, such as '@inner'", token)
            self.expect("=")
            self.programs[token.text] = self.program(token.text[1:])
            self.expect("in")
        jaxpr = self.program("")
        if self.token.kind != "end":
            self.fail("the end of the text")
        return jaxpr

    def program(self, name: str) -> Jaxpr:
        """Read ``{ lambda consts; arguments. let equations in (results) }``."""
        variables: dict[str, Var] = {}
        self.expect("{", "lambda")
        constvars = self.binders(variables, ";")
        invars = self.binders(variables, ".")
        self.expect("let")
        eqns: list[Equation] = []
        while not self.at("in"):
            eqns.append(self.equation(variables))
        self.expect("in", "(")
        outvars = self.items(lambda: self.atom(variables))
        self.expect("}")
        return Jaxpr(constvars, invars, outvars, eqns, name)

    def binders(self, variables: dict[str, Var], end: str) -> list[Var]:
        """Read ``a:f32[] b:f32[]`` up to a mark."""
        found: list[Var] = []
        while not self.skip(end):
            name = self.name(f"a variable or {end!r}")
            if name.text in variables:
                self.fail("a new variable", name)
            self.expect(":")
            var = Var(self.type())
            found.append(var)
            if name.text != "_":
                variables[name.text] = var
        return found

    def equation(self, variables: dict[str, Var]) -> Equation:
        """Read ``results = primitive[params] operands``."""
        if self.at("("):
            self.expect("(", ")", "=")
            defined: dict[str, Var] = {}
            outvars: list[Var] = []
        else:
            defined = dict.fromkeys(variables)  # type: ignore[arg-type]
            outvars = self.binders(defined, "=")
        primitive = self.primitive()
        params = self.params() if self.skip("[") else {}
        invars: list[Atom] = []
        while self.starts_atom():
            invars.append(self.atom(variables))
        variables.update((k, v) for k, v in defined.items() if v is not None)
        return Equation(primitive, invars, outvars, params, None)
