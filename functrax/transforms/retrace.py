"""Why a jitted function was traced again: what changed, as data, and a warning when it keeps
happening.

All of it happens where a trace is made; a call that finds its program knows nothing of it.
"""

import inspect
import itertools
import logging
import threading
import warnings
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from types import CodeType
from typing import Any, NamedTuple

from functrax import errors
from functrax.core.config import TRACED, TraceKey, config
from functrax.core.structure import Leaf, first_difference
from functrax.core.trace import NamedAxis
from functrax.core.types import ShapedArray
from functrax.transforms.flat import argument_name, argument_names, function_name, parameter_names
from functrax.xla import pytree

LIMIT = 5  # the retrace of one line that brings the warning
_SIGNATURES = 16  # of one function, that a new one is compared with
_RECORDS = 256  # of one function
_CHANGES = 8  # of one trace: of a thousand leaves that change, a few tell as much
_SITES = 1024

NEW_FUNCTION = "new function object"
CAPTURED = "captured value"


class Retrace(NamedTuple):
    """One reason why a function was traced again.

    Attributes:
        trace: int, which trace of the function it was, from 1. Several rows have the same number if
            several things changed.
        cause: str: ``"shape"``, ``"dtype"``, ``"weak type"``, ``"sharding"``, ``"tree"``, ``"static
            value"``, ``"config"``, ``"device"``, ``"named axes"``, ``"captured value"`` or ``"new
            function object"``.
        path: str, the argument's leaf, such as ``"params['w']"``, or the option; else empty.
        old: str, what it was in the most similar of the earlier traces.
        new: str, what it is now.
        where: str, the ``file:line`` of the call.
    """

    trace: int
    cause: str
    path: str
    old: str
    new: str
    where: str

    def __str__(self) -> str:
        """Say it in words."""
        change = f"from {self.old} to {self.new}"
        match self.cause:
            case "static value":
                return f"static argument {self.path!r} changed {change}"
            case "tree":
                what = f"argument {self.path!r}" if self.path else "the arguments"
                return f"the structure of {what} changed {change}"
            case "config" | "device":
                return f"the option {self.path!r} changed {change}"
            case "named axes":
                return f"the named axes changed {change}"
            case "captured value":
                return "it closes over a traced value, which is another one each time"
            case "new function object":
                return f"it is a new function object each time: {self.new}"
            case _:
                return f"argument {self.path!r} changed in {self.cause} {change}"


CURES = {
    "shape": "Pad it to one of a few sizes, so that few traces serve all calls.",
    "dtype": "Convert it to one dtype before the call.",
    "weak type": "Pass an array of one dtype each time, such as `jnp.float32(x)`, "
    "not now a Python number and now an array.",
    "sharding": "Place it in the same way each time.",
    "tree": "Pass the same structure each time.",
    "static value": "If the function's Python code does not need its value, do not mark it static.",
    "config": "Set the option once, before the first call.",
    "device": "Set the option once, before the first call.",
    "named axes": "Give the axes the same names and sizes each time.",
    CAPTURED: "Pass it to the function as an argument.",
    NEW_FUNCTION: "Call `jit` once, outside of the loop, and keep what it returns.",
}


class Signature(NamedTuple):
    """What a trace depends on.

    Attributes:
        static: the key of the static arguments, or None.
        in_tree: the structure of the others.
        options: stands for the options.
        avals: the types of the leaves.
        axes: the named axes in scope.
    """

    static: Any
    in_tree: Any
    options: TraceKey
    avals: tuple[ShapedArray, ...]
    axes: tuple[NamedAxis, ...]

    def distance(self, other: "Signature") -> int:
        """Count roughly what differs."""
        pairs = zip(self.options.values, other.options.values, strict=True)
        count = (self.axes != other.axes) + sum(a != b for a, b in pairs)
        count += len(set(self.static or ()) ^ set(other.static or ()))
        if self.in_tree != other.in_tree:
            return count + 1 + max(len(self.avals), len(other.avals))
        return count + sum(a is not b for a, b in zip(self.avals, other.avals, strict=True))


Change = tuple[str, str, str, str]  # cause, path, old, new


