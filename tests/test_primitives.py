"""Every row of the table in `tests/cases.py`, through every check.

Programs are what takes time here, so each check compiles one for all dtypes, all mapped axes or all
derivatives of its row.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import functrax
from functrax.core.primitive import ZERO_DERIVATIVE, registry
from functrax.core.trace import bind
from functrax.core.types import ShapedArray
from functrax.primitives.__main__ import load_all
from functrax.primitives.keys import THREEFRY, random_wrap
from functrax.runtime.dispatch import from_numpy
from tests.cases import C128, CASES, ELEMENTWISE, F64, Case, NDArray, Operand
from tests.oracle import EXACT, ORACLE

load_all()
every_case = pytest.mark.parametrize("case", CASES, ids=str)
derivable = pytest.mark.parametrize(
    "case", [c for c in CASES if c.order == 2 and {F64, C128} & set(c.dtypes)], ids=str
)

# A few of the last bits of each dtype: what a short chain of operations may lose.
LAST_BITS = {"float64": 2e-14, "complex128": 2e-14, "float32": 3e-6, "complex64": 5e-6,
             "float16": 3e-3, "bfloat16": 2e-2}  # fmt: skip
# Central differences of fourth order: the error is the step's fourth power, and cancellation.
STEP, NUMERIC = 1e-4, 1e-8


@pytest.fixture(autouse=True)
def checked() -> Iterator[None]:
    """Let the checker of jaxprs see every program that a rule writes."""
    with functrax.enable_checks(True):
        yield


def quickly(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile without LLVM's optimizations, which take half of the time of a derivative's test."""
    compiled: list[Any] = []

    def run(*args: Any) -> Any:
        if not compiled:
            options = {"xla_backend_optimization_level": 0}
            compiled.append(functrax.jit(function).lower(*args).compile(options))
        return compiled[0](*args)

    return run


def array(value: NDArray, operand: Operand) -> Any:
    """Return a sample as an operand of `bind`."""
    result = from_numpy(value, "test", value.dtype)
    return random_wrap(result) if operand.key else result


def arrays(case: Case, values: Sequence[NDArray]) -> list[Any]:
    """Return all samples as operands."""
    return [array(value, operand) for value, operand in zip(values, case.operands)]


def applied(case: Case) -> Callable[..., list[Any]]:
    """Return the row's primitive as a function of its operands."""
    primitive = registry[case.primitive]
    return lambda *operands: list(bind(primitive, *operands, **case.params))


def read(result: Any) -> NDArray:
    """Return a result as a NumPy array; keys as their words."""
    return (result.words() if result.dtype is THREEFRY else result).numpy()


def meaning(case: Case, values: Sequence[NDArray]) -> list[NDArray]:
    """Return what the row's primitive should give, computed in double precision."""
    wide = values
    if case.primitive not in EXACT:
        wide = [v.astype(np.result_type(v.dtype, np.float64)) if is_inexact(v) else v
                for v in values]  # fmt: skip
    with np.errstate(all="ignore"):
        found = ORACLE[case.primitive](*wide, **case.params)
    return list(found) if isinstance(found, tuple | list) else [np.asarray(found)]


def is_inexact(value: NDArray) -> bool:
    """Tell floats, the small ones of ml_dtypes too, and complex numbers from the rest."""
    return value.dtype.kind in "fcV"


def close(got: NDArray, expected: NDArray, tolerance: float, what: str) -> None:
    """Compare values, in double precision where they are not exact."""
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    if not is_inexact(got):
        np.testing.assert_array_equal(got, expected.astype(got.dtype), err_msg=what)
        return
    wide = np.complex128 if got.dtype.kind == "c" else np.float64
    scale = max(1.0, float(np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected))))
    np.testing.assert_allclose(
        got.astype(wide), expected.astype(got.dtype).astype(wide), rtol=tolerance,
        atol=tolerance * scale, err_msg=what,
    )  # fmt: skip


