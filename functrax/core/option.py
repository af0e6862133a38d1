"""One row of the table of options: what it may hold, and how its values are read."""

import contextlib
from typing import NamedTuple

from functrax.errors import ConfigError


class Option(NamedTuple):
    """One row of the table: what an option may hold and what it does.

    Attributes:
        default: the value when nobody sets it.
        kind: ``bool``, ``int``, ``float``, ``str``, ``object`` for anything hashable, or the words.
        doc: a sentence for the user.
        trace: whether it changes traced or compiled programs.
        optional: whether None is allowed.
        scoped: whether one thread may change it; not what is fixed once devices have started.
    """

    default: object
    kind: type | tuple[str, ...]
    doc: str
    trace: bool = False
    optional: bool = False
    scoped: bool = True


def convert(call: str, name: str, option: Option, value: object) -> object:
    """Return a value as the option stores it.

    Raises:
        ConfigError: for another kind of value.
    """
    kind = option.kind
    if value is None and option.optional:
        return None
    if isinstance(kind, tuple):
        word = getattr(value, "value", value)  # JAX's enumerations have the same words
        if isinstance(word, str) and word in kind:
            return word
    elif kind is bool:
        if isinstance(value, int) and value in (0, 1):  # True and False are integers too
            return bool(value)
    elif kind is object:
        with contextlib.suppress(TypeError):
            hash(value)
            return value
    elif kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(value, kind) and not isinstance(value, bool):
        return None if value == "" and option.optional else value  # JAX writes "" for None
    raise ConfigError(call, f"{_describe(option)} for {name}", repr(value), fix=option.doc)


def _describe(option: Option) -> str:
    kind = option.kind
    if isinstance(kind, tuple):
        text = "one of " + ", ".join(map(repr, kind))
    else:
        words = {bool: "True or False", object: "a hashable value"}
        text = words.get(kind, f"a value of type {kind.__name__}")
    return text + " or None" if option.optional else text


_SWITCH = {"1": True, "true": True, "on": True, "0": False, "false": False, "off": False}


def parse(variable: str, option: Option, text: str) -> object:
    """Read the text of an environment variable.

    Raises:
        ConfigError: if it stands for no value of the option.
    """
    kind, word = option.kind, text.strip()
    if option.optional and word.lower() in ("", "none"):
        return None
    if kind is str or kind is object or (isinstance(kind, tuple) and word in kind):
        return word
    if kind is bool and word.lower() in _SWITCH:
        return _SWITCH[word.lower()]
    with contextlib.suppress(ValueError):
        if kind is int:
            return int(word)
        if kind is float:
            return float(word)
    expected = f"{_describe(option)} in the environment variable {variable}"
    cure = f"Correct or unset it. {option.doc}"
    raise ConfigError("import functrax", expected, repr(text), where="", fix=cure)