class History:
    """The traces of one function, as long as it lives: what they depended on, and why there are so
    many.
    """

    __slots__ = ("__weakref__", "_lock", "count", "records", "serial", "signatures")
    _serials = itertools.count()

    def __init__(self) -> None:
        """Start empty."""
        self.serial = next(self._serials)
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.count = 0
        # The keys of the cache of traces hold the same signatures; they keep no more alive.
        self.signatures: deque[Signature] = deque(maxlen=_SIGNATURES)
        self.records: deque[Retrace] = deque(maxlen=_RECORDS)

    def changes(
        self, function: Callable[..., Any], signature: Signature, static_nums: Sequence[int]
    ) -> list[Change]:
        """Compare a signature that has no trace with the most similar one that has."""
        with self._lock:
            earlier = list(self.signatures)
        if not earlier:
            return []
        nearest = min(reversed(earlier), key=signature.distance)
        found = itertools.islice(_changes(function, nearest, signature, static_nums), _CHANGES)
        return list(found) or [(CAPTURED, "", "", "")]

    def add(
        self, function: Callable[..., Any], signature: Signature, changes: list[Change]
    ) -> None:
        """Record that a trace was made, and why.

        Raises:
            RetraceWarning: as a warning, if it is the fifth from one line.
        """
        place = _call_place()
        where = errors.user_location() or ""
        site, renewed = _visit(function, self, place)
        if not changes and renewed:
            changes = [(NEW_FUNCTION, "", _described(function), _described(function))]
        with self._lock:
            self.count += 1
            self.signatures.append(signature)
            rows = [Retrace(self.count, *change, where) for change in changes]
            self.records.extend(rows)
        if not rows:
            return
        name = function_name(function)
        if config.explain_cache_misses:
            reasons = "; ".join(map(str, rows))
            logging.getLogger("functrax").warning("jit traces %r again: %s", name, reasons)
        if site is not None and site.count_one() and config.warn_retraces:
            error = errors.FunctraxError(
                "jit",
                f"few traces of {name!r} from one line",
                f"retrace number {LIMIT}: {rows[0]}",
                where=where,
                fix=CURES[rows[0].cause] + " `.retraces()` of the jitted function has all causes.",
            )
            warnings.warn_explicit(str(error), errors.RetraceWarning, *place)


_histories: weakref.WeakKeyDictionary[Any, History] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def history_of(function: Callable[..., Any]) -> History:
    """Return the history of a function, shared by all that is jitted of it, as its traces are."""
    try:
        with _lock:
            return _histories.setdefault(function, History())
    except TypeError:  # not hashable or not weakly referable
        return History()


def clear_histories() -> None:
    """Forget all traces of all functions."""
    with _lock:
        for history in _histories.values():
            history.clear()
        _sites.clear()


def limit_error(
    function: Callable[..., Any], limit: int, changes: list[Change]
) -> errors.TraceLimitError:
    """Return the error for a trace beyond ``max_traces``."""
    got = "one more"
    cause = changes[0][0] if changes else ""
    if changes:
        got += f": {Retrace(0, *changes[0], '')}"
    return errors.TraceLimitError(
        "jit",
        f"at most {limit} trace{'s' if limit > 1 else ''} of {function_name(function)!r} "
        "(max_traces)",
        got,
        fix=CURES.get(cause, "Raise max_traces."),
    )


# Lines --------------------------------------------------------------------------------------------


class _Site:
    """A line from which a function is traced.

    Attributes:
        serial: the function that was last traced there.
        retraces: how many there were.
    """

    __slots__ = ("retraces", "serial")

    def __init__(self, serial: int) -> None:
        """Start at the first trace."""
        self.serial = serial
        self.retraces = 0

    def count_one(self) -> bool:
        """Count a retrace; tell whether it is the one to warn of."""
        with _lock:
            self.retraces += 1
            return self.retraces == LIMIT


_sites: OrderedDict[Any, _Site] = OrderedDict()


def _visit(
    function: Callable[..., Any], history: History, place: tuple[str, int]
) -> tuple[_Site | None, bool]:
    """Return the site of a call, and whether another function of the same code was traced there.

    Functions of functrax itself have none: their callers cannot change how they are called.
    """
    code = _code(function)
    if code is not None and errors.is_internal_file(code.co_filename):
        return None, False
    # The positions, not the code object: it would be kept alive.
    own = (code.co_filename, code.co_firstlineno, code.co_name) if code else function_name(function)
    key = (*place, own)
    with _lock:
        site = _sites.get(key)
        if site is None:
            site = _sites[key] = _Site(history.serial)
            if len(_sites) > _SITES:
                _sites.popitem(last=False)
            return site, False
        _sites.move_to_end(key)
        renewed = site.serial != history.serial
        site.serial = history.serial
        return site, renewed