def last_bits(case: Case, value: NDArray) -> float:
    """Return the tolerance of a row's values."""
    return case.loose * LAST_BITS.get(value.dtype.name, 0.0)


# Values -------------------------------------------------------------------------------------------


@every_case
def test_value(case: Case) -> None:
    """The value is the oracle's, and its shape and dtype are the type's, on every dtype."""
    samples = {dtype: case.draw(dtype) for dtype in case.dtypes}
    apply = applied(case)
    operands = [arrays(case, values) for values in samples.values()]
    results = functrax.jit(lambda batch: [apply(*each) for each in batch])(operands)
    for (dtype, values), outs in zip(samples.items(), results):
        expected = meaning(case, values)
        assert len(outs) == len(expected)
        for out, wanted in zip(outs, expected):
            got = read(out)
            if out.dtype is not THREEFRY:
                assert (got.shape, got.dtype) == (out.shape, out.dtype)
            close(got, np.asarray(wanted), last_bits(case, got), f"{case} of {dtype.name}")


@every_case
def test_types(case: Case) -> None:
    """What a type is depends on the operands' types alone; only weak operands give a weak one."""
    primitive = registry[case.primitive]
    types = [x.aval for x in arrays(case, case.draw(case.dtypes[0]))]
    strong = primitive.abstract_eval(*types, **case.params)
    assert not any(aval.weak_type for aval in strong)
    weak = primitive.abstract_eval(*(t.update(weak_type=True) for t in types), **case.params)
    assert [aval.strong() for aval in weak] == list(strong)
    varying = frozenset({"i"})
    if types and case.primitive != "optimization_barrier":  # its results are its operands, each
        out = primitive.abstract_eval(types[0].update(varying=varying), *types[1:], **case.params)
        assert all(aval.varying == varying for aval in out)


# Mapping, and eager against compiled --------------------------------------------------------------


def placements(case: Case) -> list[tuple[int | None, ...]]:
    """Return in_axes to test: first, last or not mapped; in every way for up to two operands, and
    for more: each alone, all together, and some of the rest.
    """
    choices = [(0, -1, None) if o.map and o.shape else (0, None) if o.map else (None,)
               for o in case.operands]  # fmt: skip
    found = [axes for axes in itertools.product(*choices) if any(a is not None for a in axes)]
    if len(found) <= 8:
        return found
    first, last = (c[0] for c in choices), [c[-2] if len(c) > 1 else None for c in choices]
    whole = [tuple(first), tuple(last)]
    alone = [tuple(whole[i % 2][i] if i == j else None for j in range(len(choices)))
             for i in range(len(choices)) if last[i] is not None]  # fmt: skip
    rest = [axes for axes in found if axes not in alone and axes not in whole]
    return [*alone, *whole, *(rest[i] for i in case.rng("placements").permutation(len(rest))[:3])]


def stacked(value: Sequence[NDArray], operand: Operand, axis: int) -> NDArray:
    """Stack samples along an axis; the words of keys stay last."""
    return np.stack(value, axis % (len(operand.shape) + 1))


@every_case
def test_mapped(case: Case) -> None:
    """Mapping is the stacked loop for all in_axes, and compiled is eager."""
    size = 2
    samples = [case.draw(case.dtypes[0], i) for i in range(size)]
    apply = applied(case)
    plans = placements(case)
    operands = [
        [samples[0][i] if axis is None else stacked([s[i] for s in samples], o, axis)
         for i, (o, axis) in enumerate(zip(case.operands, axes))]
        for axes in plans
    ]  # fmt: skip

    def program(first: Any, batches: Any) -> Any:
        mapped = [functrax.vmap(apply, in_axes=axes)(*b) for axes, b in zip(plans, batches)]
        return apply(*first), mapped

    first = arrays(case, samples[0])
    compiled, batches = quickly(program)(first, [arrays(case, b) for b in operands])
    for got, eager in zip(compiled, apply(*first)):
        assert got.aval is eager.aval
        close(read(got), read(eager), last_bits(case, read(got)), f"{case} compiled")
    for axes, batch in zip(plans, batches):
        rows = [
            apply(*arrays(case, [s[i] if a is not None else samples[0][i]
                                 for i, a in enumerate(axes)]))
            for s in samples
        ]  # fmt: skip
        for got, *wanted in zip(batch, *rows):
            assert got.shape[0] == size
            assert got.dtype == wanted[0].dtype
            expected = np.stack([read(w) for w in wanted])
            close(read(got), expected, last_bits(case, read(got)), f"{case} with in_axes={axes}")


