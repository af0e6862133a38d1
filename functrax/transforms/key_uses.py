"""Follow the PRNG keys of a program to where they are used; see `key_reuse`."""

import bisect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from functrax.core import dtypes
from functrax.core.jaxpr import Equation, Jaxpr, Var
from functrax.core.source import Derived, is_backward
from functrax.core.trace import Tracer, Value
from functrax.core.types import Literal, ShapedArray
from functrax.transforms.key_moves import ARITHMETIC, MOVES, Numbers

LARGEST = 1 << 16  # arrays of more keys are not followed
MOST_FOLLOWED = 200_000  # equations; what comes after them in longer programs is not looked at
_KNOWN = 1 << 10  # nor values of more integers

VERBS = {"random_bits": "drawn from", "random_split": "split"}


class Reuse(NamedTuple):
    """A key that is used twice.

    Attributes:
        origin: str, where it comes from.
        first: str, how and where it is used.
        second: str, how and where it is used again.
        where: str, the ``file:line`` of the second use.
    """

    origin: str
    first: str
    second: str
    where: str


def find_key_reuse(
    jaxpr: Jaxpr, consts: Sequence[Value] = (), names: Sequence[str] = (), function: str = ""
) -> list[Reuse]:
    """Return the keys that a program uses twice; see `check_key_reuse` for the arguments."""
    checker = _Checker()
    operands = [checker.unknown(v.aval, "a captured key") for v in jaxpr.invars[: len(consts)]]
    for index, value in enumerate(consts):
        kind = value.aval.dtype
        integers = not dtypes.is_extended(kind) and dtypes.is_integer(kind)
        if integers and value.aval.size <= _KNOWN and not isinstance(value, Tracer):
            operands[index] = operands[index]._replace(
                value=value.numpy() if type(value) is Literal else np.asarray(value)
            )
    for index, var in enumerate(jaxpr.invars[len(consts) :]):
        name = f" {names[index]!r}" if index < len(names) else ""
        operands.append(checker.unknown(var.aval, f"argument{name} of {function!r}"))
    checker.run(jaxpr, operands)
    return checker.found


# Following the keys -------------------------------------------------------------------------------


class _Known(NamedTuple):
    """What is known of a value.

    Attributes:
        keys: the numbers of its keys, or of the words of raw keys; None if it has none.
        token: equal for values that are equal.
        value: the value, of a few integers.
    """

    keys: Numbers | None
    token: Any
    value: Any = None


class _Use(NamedTuple):
    """What used a key up, as a verb, and where."""

    verb: str
    where: str

    def __str__(self) -> str:
        return f"{self.verb} at {self.where}" if self.where else self.verb