def _call_place() -> tuple[str, int]:
    frame = errors.user_frame()
    return ("<unknown>", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def _code(function: Any) -> CodeType | None:
    """Return the code of the function that the user wrote, inside of partials and transforms."""
    for _ in range(32):
        inner = inspect.unwrap(function)
        inner = getattr(inner, "func", getattr(inner, "__func__", inner))
        if inner is function:
            break
        function = inner
    return getattr(function, "__code__", None)


def _described(function: Callable[..., Any]) -> str:
    code = _code(function)
    place = f" at {errors.short_place(code.co_filename, code.co_firstlineno)}" if code else ""
    return f"{function_name(function)}{place}"


# Differences --------------------------------------------------------------------------------------


def _changes(
    function: Callable[..., Any], old: Signature, new: Signature, static_nums: Sequence[int]
) -> Any:
    """Yield what differs between two signatures."""
    yield from _static_changes(function, old.static, new.static)
    if old.in_tree != new.in_tree:
        yield _tree_change(function, old.in_tree, new.in_tree, static_nums)
    elif old.avals != new.avals:
        names = argument_names(function, new.in_tree, static_nums)
        for name, a, b in zip(names, old.avals, new.avals, strict=True):
            if a.shape != b.shape:
                yield "shape", name, str(a.shape), str(b.shape)
            if a.dtype != b.dtype:
                yield "dtype", name, str(a.dtype), str(b.dtype)
            if a.weak_type != b.weak_type:
                yield "weak type", name, str(a.weak_type), str(b.weak_type)
            if a.varying != b.varying:
                yield "sharding", name, str(sorted(a.varying)), str(sorted(b.varying))
    if old.options is not new.options:
        for option, a, b in zip(TRACED, old.options.values, new.options.values, strict=True):
            if a != b:
                cause = "device" if option == "default_device" else "config"
                yield cause, option, _short(a), _short(b)
    if old.axes != new.axes:
        yield "named axes", "", _axes(old.axes), _axes(new.axes)


def _static_changes(function: Callable[..., Any], old: Any, new: Any) -> Any:
    before, after = dict(old or ()), dict(new or ())
    parameters = parameter_names(function)
    for label in (*before, *(label for label in after if label not in before)):
        a, b = (values.get(label, _ABSENT) for values in (before, after))
        if a != b:
            name = parameters[label] if label in range(len(parameters)) else str(label)
            texts = _short(_plain(a)), _short(_plain(b))
            again = " (another object)" if texts[0] == texts[1] else ""
            yield "static value", name, texts[0], texts[1] + again


class _Absent:
    def __repr__(self) -> str:
        return "none"


_ABSENT = (_Absent, _Absent())


def _plain(key: Any) -> Any:
    """Return a static value from its key, which has the type beside each value."""
    kind, value = key
    if issubclass(kind, tuple) and isinstance(value, tuple):
        return tuple(map(_plain, value))
    return value


def _tree_change(
    function: Callable[..., Any], old: Any, new: Any, static_nums: Sequence[int]
) -> Change:
    found = first_difference(old, new)
    if found is None and (found := first_difference(new, old)) is not None:
        found = found[0], found[2], found[1]  # a container where a leaf was
    if found is None:  # they differ in what no node shows
        return "tree", "", _short(old), _short(new)
    path, before, after = found
    name = argument_name(path, parameter_names(function, static_nums)) if len(path) > 1 else ""
    return "tree", name, _node(before), _node(after)


def _node(node: Any) -> str:
    return "a leaf" if node is Leaf else pytree.describe(node)


def _axes(axes: Sequence[NamedAxis]) -> str:
    return ", ".join(f"{name!r} of size {size}" for name, size, *_ in axes) or "none"


def _short(value: Any) -> str:
    """Return a value's `repr`, or its type if that is long."""
    text = repr(value)
    return text if len(text) <= 60 else errors.a_value(value)