# Derivatives --------------------------------------------------------------------------------------


def direction(rng: np.random.Generator, like: Sequence[NDArray]) -> list[NDArray]:
    """Return random tangents or cotangents; complex ones in both directions."""
    draws = [rng.uniform(-1, 1, v.shape) + (1j * rng.uniform(-1, 1, v.shape)
             if v.dtype.kind == "c" else 0) for v in like]  # fmt: skip
    return [np.asarray(d, v.dtype) for d, v in zip(draws, like)]


class Derivation:
    """One row at one dtype, as a function of the operands that are differentiated."""

    def __init__(self, case: Case, dtype: Any) -> None:
        self.case = case
        self.values = case.draw(dtype, "derivative")
        self.places = [i for i, o in enumerate(case.operands) if o.diff]
        self.point = [self.values[i] for i in self.places]
        self.fixed = {i: from_numpy(v, "test", v.dtype) for i, v in enumerate(self.values)
                      if i not in self.places}  # fmt: skip
        rng = case.rng(dtype, "directions")
        self.out = [np.asarray(y) for y in self.numeric(self.point)]
        self.t, self.u, self.w = (direction(rng, self.point) for _ in range(3))
        self.ct = direction(rng, self.out)

    def __call__(self, *diff: Any) -> list[Any]:
        """Apply the primitive, for the results that have derivatives."""
        results = applied(self.case)(*self.merged(diff, self.fixed))
        return [y for y in results if is_inexact(np.empty(0, y.dtype))]

    def merged(self, diff: Sequence[Any], rest: Any) -> list[Any]:
        """Put the differentiated operands among the others."""
        given = dict(zip(self.places, diff))
        return [given[i] if i in given else rest[i] for i in range(len(self.values))]

    def numeric(self, diff: Sequence[NDArray]) -> list[NDArray]:
        """Apply the oracle; NaN and infinities, which stand outside of arrays, are constants."""
        found = meaning(self.case, self.merged(diff, self.values))
        return [np.where(np.isfinite(y), y, 0) for y in found if is_inexact(y)]

    def device(self, *groups: Sequence[NDArray]) -> list[list[Any]]:
        """Return groups of samples as arrays."""
        return [[from_numpy(v, "test", v.dtype) for v in group] for group in groups]


def difference(
    function: Callable[[Sequence[NDArray]], Sequence[NDArray]],
    point: Sequence[NDArray],
    along: Sequence[NDArray],
) -> list[NDArray]:
    """Return the numeric derivative along a direction."""
    weights = {1: 8, -1: -8, 2: -1, -2: 1}
    moved = {k: function([p + k * STEP * d for p, d in zip(point, along)]) for k in weights}
    return [sum(w * moved[k][i] for k, w in weights.items()) / (12 * STEP)
            for i in range(len(moved[1]))]  # fmt: skip


def paired(left: Sequence[Any], right: Sequence[Any]) -> float:
    """Return the real pairing of cotangents and tangents: Re sum(left right)."""
    return float(sum(np.sum(np.asarray(a) * np.asarray(b)).real for a, b in zip(left, right)))


def derivations(case: Case) -> list[Derivation]:
    """Return the row in double precision, real and complex where it takes them."""
    return [Derivation(case, dtype) for dtype in (F64, C128) if dtype in case.dtypes]


