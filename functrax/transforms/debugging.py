"""`debug.print` and `debug.breakpoint`: look at the values of a running program."""

import bdb
import cmd
import functools
import linecache
import logging
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any, TextIO

import numpy as np

from functrax import errors
from functrax.core import tree
from functrax.core.trace import VALUES
from functrax.transforms.callbacks import debug_callback

# print --------------------------------------------------------------------------------------------


class _Formatter(string.Formatter):
    """Formats as `str.format` does, and notes the arguments that the format leaves out."""

    unused: tuple[Any, ...] = ()

    def check_unused_args(
        self, used_args: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        self.unused = tuple(x for x in (*range(len(args)), *kwargs) if x not in used_args)


def debug_print(
    fmt: str | None = None,
    *args: Any,
    ordered: bool = False,
    partitioned: bool = False,
    skip_format_check: bool = False,
    _use_logging: bool = False,
    **kwargs: Any,
) -> Callable[..., Any] | None:
    """Print values when the program runs.

    Args:
        fmt: a format string, as of `str.format`. Without one, a function is returned that takes it.
        *args: pytrees to format; arrays print as NumPy's.
        ordered: whether prints come in the order in which the program says them.
        partitioned: as for `debug_callback`.
        skip_format_check: whether arguments may be left out of the format.
        _use_logging: whether to log the text instead.
        **kwargs: pytrees to format, by name.

    Raises:
        ArgumentError: if the format leaves out arguments, or asks for others.

    Example:
        >>> import functrax
        >>> @functrax.jit
        ... def f(x):
        ...     functrax.debug.print("x = {x:.2f}", x=x, ordered=True)
        ...     return x
        >>> _ = f(2.0)
        x = 2.00
    """
    options: Any = {
        "ordered": ordered,
        "partitioned": partitioned,
        "skip_format_check": skip_format_check,
        "_use_logging": _use_logging,
    }
    if fmt is None:
        return functools.partial(debug_print, **options)
    if not isinstance(fmt, str):
        raise errors.ArgumentError(
            "debug.print", "a format string first", f"{fmt!r}", fix='Write `debug.print("{}", x)`.'
        )
    if not skip_format_check:
        _check_format(fmt, args, kwargs)
    show = logging.getLogger("functrax.debug").info if _use_logging else print

    def print_values(*args: Any, **kwargs: Any) -> None:
        show(fmt.format(*args, **kwargs))

    return debug_callback(print_values, *args, ordered=ordered, partitioned=partitioned, **kwargs)


def _check_format(fmt: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    shown = tuple(map(_Anything, args)), {name: _Anything(x) for name, x in kwargs.items()}
    formatter = _Formatter()
    try:
        formatter.vformat(fmt, *shown)
    except (IndexError, KeyError) as error:
        raise errors.ArgumentError(
            "debug.print",
            "an argument for each field of the format",
            f"{fmt!r} with {len(args)} arguments and the names {sorted(kwargs)}",
        ) from error
    if formatter.unused:
        raise errors.ArgumentError(
            "debug.print",
            "a format that uses every argument",
            f"one that leaves out {', '.join(map(repr, formatter.unused))}",
            fix="Write `debug.print('x = {x}', x=x)`: an f-string would show the tracer.",
        )


class _Anything:
    """Stands for a value that is not known yet: formats, parts and attributes of it are fine."""

    def __init__(self, _: Any = None) -> None:
        pass

    def __format__(self, spec: str) -> str:
        return ""

    def __getattr__(self, name: str) -> "_Anything":
        return self

    def __getitem__(self, key: Any) -> "_Anything":
        return self


# breakpoint ---------------------------------------------------------------------------------------


class _Frame:
    """One frame of the user's stack at the time of tracing, with the values of its variables."""

    def __init__(self, frame: FrameType) -> None:
        code = frame.f_code
        self.filename, self.function, self.line = code.co_filename, code.co_name, frame.f_lineno
        self.names = dict(frame.f_locals)
        self.globals = frame.f_globals

    def __str__(self) -> str:
        return f"{self.filename}({self.line}) {self.function}()"

    def source(self, around: int) -> str:
        """Return the lines around the current one, which is marked."""
        first = max(1, self.line - around)
        rows = [
            (n, linecache.getline(self.filename, n)) for n in range(first, self.line + around + 1)
        ]
        return "".join(
            f"{'->' if n == self.line else '  '} {n:4}  {text}" for n, text in rows if text
        )


def _user_frames(most: int | None, only_users: bool) -> list[_Frame]:
    """Return the frames of the call, innermost first."""
    frame = errors.user_frame()
    found: list[_Frame] = []
    while frame is not None and (most is None or len(found) < most):
        if not (only_users and errors.is_internal_file(frame.f_code.co_filename)):
            found.append(_Frame(frame))
        frame = frame.f_back
    return found


def breakpoint(
    *,
    backend: str | None = None,
    filter_frames: bool = True,
    num_frames: int | None = None,
    ordered: bool = False,
    token: Any = None,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
) -> None:
    """Stop when the program comes here, and look at the variables of the traced functions.

    Commands: ``p``, ``pp`` (print an expression), ``u``, ``d`` (up and down the stack), ``l``
    (source), ``bt`` (the stack), ``a`` (names), ``c`` (go on), ``q`` (end with `bdb.BdbQuit`).

    Args:
        backend: ``"cli"`` or None: a prompt in the terminal.
        filter_frames: whether to leave functrax's own frames out.
        num_frames: the most frames to keep; all by default.
        ordered: whether it keeps its place among other ordered effects.
        token: must be None.
        stdin: where commands come from; the terminal by default.
        stdout: where text goes; the terminal by default.

    Raises:
        ArgumentError: for another backend.
    """
    if backend not in (None, "cli") or token is not None:
        got = repr(backend) if token is None else "a token"
        raise errors.ArgumentError("debug.breakpoint", "backend='cli', and no token", got)
    frames = _user_frames(num_frames, filter_frames)
    leaves, structure = tree.flatten([frame.names for frame in frames], is_leaf=_is_opaque)

    def stop(values: list[Any]) -> None:
        whole = [x.value if isinstance(x, _Kept) else x for x in values]
        for frame, names in zip(frames, structure.unflatten(whole), strict=True):
            frame.names = names
        _Prompt(frames, stdin, stdout).cmdloop()

    debug_callback(stop, [x if _is_numeric(x) else _Kept(x) for x in leaves], ordered=ordered)


def _is_opaque(x: Any) -> bool:
    """Tell what is not looked into for arrays: None, iterators, and dictionaries whose keys have no
    order.
    """
    if isinstance(x, dict):
        return not all(type(name) is str for name in x)
    return x is None or isinstance(x, Iterator)


def _is_numeric(x: Any) -> bool:
    return isinstance(x, (*VALUES, np.ndarray))


class _Kept:
    """A variable that is no array: the program carries it along unseen."""

    def __init__(self, value: Any) -> None:
        self.value = value


class _Prompt(cmd.Cmd):
    """The commands of a breakpoint."""

    prompt = "(functrax) "

    def __init__(self, frames: list[_Frame], stdin: TextIO | None, stdout: TextIO | None) -> None:
        super().__init__("tab", stdin, stdout)
        self.use_rawinput = stdin is None
        self.frames, self.index = frames, 0
        self.intro = f"> {self.frame}\n{self.frame.source(2)}"

    @property
    def frame(self) -> _Frame:
        return self.frames[self.index]

    def say(self, text: Any) -> None:
        self.stdout.write(f"{text}\n")

    def evaluate(self, text: str) -> Any:
        return eval(text, self.frame.globals, self.frame.names)

    def do_p(self, arg: str) -> None:
        """p EXPRESSION: print its value."""
        self._print(arg, repr)

    def do_pp(self, arg: str) -> None:
        """pp EXPRESSION: print its value, laid out."""
        import pprint  # slow, and seldom needed

        self._print(arg, pprint.pformat)

    def _print(self, arg: str, show: Callable[[Any], str]) -> None:
        try:
            self.say(show(self.evaluate(arg)))
        except Exception as error:  # the user's expression may do anything
            self.say(f"*** {type(error).__name__}: {error}")

    def do_a(self, arg: str) -> None:
        """a: list the names of the frame."""
        self.say(" ".join(sorted(self.frame.names)))

    def do_u(self, arg: str) -> None:
        """u: go to the caller's frame."""
        self._go(1, "the oldest frame")

    def do_d(self, arg: str) -> None:
        """d: go back to the frame that is called."""
        self._go(-1, "the newest frame")

    def _go(self, step: int, end: str) -> None:
        if 0 <= self.index + step < len(self.frames):
            self.index += step
            self.say(f"> {self.frame}\n{self.frame.source(0)}".rstrip())
        else:
            self.say(f"*** {end}")

    def do_l(self, arg: str) -> None:
        """l: show the source around the line."""
        self.say(self.frame.source(5).rstrip())

    def do_bt(self, arg: str) -> None:
        """bt: show the stack, the oldest frame first."""
        for index in range(len(self.frames) - 1, -1, -1):
            self.say(f"{'>' if index == self.index else ' '} {self.frames[index]}")

    def do_c(self, arg: str) -> bool:
        """c: go on."""
        return True

    def do_q(self, arg: str) -> None:
        """q: end the program."""
        raise bdb.BdbQuit

    do_EOF = do_c  # noqa: N815  (the name that `cmd` looks for)
    do_where = do_w = do_bt
    do_up, do_down, do_list = do_u, do_d, do_l
    do_cont = do_continue = do_c
    do_quit = do_exit = do_q

    def default(self, line: str) -> None:
        """Take anything else as an expression."""
        self.do_p(line)

    def emptyline(self) -> bool:
        """Do nothing for an empty line."""
        return False