class _Checker:
    """Runs a program on the numbers of keys."""

    def __init__(self) -> None:
        """Start without keys."""
        self.next = 0
        self.followed = 0
        self.tokens = 0
        self.starts: list[int] = []
        self.origins: list[tuple[str, bool]] = []  # what to say, and whether reuse is meant
        self.used: dict[int, _Use] = {}
        self.memo: dict[Any, Any] = {}
        self.found: list[Reuse] = []

    def token(self) -> int:
        """Return a token that no other value has."""
        self.tokens += 1
        return self.tokens

    def fresh(self, aval: ShapedArray, origin: str, meant: bool = False) -> Numbers | None:
        """Give the keys (or words of raw keys) of an array new numbers."""
        raw = aval.dtype == np.uint32
        if not (raw or dtypes.is_extended(aval.dtype)) or aval.size > LARGEST:
            return None
        count = -(-aval.size // 2) if raw else aval.size
        start = self.next
        self.next += max(count, 1)
        self.starts.append(start)
        self.origins.append((origin, meant))
        first = 2 * start if raw else start
        return np.arange(first, first + aval.size).reshape(aval.shape)

    def unknown(self, aval: ShapedArray, origin: str) -> _Known:
        """Return a value of which nothing is known."""
        return _Known(self.fresh(aval, origin), self.token())

    def origin(self, key: int) -> tuple[str, bool]:
        """Return where a key comes from, and whether using it twice is meant."""
        return self.origins[bisect.bisect_right(self.starts, key) - 1]

    def remembered(self, what: Any, make: Callable[[], Any]) -> Any:
        """Return what was made for the same inputs before, or make it."""
        if what not in self.memo:
            self.memo[what] = make()
        return self.memo[what]

    def run(self, jaxpr: Jaxpr, operands: Sequence[_Known]) -> list[_Known]:
        """Follow a program."""
        env: dict[Var, _Known] = dict(zip(jaxpr.invars, operands, strict=True))

        def read(atom: Any) -> _Known:
            if type(atom) is Literal:
                return _Known(None, (repr(atom.value), atom.aval), atom.numpy())
            if atom not in env:
                env[atom] = self.unknown(atom.aval, "a key made of other numbers")
            return env[atom]

        self.followed += len(jaxpr.eqns)
        if self.followed > MOST_FOLLOWED:  # calls in calls can double on each level
            return [self.unknown(v.aval, "a key") for v in jaxpr.outvars]
        for eqn in jaxpr.eqns:
            if type(eqn.source) is not Derived and not is_backward(eqn.source):
                results = self.equation(eqn, read)
                env.update((v, x) for v, x in zip(eqn.outvars, results, strict=False) if x)
        return [read(v) for v in jaxpr.outvars]

    def equation(self, eqn: Equation, read: Any) -> Sequence[_Known | None]:
        """Follow an equation; of results that are None, nothing is known."""
        name = eqn.primitive.name
        rule = _RULES.get(name)
        if rule is not None:
            return rule(self, eqn, [read(v) for v in eqn.invars])
        if eqn.primitive.partial is not None:
            inner = eqn.params.get("jaxpr")
            if isinstance(inner, Jaxpr) and len(inner.invars) == len(eqn.invars):
                return self.run(inner, [read(v) for v in eqn.invars])
            return ()
        if len(eqn.outvars) != 1:
            return ()
        aval = eqn.outvars[0].aval
        holds_keys = dtypes.is_extended(aval.dtype) or aval.dtype == np.uint32
        is_index = not dtypes.is_extended(aval.dtype) and aval.dtype.kind in "iub"
        if not holds_keys and not (is_index and aval.size <= _KNOWN):
            return ()
        operands = [read(v) for v in eqn.invars]
        move = MOVES.get(name)
        if move is not None:
            return [self.moved(eqn, operands, move)]
        return [self.computed(eqn, operands) if is_index else None]

    def computed(self, eqn: Equation, operands: list[_Known]) -> _Known | None:
        """Follow arithmetic on a few integers, which may be the index of a key."""
        if any(x.keys is not None and x.keys.size > _KNOWN for x in operands):
            return None
        what = (eqn.primitive, *(x.token for x in operands), *_items(eqn))
        try:
            token = self.remembered(what, self.token)
        except TypeError:  # a parameter that is not hashable
            return None
        value = None
        compute = ARITHMETIC.get(eqn.primitive.name)
        if compute is not None and all(x.value is not None for x in operands):
            aval = eqn.outvars[0].aval
            with np.errstate(all="ignore"):
                value = np.asarray(compute(*(x.value for x in operands), **eqn.params))
            value = value.astype(aval.dtype)
        return _Known(self.fresh(eqn.outvars[0].aval, "a key made of other numbers"), token, value)

    def moved(self, eqn: Equation, operands: list[_Known], move: Any) -> _Known:
        """Apply an operation on shapes to the numbers of keys, or to known integers."""
        what = (eqn.primitive, *(x.token for x in operands), *_items(eqn))
        known = [x.value for x in operands]
        keys = move([x.keys for x in operands], known, eqn.params)
        value = None if any(v is None for v in known) else move(known, known, eqn.params)
        if keys is None:
            out = eqn.outvars[0].aval
            keys = self.remembered((what, "keys"), lambda: self.fresh(out, _made(eqn)))
        return _Known(keys, self.remembered(what, self.token), value)

    # Uses -----------------------------------------------------------------------------------------

    def use(self, eqn: Equation, keys: Numbers | None) -> None:
        """Use keys up."""
        if keys is None:
            return
        use = _Use(VERBS[eqn.primitive.name], str(eqn.source) if eqn.source else "")
        numbers, counts = np.unique(keys, return_counts=True)
        lanes = eqn.params.get("lanes", 1)
        for key, count in zip(numbers.tolist(), counts.tolist(), strict=True):
            origin, meant = self.origin(key)
            before = self.used.setdefault(key, use)
            if meant:
                continue
            if before is not use:
                verb = use.verb if use.verb != before.verb else f"again {use.verb}"
                self.report(Reuse(origin, str(before), str(use._replace(verb=verb)), use.where))
            elif count * lanes > 1:
                again = f"so by {count * lanes} lanes"
                self.report(Reuse(origin, str(use), again, use.where))

    def report(self, reuse: Reuse) -> None:
        """Note what was found, once."""
        if reuse not in self.found:
            self.found.append(reuse)


def _items(eqn: Equation) -> tuple[Any, ...]:
    return tuple(eqn.params.items())


def _made(eqn: Equation) -> str:
    return f"the key made at {eqn.source}" if eqn.source else "a key"


# Operations on keys -------------------------------------------------------------------------------


def _bits(checker: _Checker, eqn: Equation, operands: list[_Known]) -> Sequence[Any]:
    checker.use(eqn, operands[0].keys)
    return ()


def _split(checker: _Checker, eqn: Equation, operands: list[_Known]) -> Sequence[Any]:
    checker.use(eqn, operands[0].keys)
    keys = operands[0].keys
    meant = keys is not None and keys.size > 0 and checker.origin(int(keys.flat[0]))[1]
    fresh = checker.fresh(eqn.outvars[0].aval, _made(eqn), meant)
    return [_Known(fresh, checker.token())]


def _clone(checker: _Checker, eqn: Equation, operands: list[_Known]) -> Sequence[Any]:
    return [_Known(checker.fresh(eqn.outvars[0].aval, _made(eqn), meant=True), checker.token())]


def _fold_in(checker: _Checker, eqn: Equation, operands: list[_Known]) -> Sequence[Any]:
    """Folding the same number into the same key gives the same key."""
    keys, data = operands
    out = eqn.outvars[0].aval
    text = b"" if keys.keys is None else keys.keys.tobytes()
    number = data.token if data.value is None else data.value.tobytes()
    what = ("fold_in", text, keys.token if keys.keys is None else None, number, out)
    made = checker.remembered(what, lambda: checker.fresh(out, _made(eqn)))
    return [_Known(made, checker.token())]


def _wrap(checker: _Checker, eqn: Equation, operands: list[_Known]) -> Sequence[Any]:
    words = operands[0].keys
    if words is None or not words.size:
        return ()
    high, low = words[..., 0], words[..., 1]
    keys = np.array(high // 2)
    one = ShapedArray((), eqn.outvars[0].aval.dtype)
    for place in map(tuple, np.argwhere((high % 2 != 0) | (low != high + 1)).tolist()):
        pair = (int(high[place]), int(low[place]))
        keys[place] = checker.remembered(pair, lambda: checker.fresh(one, _made(eqn)))
    return [_Known(keys, checker.token())]


def _unwrap(checker: _Checker, eqn: Equation, operands: list[_Known]) -> Sequence[Any]:
    keys = operands[0].keys
    if keys is None:
        return ()
    return [_Known(np.stack([2 * keys, 2 * keys + 1], -1), checker.token())]


def _pieces(checker: _Checker, eqn: Equation, operands: list[_Known]) -> Sequence[Any]:
    keys = operands[0].keys
    if keys is None:
        return ()
    ends = np.cumsum(eqn.params["sizes"])[:-1].tolist()
    parts = np.split(keys, ends, eqn.params["axis"])
    return [_Known(part, checker.token()) for part in parts]


def _copy(checker: _Checker, eqn: Equation, operands: list[_Known]) -> Sequence[Any]:
    return operands


# Calls --------------------------------------------------------------------------------------------


def _cond(checker: _Checker, eqn: Equation, operands: list[_Known]) -> Sequence[Any]:
    """One branch runs: what any of them uses up is used up."""
    index, *arguments = operands
    branches = eqn.params["branches"]
    if index.value is not None and "platforms" not in eqn.params:
        chosen = int(index.value)
        return checker.run(branches[chosen if 0 <= chosen < len(branches) else -1], arguments)
    before = checker.used
    after = dict(before)
    results: list[list[_Known]] = []
    for branch in branches:
        checker.used = dict(before)
        results.append(checker.run(branch, arguments))
        for key, use in checker.used.items():
            after.setdefault(key, use)
    checker.used = after
    return [
        column[0] if all(_agree(x, column[0]) for x in column) else None
        for column in zip(*results, strict=True)
    ]


def _agree(one: _Known, other: _Known) -> bool:
    if one.keys is None or other.keys is None:
        return one.token == other.token
    return np.array_equal(one.keys, other.keys)


def _scan(checker: _Checker, eqn: Equation, operands: list[_Known]) -> Sequence[Any]:
    params = eqn.params
    body: Jaxpr = params["jaxpr"]
    count, split = params["num_carry"], params["num_consts"]
    consts, carry, xs = operands[:split], operands[split : split + count], operands[split + count :]
    rows = body.invars[split + count :]
    for turn in range(min(params["length"], 2)):
        place = -1 - turn if params["reverse"] else turn
        row = [
            checker.unknown(v.aval, "a key made of other numbers")
            if x.keys is None
            else _Known(x.keys[place], checker.token())
            for v, x in zip(rows, xs, strict=True)
        ]
        carry = checker.run(body, [*consts, *carry, *row])[:count]
    return _settled(checker, carry)


def _while(checker: _Checker, eqn: Equation, operands: list[_Known]) -> Sequence[Any]:
    params = eqn.params
    cond, body = params["cond"], params["body"]
    split = params["num_cond_consts"]
    size = len(cond.invars) - split
    carry = operands[len(operands) - size :]
    consts = operands[split : len(operands) - size]
    for _ in range(2):
        checker.run(cond, [*operands[:split], *carry])
        carry = checker.run(body, [*consts, *carry])
    checker.run(cond, [*operands[:split], *carry])
    return _settled(checker, carry)


def _settled(checker: _Checker, carry: Sequence[_Known]) -> list[_Known | None]:
    """Return what is known after a loop: what two turns tell is not what all of them do."""
    return [
        x._replace(token=checker.token(), value=None) if x.keys is not None else None for x in carry
    ]


def _shard_map(checker: _Checker, eqn: Equation, operands: list[_Known]) -> Sequence[Any]:
    """Follow what the first device does with its parts."""
    body: Jaxpr = eqn.params["jaxpr"]
    parts = [
        x if x.keys is None else _Known(x.keys[tuple(map(slice, v.aval.shape))], checker.token())
        for x, v in zip(operands, body.invars, strict=True)
    ]
    checker.run(body, parts)
    return ()


_RULES: dict[str, Any] = {
    "random_bits": _bits,
    "random_split": _split,
    "random_clone": _clone,
    "random_fold_in": _fold_in,
    "random_wrap": _wrap,
    "random_unwrap": _unwrap,
    "split": _pieces,
    "optimization_barrier": _copy,
    "cond": _cond,
    "scan": _scan,
    "shard_map": _shard_map,
    "while": _while,
}