@derivable
def test_derivative(case: Case) -> None:
    """jvp is the numeric derivative, vjp its transpose, and parts add up to the whole."""
    rows = derivations(case)

    def program(inputs: Any) -> Any:
        return [first_order(f, *each) for f, each in zip(rows, inputs)]

    def first_order(f: Derivation, point: Any, t: Any, ct: Any) -> Any:
        _, pushed = functrax.jvp(f, tuple(point), tuple(t))
        _, pull = functrax.vjp(f, *point)
        return pushed, pull(ct), [partials(f, i, point, t, ct) for i in range(len(point))]

    def partials(f: Derivation, i: int, point: Any, t: Any, ct: Any) -> Any:
        one = lambda x: f(*point[:i], x, *point[i + 1 :])  # noqa: E731
        return functrax.jvp(one, (point[i],), (t[i],))[1], functrax.vjp(one, point[i])[1](ct)[0]

    results = quickly(program)([f.device(f.point, f.t, f.ct) for f in rows])
    for f, (pushed, pulled, parts) in zip(rows, results):
        what = f"{case} of {f.point[0].dtype.name}"
        numeric = difference(f.numeric, f.point, f.t)
        for got, expected in zip(pushed, numeric):
            close(got.numpy(), expected, NUMERIC, f"jvp of {what}")
        assert [x.aval for x in pulled] == [x.aval for x in f.device(f.point)[0]]
        left, right = paired(f.ct, pushed), paired(pulled, f.t)
        np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-12, err_msg=f"vjp of {what}")
        for i, (_, own) in enumerate(parts):
            close(own.numpy(), pulled[i].numpy(), 1e-13, f"vjp of {what} in operand {i} alone")
        for j, out in enumerate(pushed):
            total = sum(part[j].numpy() for part, _ in parts)
            close(out.numpy(), np.asarray(total), 1e-12, f"jvp of {what} operand by operand")


@derivable
def test_second_derivative(case: Case) -> None:
    """The jvps of jvp and vjp are numeric derivatives; the vjp of vjp is the transpose of its
    jvp.
    """
    rows = derivations(case)
    apply = quickly(lambda inputs: [first_order(f, *each) for f, each in zip(rows, inputs)])

    def first_order(f: Derivation, point: Any, t: Any, ct: Any) -> Any:
        return functrax.jvp(f, tuple(point), tuple(t))[1], functrax.vjp(f, *point)[1](ct)

    @quickly
    def second_order(inputs: Any) -> Any:
        return [twice(f, *each) for f, each in zip(rows, inputs)]

    def twice(f: Derivation, point: Any, t: Any, ct: Any, u: Any, w: Any) -> Any:
        push = lambda *x: functrax.jvp(f, x, tuple(t))[1]  # noqa: E731
        pull = lambda *x: functrax.vjp(f, *x)[1](ct)  # noqa: E731
        (_, pushed), (_, pulled) = (functrax.jvp(g, tuple(point), tuple(u)) for g in (push, pull))
        return pushed, pulled, functrax.vjp(pull, *point)[1](tuple(w))

    results = second_order([f.device(f.point, f.t, f.ct, f.u, f.w) for f in rows])
    moved = {
        k: apply([f.device([p + k * STEP * d for p, d in zip(f.point, f.u)], f.t, f.ct)
                  for f in rows])
        for k in (-2, -1, 1, 2)
    }  # fmt: skip
    for i, (f, (pushed, pulled, back)) in enumerate(zip(rows, results)):
        what = f"{case} of {f.point[0].dtype.name}"
        for order, got in enumerate((pushed, pulled)):
            for j, out in enumerate(got):
                at = {k: moved[k][i][order][j].numpy() for k in moved}
                numeric = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * STEP)
                close(out.numpy(), numeric, NUMERIC, f"jvp of {('jvp', 'vjp')[order]} of {what}")
        np.testing.assert_allclose(
            paired(f.w, pulled), paired(back, f.u), rtol=1e-11, atol=1e-11,
            err_msg=f"vjp of vjp of {what}",
        )  # fmt: skip


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.order == 0 and set(c.dtypes) & {F64}], ids=str
)
def test_zero_derivative(case: Case) -> None:
    """The derivative of a piecewise constant function is zero, in both modes."""
    if not case.operands:
        assert registry[case.primitive].jvp is ZERO_DERIVATIVE
        return
    f = Derivation(case, F64)
    point, t = f.device(f.point, f.t)

    def total(*xs: Any) -> Any:
        return [out for out in f(*xs) if out.dtype == F64]

    outs, pushed = functrax.jvp(total, tuple(point), tuple(t))
    for out, tangent in zip(outs, pushed):
        assert tangent.aval is out.aval
        assert not tangent.numpy().any()
    for pulled, x in zip(functrax.vjp(total, *point)[1](outs), point):
        assert pulled.aval is x.aval
        assert not pulled.numpy().any()


