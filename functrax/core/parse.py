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
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar, overload

from functrax.core import dtypes
from functrax.core.check import check_read
from functrax.core.jaxpr import Atom, ClosedJaxpr, Equation, Jaxpr, Var, check_equation_types
from functrax.core.params import param_types
from functrax.core.primitive import Primitive, registry
from functrax.core.show import DTYPES, HEADER, IR_VERSION, KEYWORDS
from functrax.core.signature import check_signature, signature_of
from functrax.core.types import NO_AXES, Literal, ShapedArray, exact
from functrax.errors import ArgumentError, FunctraxError, JaxprError, type_name

T = TypeVar("T")

_FLOAT = r"(?:\d+(?:\.\d*)?(?:e[-+]?\d+)?|inf|nan)"
_TOKENS = re.compile(
    rf"""
      (?P<space>   (?:\s+|\#[^\n]*)+ )
    | (?P<string>  '(?:[^'\\\n]|\\.)*' | "(?:[^"\\\n]|\\.)*" )
    | (?P<complex> \([-+]?{_FLOAT}[-+]{_FLOAT}j\) )
    | (?P<type>    ~?[A-Za-z]\w*(?:<\w+>)?\[[\d,]*\](?:\{{[^{{}}\n]*\}})? )
    | (?P<key>     key<\w+> )
    | (?P<number>  [-+]?{_FLOAT}(?!\w) )
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
        text: what `show`, or `repr` of a jaxpr, returned. Source lines are not read back.
        consts: the values of the constants, which stand before the semicolon, as arrays.

    Returns:
        The program; with `consts`, closed over them.

    Raises:
        JaxprError: with line and column, if the text is malformed; if the program is ill-typed; if
            it holds a Python object, as calls of functions with custom rules do.

    Example:
        >>> import functrax
        >>> from functrax.core.jaxpr import eval_jaxpr
        >>> jaxpr = parse("{ lambda ; a:f32[]. let b:f32[] = mul a 2.0:f32[] in (b,) }")
        >>> functrax.jit(lambda x: eval_jaxpr(jaxpr, (), x))(3.0)
        [Array(6., dtype=float32)]
    """
    if not isinstance(text, str):
        raise ArgumentError(
            "parse", "a printed program of type str", f"{text!r} of type {type_name(text)}"
        )
    parser = _Parser(text)
    try:
        jaxpr = parser.text_of_programs()
    except RecursionError:
        raise JaxprError("parse", "less deep nesting", f"nesting {parser.here()}") from None
    if consts is None:
        check_read(jaxpr, parser.places)
        return jaxpr
    closed = ClosedJaxpr(jaxpr, consts)
    check_read(closed, parser.places)
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
        self.places: dict[Equation, str] = {}

    def check_version(self) -> None:
        """Refuse the text of a functrax that is newer."""
        found = re.match(re.escape(HEADER) + r"(\d+)", self.text.lstrip())
        if found and int(found[1][:9]) > IR_VERSION:  # Python refuses numbers of 4,300 digits
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
        constvars = self.define(self.binders(";"), variables)
        invars = self.define(self.binders("."), variables)
        self.expect("let")
        eqns: list[Equation] = []
        while not self.skip("in"):
            eqns.append(self.equation(variables))
        self.expect("(")
        outvars = self.items(lambda: self.atom(variables))
        self.expect("}")
        return Jaxpr(constvars, invars, outvars, eqns, name)

    def binders(self, end: str) -> list[tuple[Token, Var]]:
        """Read ``a:f32[] b:f32[]`` up to a mark."""
        found: list[tuple[Token, Var]] = []
        while not self.skip(end):
            if self.token.kind != "name" or self.token.text in KEYWORDS:
                self.fail(f"a variable or {end!r}")
            name = self.take()
            self.expect(":")
            found.append((name, Var(self.type())))
        return found

    def define(self, binders: list[tuple[Token, Var]], variables: dict[str, Var]) -> list[Var]:
        """Make variables known by their names."""
        for name, var in binders:
            if name.text in variables:
                self.fail("a new variable", name)
            if name.text != "_":
                variables[name.text] = var
        return [var for _, var in binders]

    def equation(self, variables: dict[str, Var]) -> Equation:
        """Read ``results = primitive[params] operands``."""
        results: list[tuple[Token, Var]] = []
        if self.skip("("):
            self.expect(")", "=")
        elif self.token.kind == "name":
            results = self.binders("=")
        else:
            self.fail("an operand, an equation or 'in'")
        name, primitive = self.token, self.primitive()
        params = self.params() if self.skip("[") else {}
        invars: list[Atom] = []
        while self.starts_atom():
            invars.append(self.atom(variables))
        eqn = Equation(primitive, invars, self.define(results, variables), params, None)
        if self.token.kind == "name" or self.at("("):  # else what follows it is malformed
            self.check_params(eqn, name)
        return eqn

    def check_params(self, eqn: Equation, name: Token) -> None:
        """Raise at its name if an equation has not the parameters that its primitive takes.

        What its rules say in errors of their own is left to the checker, which shows the equation.
        """
        self.places[eqn] = self.here(name)
        required = signature_of(eqn.primitive).required
        missing = [key for key in required if key not in eqn.params]
        if missing:
            close = [_did_you_mean(key, missing) for key in eqn.params if key not in required]
            expected = f"{', '.join(map(repr, missing))} among the parameters of {eqn.primitive}"
            self.fail(expected, name, next(filter(None, close), None))
        try:
            check_signature(eqn.primitive, len(eqn.invars), eqn.params)
        except FunctraxError as error:
            expected = f"{error.expected} for {eqn.primitive}"
            raise JaxprError("parse", expected, f"{error.got} {self.here(name)}") from None
        for look in (lambda: check_equation_types(eqn), lambda: Jaxpr((), (), (), [eqn])):
            try:
                look()
            except FunctraxError:
                continue
            except RecursionError:
                raise
            except Exception as error:  # of a rule that takes its parameters for granted
                expected = f"operands and parameters that {eqn.primitive} takes"
                self.fail(expected, name, f"{type(error).__name__}: {error}.")

    def primitive(self) -> Primitive:
        """Read the name of a primitive."""
        token = self.take()
        name = self.string(token) if token.kind == "string" else token.text
        if name not in registry:
            self.fail("the name of a primitive", token, _did_you_mean(name, registry))
        return registry[name]

    def params(self) -> dict[str, Any]:
        """Read ``name=value ... ]``."""
        params: dict[str, Any] = {}
        while not self.skip("]"):
            if self.token.kind != "name" or self.token.text in params:
                self.fail("the name of a new parameter, or ']'")
            key = self.take().text
            self.expect("=")
            params[key] = self.value()
        return params

    def starts_atom(self) -> bool:
        """Tell whether an operand is next, and not the next equation."""
        token, following = self.tokens[self.next : self.next + 2] or (self.token, self.token)
        if token.kind == "name" and token.text not in KEYWORDS:
            return following.text != ":"
        return token.kind in ("number", "complex") or token.text in ("True", "False")

    def atom(self, variables: dict[str, Var]) -> Atom:
        """Read a variable, or a literal with its type."""
        token = self.take()
        if token.kind in ("number", "complex") or token.text in ("True", "False"):
            self.expect(":")
            aval = self.type()
            return Literal(self.number(token, aval), aval)
        if token.text not in variables:
            self.fail("a variable that is defined before", token)
        return variables[token.text]

    def number(self, token: Token, aval: ShapedArray) -> Any:
        """Return the value of a literal of a type."""
        dtype = aval.dtype
        try:
            if dtypes.is_complex(dtype):
                return complex(token.text)
            if dtypes.is_floating(dtype):
                return float(token.text)
            if dtypes.is_integer(dtype):
                return int(token.text)
            return {"True": True, "False": False}[token.text]
        except (ValueError, KeyError):
            self.fail(f"a value of type {aval!r}", token)

    def type(self) -> ShapedArray:
        """Read a type."""
        token = self.take()
        found = _TYPE.fullmatch(token.text) if token.kind == "type" else None
        if found is None:
            self.fail("a type, such as 'f32[3]'", token)
        weak, dtype, sizes, axes = found.groups()
        shape = tuple(self.integer(size, token) for size in sizes.split(",") if size)
        varying = frozenset(axes.split(",")) if axes else NO_AXES
        return ShapedArray(shape, self.dtype(dtype, token), bool(weak), varying)

    def dtype(self, name: str, token: Token) -> Any:
        """Return the dtype that is printed so in types."""
        dtype = _short_dtypes.get(name) or dtypes.key_type(name)
        if dtype is None:
            self.fail("a dtype", token, _did_you_mean(name, _short_dtypes))
        return dtype

    # Parameters

    def items(self, read: Callable[[], T]) -> list[T]:
        """Read what stands between commas up to ``)``."""
        found: list[T] = []
        while not self.skip(")"):
            found.append(read())
            if not self.skip(",") and not self.at(")"):
                self.fail("',' or ')'")
        return found

    def value(self) -> Any:
        """Read a parameter or a part of one."""
        token = self.take()
        if token.text == "(":
            return tuple(self.items(self.value))
        if token.text == "{" or token.kind == "type":
            self.next -= 1
            return self.type() if token.kind == "type" else self.program("")
        reader = {
            "number": self.plain_number,
            "complex": lambda token: complex(token.text),
            "string": self.string,
            "key": lambda token: self.dtype(token.text, token),
            "program": self.defined_program,
            "name": self.named_value,
            "opaque": self.refuse_object,
        }.get(token.kind)
        if reader is None:
            self.fail("a value", token)
        return reader(token)

    def string(self, token: Token) -> str:
        """Return what stands in quotes."""
        try:
            return ast.literal_eval(token.text)
        except (SyntaxError, ValueError):
            self.fail("a string", token)

    def plain_number(self, token: Token) -> int | float:
        """Return the value of a number without a type."""
        if _INTEGER.fullmatch(token.text):
            return self.integer(token.text, token)
        return exact(float(token.text))

    def integer(self, text: str, token: Token) -> int:
        """Return the value of digits."""
        try:
            return int(text)
        except ValueError:  # Python stops at 4,300 digits
            self.fail("a number of fewer digits", token)

    def defined_program(self, token: Token) -> Jaxpr:
        """Return a program by its name."""
        if token.text not in self.programs:
            fix = _did_you_mean(token.text, self.programs)
            self.fail("a program that is defined before", token, fix)
        return self.programs[token.text]

    def named_value(self, token: Token) -> Any:
        """Return what a word stands for: a constant, a dtype, a record, a member, or itself."""
        if token.text in _constants:
            return _constants[token.text]
        if token.text in DTYPES:
            return DTYPES[token.text]
        if token.text in KEYWORDS:
            self.fail("a value", token)
        if self.skip("("):
            return self.record(token)
        return self.member(token) if self.skip(".") else token.text

    def record(self, token: Token) -> Any:
        """Read the fields of a record and make it."""
        kind = self.class_of(token)
        fields = self.items(self.field)
        names = getattr(kind, "__match_args__", ())
        wrong = next((k for k, _ in fields if k and names and k not in names), None)
        if wrong is not None:
            self.fail(f"the fields of {token.text}", token, _did_you_mean(wrong, names))
        try:
            return kind(*[v for k, v in fields if not k], **{k: v for k, v in fields if k})
        except (TypeError, ValueError) as error:
            self.fail(f"the fields of {token.text}", token, f"{error}.")

    def field(self) -> tuple[str, Any]:
        """Read ``name=value``, or a value, whose name is then empty."""
        if self.token.kind == "name" and self.tokens[self.next + 1].text == "=":
            name = self.take().text
            self.expect("=")
            return name, self.value()
        return "", self.value()

    def member(self, token: Token) -> Any:
        """Read the member of an enumeration."""
        kind = self.class_of(token)
        name = self.take()
        members = getattr(kind, "__members__", {})
        if name.text not in members:
            self.fail(f"a member of {token.text}", name, _did_you_mean(name.text, members))
        return members[name.text]

    def class_of(self, token: Token) -> Any:
        """Return the class of parameters that has a name."""
        if token.text not in param_types:
            if (held := self.object_inside()) is not None:
                self.refuse_object(held)
            fix = _did_you_mean(token.text, param_types)
            self.fail("the name of a class of parameters", token, fix)
        return param_types[token.text]

    def object_inside(self) -> Token | None:
        """Return what stands for a Python object among the fields of a record, if anything does."""
        depth = 1
        for token in self.tokens[self.next :]:
            depth += (token.text in ("(", "[", "{")) - (token.text in (")", "]", "}"))
            if token.kind == "opaque" or not depth:
                return token if depth else None
        return None

    def refuse_object(self, token: Token) -> NoReturn:
        """Raise for what stands for a Python object."""
        fix = "It stands for a Python object, which text cannot hold: keep the jaxpr itself."
        self.fail("a value", token, fix)


def _did_you_mean(name: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(name, known, n=3)
    return f"Did you mean {' or '.join(map(repr, close))}?" if close else None