# What rows cannot say -----------------------------------------------------------------------------


def test_reduce_precision_derivative() -> None:
    """The derivative of rounding is that of the identity, rounded alike."""
    params = {"exponent_bits": 5, "mantissa_bits": 3}
    round_ = lambda x: bind(registry["reduce_precision"], x, **params)[0]  # noqa: E731
    point, t = (from_numpy(np.array([v, -2 * v]), "test", F64) for v in (1.3, 0.77))
    _, pushed = functrax.jvp(round_, (point,), (t,))
    (pulled,) = functrax.vjp(round_, point)[1](t)
    np.testing.assert_array_equal(pushed.numpy(), round_(t).numpy())
    np.testing.assert_array_equal(pulled.numpy(), round_(t).numpy())


SPECIAL = np.array(
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1e-30, -1e30, 2.5], np.float32
)


def test_special_values() -> None:
    """Functions of one number keep NumPy's answers at nan, infinities, zeros and poles."""
    names = [c.primitive for c in CASES
             if len(c.operands) == 1 and c.operands[0].shape == (3, 4) and not c.params
             and np.dtype(np.float32) in c.dtypes]  # fmt: skip
    names = sorted(set(names))
    run = functrax.jit(lambda x: [bind(registry[name], x)[0] for name in names])
    for name, out in zip(names, run(from_numpy(SPECIAL, "test", SPECIAL.dtype))):
        with np.errstate(all="ignore"):
            wanted = np.asarray(ORACLE[name](SPECIAL.astype(np.float64))).astype(out.dtype)
        np.testing.assert_allclose(out.numpy(), wanted, rtol=2e-6, atol=1e-37, err_msg=name)


def test_zero_size() -> None:
    """Every elementwise row takes arrays without elements, mapped too."""
    rows = [c for c in ELEMENTWISE if all(o.shape == (3, 4) for o in c.operands)]
    empty = [[from_numpy(np.zeros((0, 4), o.dtype or c.dtypes[0]), "test", o.dtype or c.dtypes[0])
              for o in c.operands] for c in rows]  # fmt: skip
    outs = functrax.jit(lambda batch: [applied(c)(*each) for c, each in zip(rows, batch)])(empty)
    mapped = functrax.jit(
        lambda batch: [functrax.vmap(applied(c), in_axes=-1)(*each)
                       for c, each in zip(rows, batch)]
    )(empty)  # fmt: skip
    assert len(rows) > 60
    for case, (out,), (turned,) in zip(rows, outs, mapped):
        assert out.numpy().shape == (0, 4), case
        assert turned.numpy().shape == (4, 0), case


@pytest.mark.parametrize("name", ["add", "mul", "max", "select_n"])
def test_weak_operands(name: str) -> None:
    """A Python number gives way to an array's dtype; two of them stay weak."""
    strong = ShapedArray((), np.dtype(np.float32))
    weak = strong.update(weak_type=True)
    first = [ShapedArray((), np.dtype(bool))] if name == "select_n" else []
    abstract = registry[name].abstract_eval
    assert abstract(*first, weak, weak) == (weak,)
    assert abstract(*first, weak, strong) == (strong,)
