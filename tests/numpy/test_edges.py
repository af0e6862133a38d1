"""What is rare: empty lists, shapes that broadcast, numbers without a place, results as JAX's."""

import itertools
from typing import Any

import jax
import jax.numpy
import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors
from tests.numpy.compare import check, evaluate, rows

LIKE_JAX = rows("""
jnp.geomspace(1.0, jnp.array([3.0, 4.0, 5.0]), 3)
jnp.geomspace(1.0, jnp.array([[3.0], [4.0]]), 2)
jnp.geomspace(1.0, jnp.array([3.0, 4.0]), 5)
jnp.geomspace(jnp.array([1.0, 2.0]), jnp.array([[3.0], [4.0]]), 4)
jnp.geomspace(1.0, jnp.array([3.0, 4.0]), 5, endpoint=False)
jnp.geomspace(1.0, jnp.array([3.0, 4.0]), 5, axis=-1)
jnp.geomspace(1.0, jnp.array([3.0, 4.0]), 0)
jnp.geomspace(-1.0, jnp.array([-3.0, 4.0]), 3)
jnp.geomspace(0, 5, 3)
jnp.array(1j, dtype=bool)
jnp.array([1j, 0], dtype=bool)
jnp.array([1.7, -1.7], dtype="int32")
jnp.array([], dtype="int32")
jnp.histogram(h, bins=g.sort())
jnp.histogram(h, bins=n.sort())
jnp.histogram(w, bins=g.sort())
jnp.histogram(w, bins=3)
jnp.histogram(i, bins=n.sort())
jnp.histogram(f, bins=n.sort().astype("float16"))
jnp.histogram(h, bins=g.sort(), density=True)
jnp.histogram(h, bins=g.sort(), weights=f)
jnp.histogram_bin_edges(h, bins=n.sort())
jnp.insert(jnp.arange(4), np.array([1]), np.array([7, 8]))
jnp.insert(jnp.arange(4), jnp.array([-1]), np.array([7, 8]))
jnp.insert(jnp.arange(4), slice(1, 2), np.array([7, 8]))
jnp.insert(jnp.arange(4), slice(1, 3), np.array([7, 8]))
jnp.insert(i, np.array([1]), np.array([[7, 8], [9, 10]]), axis=1)
jnp.insert(i, np.array([1]), np.array([7, 8]), axis=1)
jnp.insert(i, 1, np.array([7, 8]), axis=1)
jnp.insert(i, 1, 7, axis=1)
jnp.insert(i, np.array([0]), np.array([7, 8, 9]), axis=0)
jnp.insert(jnp.arange(4), np.array([1]), np.array([], int))
jnp.interp(f, g.sort(), c)
jnp.interp(f, g.sort(), c, left=5j, right=1)
jnp.interp(f, g.sort(), g, left=5j)
jnp.interp(f, g.sort(), c, period=2)
jnp.interp(h, h[0], h[1])
jnp.interp(h, n.sort(), g)
jnp.interp(i, n.sort(), j, left=1, right=2.5)
jnp.roll(jnp.zeros((0,)), (), axis=())
jnp.roll(i, (), axis=())
jnp.roll(i, 1, axis=())
jnp.roll(i, (), axis=0)
jnp.roll(i, ())
jnp.roll(z, 1)
jnp.roll(z, 1, axis=0)
jnp.roll(i, 1, axis=(0, 1))
jnp.roll(i, (1, 2), axis=1)
jnp.delete(j, np.array([True, False, True]))
round(jnp.array(2.567))
round(jnp.array(2))
round(f)
round(h)
round(u)
round(f, 0)
round(jnp.array(2.567), 1)
jnp.polyder(j)
jnp.polyder(j, m=0)
jnp.polyder(j, m=2)
jnp.polyder(j, m=3)
jnp.polyder(u)
jnp.polyder(h[0])
jnp.polyder(c, m=2)
jnp.polyval(jnp.array([np.inf, 1]), 2.0)
jnp.polyval(j, 2.5)
jnp.linspace(0, 1, 5, retstep=True, dtype="bfloat16")
jnp.linspace(jnp.float32(0), 1, 5, retstep=True, dtype="float16")
jnp.linspace(jnp.float16(0), 1, 5, retstep=True, dtype="float32")
jnp.linspace(0, 1, 5, retstep=True, dtype="complex64")
jnp.polymul(jnp.array([0, 0, 1, 2]), jnp.array([0, 1, 3]), trim_leading_zeros=True)
jnp.polymul(jnp.array([0, 0, 0]), jnp.array([0, 1, 3]), trim_leading_zeros=True)
jnp.polymul(jnp.array([0, 0, 1, 2]), jnp.array([0, 1, 3]))
jnp.intersect1d(j, n, size=4, return_indices=True)
jnp.intersect1d(j, n, size=4, fill_value=-1, return_indices=True)
jnp.intersect1d(jnp.array([1, 1, 4, 2]), jnp.array([4, 5, 1]), size=1, return_indices=True)
jnp.intersect1d(jnp.array([1, 1]), jnp.array([4]), size=2, return_indices=True)
jnp.intersect1d(j, n, assume_unique=True, size=4, return_indices=True)
jnp.compress(jnp.array([True, False, False]), jnp.arange(2))
jnp.compress(jnp.array([True]), jnp.arange(2))
jnp.compress(b, jnp.arange(2), size=2)
jnp.compress(jnp.array([False]), z, axis=0)
jnp.extract(m, i)
jnp.take(z, jnp.zeros(0, int), axis=0)
jnp.take(z, n - 1, axis=1, mode="wrap")
jnp.einsum("ij->i", m)
jnp.einsum("ij->", m)
jnp.einsum("ii", m[:, :2])
jnp.einsum("ii->i", m[:, :2])
jnp.einsum("ij,j->", m, b)
jnp.einsum("i,j->", b, b)
jnp.einsum("ij,kj->ik", m, m)
jnp.einsum("ij,kj,k->i", m, m, b[:2])
jnp.einsum("ij->i", m, preferred_element_type=jnp.int32)
jnp.einsum("i,j->", b, b, preferred_element_type=jnp.int32)
jnp.dot(True, b)
jnp.dot(b, False)
jnp.dot(b[0], b[0])
jnp.dot(True, True, preferred_element_type=jnp.int32)
jnp.inner(True, b)
jnp.inner(b[0], b[1])
jnp.float32(2.5).repeat(2, axis=0)
jnp.repeat(2.5, 2, axis=-1)
jnp.repeat(2.5, jnp.array([2]), axis=0)
jnp.repeat(s, jnp.array([2]), axis=0, total_repeat_length=3)
jnp.trapezoid(jnp.ones(3, "int4"))
jnp.trapezoid(jnp.ones(3, "int4"), dx=2.0)
jnp.trapezoid(u, dx=jnp.float16(2))
jnp.trapezoid(jnp.asarray([1, 2]), dx=2)
jnp.max(i, initial=-np.inf)
jnp.max(u, initial=np.inf)
jnp.sum(i, initial=2.0)
jnp.max(b, initial=2)
jnp.max(h, initial=1e6)
jnp.max(u, initial=jnp.int32(300))
jnp.diff(u, append=1.5)
jnp.diff(u, append=np.int16(300))
jnp.insert(u, 0, 1.5)
jnp.insert(u, 0, jnp.int32(300))
jnp.take(u, jnp.array([7]), fill_value=1.5)
lib.jit(lambda x: jnp.pad(x, 1, constant_values=(x[0], 2)))(g)
""")

#: Of weakly typed arrays: x is a number, v a vector, w a matrix of floats, k a vector of integers.
WEAK = rows("""
x.at[()].set(3)
x.at[()].set(jnp.float32(3))
x.at[()].add(3.0)
x.at[()].divide(2)
k.at[0].divide(2)
k.at[jnp.array([0, 0])].add(3)
v.at[:1].set(3.0)
v.at[jnp.array([0])].power(2.0)
v.at[jnp.array([True, False])].set(3.0)
v.at[5].set(3.0, mode="drop")
jnp.pad(v, 1)
jnp.pad(k, 1, constant_values=1)
jnp.pad(v, 1, constant_values=(1.0, 2.0))
jnp.pad(v, 1, constant_values=jnp.float32(1))
jnp.pad(v, 1, mode="mean")
jnp.pad(v, 1, mode="linear_ramp")
jnp.pad(f, 1, constant_values=x)
jnp.tril(w)
jnp.triu(w)
jnp.einsum("i->i", v)
jnp.einsum("ii", w)
jnp.einsum("ij,jk->ik", w, w)
jnp.einsum("i,i->", k, k)
jnp.einsum("i,i->", v, k)
jnp.einsum("i,i->", v, jnp.ones(2, "float16"))
jnp.einsum("i,j,k->", v, jnp.ones(2, "float16"), v)
jnp.einsum("i,i->", v, v, preferred_element_type=jnp.float32)
jnp.convolve(v, v)
jnp.correlate(k, v)
jnp.convolve(v, jnp.ones(2))
jnp.insert(v, 0, 1.0)
jnp.fill_diagonal(w, 1.0, inplace=False)
jnp.put_along_axis(v, jnp.array([0]), 1.0, 0, inplace=False)
jnp.unique(v)
jnp.unique(v, size=3, fill_value=1)
jnp.diagflat(v)
jnp.vander(v)
nn.relu(b)
nn.hard_tanh(b)
nn.gelu(x)
nn.gelu(k)
nn.gelu(x, approximate=False)
""")


@pytest.mark.parametrize("expression", WEAK)
def test_weak_types_are_jax_s(expression: str) -> None:
    """What is made of weak arrays yields in promotion where it does in JAX."""
    made = {"x": "jnp.asarray(2.0)", "v": "jnp.full((2,), 2.0)", "w": "jnp.full((2, 2), 2.0)"}
    made["k"] = "jnp.full((2,), 3)"
    names = ", ".join(f"{name}={value}" for name, value in made.items())
    check(f"(lambda {names}: {expression})()")


@pytest.mark.parametrize("expression", LIKE_JAX)
def test_edges_are_jax_s(expression: str) -> None:
    """Assert values, shapes, dtypes and weak types."""
    check(expression)


PAIRS = {
    "power": lambda lib, x, y: lib.power(x, y),
    "hypot": lambda lib, x, y: lib.hypot(x, y),
    "logaddexp": lambda lib, x, y: lib.logaddexp(x, y),
    "logaddexp2": lambda lib, x, y: lib.logaddexp2(x, y),
    "heaviside": lambda lib, x, y: lib.heaviside(x, y),
    "copysign": lambda lib, x, y: lib.copysign(x, y),
    "gcd": lambda lib, x, y: lib.gcd(x, y),
    "lcm": lambda lib, x, y: lib.lcm(x, y),
    "choose": lambda lib, x, y: lib.choose(lib.array([0, 1]), [x, y], mode="clip"),
}
DTYPES = ["bool", "int8", "uint16", "int32", "float16", "bfloat16", "float32", "complex64", "weak"]


def _type(lib: Any, function: Any, dtype: str, number: Any, first: bool) -> Any:
    x = lib.numpy.asarray(2) if dtype == "weak" else lib.numpy.ones(1, dtype)
    pair = (lambda x: (number, x)) if first else (lambda x: (x, number))
    made = lib.eval_shape(lambda x: function(lib.numpy, *pair(x)), x)
    return made.shape, made.dtype, made.weak_type


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", PAIRS)
def test_types_beside_python_numbers(name: str, dtype: str) -> None:
    """The dtype and weak type are JAX's, where it has a result."""
    for number, first in itertools.product((True, 2, 2.5, 2j), (False, True)):
        if name == "hypot" and jax.__version_info__ >= (0, 12):
            continue  # weak there beside integers and booleans
        try:
            expected = _type(jax, PAIRS[name], dtype, number, first)
        except (TypeError, ValueError):
            continue
        assert _type(functrax, PAIRS[name], dtype, number, first) == expected, (number, first)


REFUSED: list[tuple[str, type[Exception], str]] = [
    ("jnp.array([1j], dtype='float32')", errors.DtypeError, "a complex dtype"),
    ("jnp.array([[1], [1j]], dtype='float16')", errors.DtypeError, "a complex dtype"),
    ("jnp.array([1 + 2j, 3], dtype='int32')", errors.DtypeError, "a complex dtype"),
    ("jnp.array(1j, dtype='float32')", errors.DtypeError, "a complex dtype"),
    ("jnp.array([jnp.array(1j), 1j], dtype='float32')", errors.DtypeError, "a complex dtype"),
    ("jnp.full((2,), 1j, dtype=float)", errors.DtypeError, "[full] expected a complex dtype"),
    ("jnp.full((2,), np.nan, dtype=int)", errors.ArgumentError, "[full] expected numbers that"),
    ("jnp.full_like(i, np.nan)", errors.ArgumentError, "[full_like] expected numbers that"),
    ("jnp.array(np.nan, dtype='int32')", errors.ArgumentError, "numbers that int32 holds; got nan"),
    ("jnp.array([np.nan, 1], dtype='int32')", errors.ArgumentError, "int32 holds; got nan"),
    ("jnp.array([-np.inf, 1], dtype='int8')", errors.IntegerOverflowError, "got -inf"),
    ("jnp.array(np.inf, dtype='int32')", errors.IntegerOverflowError, "int32 holds; got inf"),
    ("jnp.array([1.0, 300.0], dtype='uint8')", errors.IntegerOverflowError, "got 300"),
    ("f'{i:.2f}'", errors.ShapeError, "a 0-d array for '.2f'; got i32[2,3]"),
    ("jnp.matvec(g, g)", errors.ShapeError, "[matvec] expected matrices as x1 and vectors"),
    ("jnp.matvec(f, s)", errors.ShapeError, "[matvec] expected matrices as x1 and vectors"),
    ("jnp.vecmat(g, g)", errors.ShapeError, "[vecmat] expected an array of matrices as x2"),
    ("jnp.vecmat(s, f)", errors.ShapeError, "[vecmat] expected an array of vectors as x1"),
    ("jnp.insert(jnp.arange(3), 5, 1)", errors.BoundsError, "places from -3 to 3; got 5"),
    ("jnp.insert(j, np.array([[1]]), 1)", errors.ShapeError, "a place, or a vector of them"),
    ("jnp.insert(i, 1, np.ones((2, 2)), axis=0)", errors.ShapeError, "[insert] expected"),
    ("jnp.insert(i, 1, np.ones((1, 3, 3)), axis=0)", errors.ShapeError, "values that broadcast"),
    ("jnp.interp(c, g, g)", errors.DtypeError, "real places; got c64[3]"),
    ("jnp.roll(j, (1, 2), axis=())", errors.ArgumentError, "one shift per axis"),
    ("jnp.delete(j, np.array([True, False]))", errors.ShapeError, "a vector of 3 booleans"),
    ("jnp.delete(j, np.array([[True, False, True]]))", errors.ShapeError, "got shape (1, 3)"),
    ("jnp.block([])", errors.ArgumentError, "lists of at least one block; got []"),
    ("jnp.block([[i], []])", errors.ArgumentError, "lists of at least one block; got []"),
    ("jnp.arange(0, np.nan)", errors.ArgumentError, "finite numbers; got from 0 to nan"),
    ("jnp.arange(np.inf)", errors.ArgumentError, "finite numbers; got from 0 to inf"),
    ("jnp.arange(0, 1, np.nan)", errors.ArgumentError, "in steps of nan"),
    ("jnp.arange(0, 1e30)", errors.OutOfMemoryError, "enough memory"),
    ("jnp.arange(1j)", errors.ArgumentError, "real numbers"),
    ("jnp.arange(True)", errors.DtypeError, "a dtype to count in; got bool"),
    ("jnp.max(j, initial=1.5)", errors.DtypeError, "[max] expected a number as `initial` that i32"),
    ("jnp.max(j, initial=1j)", errors.DtypeError, "[max] expected a complex dtype for a complex"),
    ("jnp.subtract.reduce(j, initial=0.5)", errors.DtypeError, "`initial` that i32 can hold; got"),
    ("jnp.pad(j, 1, constant_values=np.nan)", errors.ArgumentError, "[pad] expected numbers that"),
    ("jnp.pad(j, 1, constant_values=1j)", errors.DtypeError, "[pad] expected a complex dtype"),
    ("jnp.take(j, 7, fill_value=np.nan)", errors.ArgumentError, "a finite fill_value for integers"),
    ("jnp.take(j, 7, fill_value=1j)", errors.DtypeError, "[take] expected a fill_value for int32"),
    ("jnp.unique(j, size=5, fill_value=np.nan)", errors.ArgumentError, "[unique] expected numbers"),
    ("jnp.array(['2', '3'], dtype='int32')", errors.DtypeError, "[array] expected"),
    (
        "jnp.compress(b, jnp.arange(2))",
        errors.BoundsError,
        "[compress] expected a condition that is "
        "false behind the end of axis 0, of size 2; got a true one at 2",
    ),
    ("jnp.arange(2).compress(b)", errors.BoundsError, "[compress] expected a condition that is"),
    ("jnp.compress(b, z, axis=0)", errors.BoundsError, "of axis 0, of size 0; got a true one at 0"),
    ("jnp.compress(m, i)", errors.ShapeError, "[compress] expected a vector as `condition`; got"),
    ("jnp.extract(m, j)", errors.BoundsError, "[extract] expected a condition that is false"),
    ("jnp.take(z, 0)", errors.BoundsError, "[take] expected no index into axis 0, which is empty"),
    ("z.take(0, axis=0)", errors.BoundsError, "which is empty, of shape (0, 3)"),
    ("jnp.take(z, n, axis=0, mode='wrap')", errors.BoundsError, "[take] expected no index into"),
    ("jnp.take_along_axis(z, n[None], 0)", errors.BoundsError, "[take_along_axis] expected no"),
    ("jnp.int8(300)", errors.IntegerOverflowError, "[int8] expected integers from -128 to 127"),
    ("jnp.float32('a')", errors.ArgumentError, "[float32] expected numbers, or sequences of"),
    ("f.at[0].set(key)", errors.KeyTypeError, "[at[].set] expected PRNG keys of one kind"),
    ("f.at[0].add(key)", errors.KeyTypeError, "[at[].add] expected PRNG keys of one kind"),
    ("key + 1", errors.KeyTypeError, "[add] expected PRNG keys of one kind"),
    (
        "pow(f, 2, 3)",
        errors.ArgumentError,
        "[pow] expected two arguments: arrays have no power "
        "modulo a number; got 3 of type int as the third",
    ),
    ("jnp.repeat(2.5, 2, axis=1)", errors.BoundsError, "[repeat] expected an axis of an array of"),
    ("jnp.fromiter([300], 'int8')", errors.IntegerOverflowError, "[fromiter] expected what"),
    ("jnp.pad(j, 1, mode=3)", errors.ArgumentError, "got mode=3"),
    ("jnp.pad(j, 1, mode=lambda row, *rest: None)", errors.ShapeError, "got None"),
    ("jnp.pad(j, 1, mode=lambda row, *rest: row[1:])", errors.ShapeError, "returns 5 elements"),
]


@pytest.mark.parametrize(("expression", "kind", "text"), REFUSED)
def test_edges_are_refused(expression: str, kind: type[Exception], text: str) -> None:
    """Assert the class of the error and what it says."""
    with pytest.raises(kind) as caught:
        evaluate(functrax, expression)
    assert text in str(caught.value)


#: The function that the error names, the dtype, the integer that does not fit, and the call.
UNFIT = rows("""
max | int8 | 300 | jnp.zeros(2, 'int8').max(initial=300)
max | int8 | 300 | jnp.zeros(2, 'int8').max(initial=np.int64(300))
max | int8 | 300 | jnp.zeros(2, 'int8').max(initial=300.0)
min | int8 | -300 | jnp.zeros(2, 'int8').min(initial=-300)
sum | int8 | 300 | jnp.sum(jnp.ones(2, 'int8'), dtype='int8', initial=300)
prod | uint32 | -1 | jnp.prod(jnp.ones(2, 'uint8'), initial=-1)
nanmax | int8 | 300 | jnp.nanmax(jnp.ones(2, 'int8'), initial=300)
bitwise_and.reduce | int8 | 300 | jnp.bitwise_and.reduce(jnp.ones(2, 'int8'), initial=300)
subtract.reduce | int8 | 300 | jnp.subtract.reduce(jnp.ones(2, 'int8'), initial=300)
insert | int8 | 300 | jnp.insert(jnp.ones(4, 'int8'), 0, 300)
insert | int8 | 300 | jnp.insert(jnp.ones(4, 'int8'), 0, np.array([300]))
insert | int8 | 300 | jnp.insert(jnp.ones(4, 'int8'), 0, [300, 2])
fill_diagonal | int8 | 300 | jnp.fill_diagonal(jnp.ones((2, 2), 'int8'), 300, inplace=False)
fill_diagonal | int8 | 300 | jnp.fill_diagonal(jnp.ones((2, 2), 'int8'), [1, 300], inplace=False)
diff | int8 | 300 | jnp.diff(jnp.ones(4, 'int8'), prepend=300)
diff | int8 | 300 | jnp.diff(jnp.ones(4, 'int8'), append=300)
ediff1d | int8 | 300 | jnp.ediff1d(jnp.ones(4, 'int8'), to_end=300)
ediff1d | int8 | 300 | jnp.ediff1d(jnp.ones(4, 'int8'), to_begin=np.array([300]))
unique | int8 | 300 | jnp.unique(jnp.ones(4, 'int8'), size=3, fill_value=300)
unique | int8 | 300 | jnp.unique(jnp.ones((4, 2), 'int8'), axis=0, size=3, fill_value=300)
union1d | int8 | 300 | jnp.union1d(jnp.ones(4, 'int8'), jnp.ones(4, 'int8'), size=3, fill_value=300)
setdiff1d | int8 | 300 | jnp.setdiff1d(jnp.ones(4, 'int8'), jnp.zeros(4, 'int8'), size=3, fill_value=300)
full | int8 | 300 | jnp.full((2,), np.array(300), 'int8')
full | int8 | 300 | jnp.full((2,), [300, 1], 'int8')
full | int8 | 300 | lib.lax.full((2,), np.int64(300), 'int8')
full_like | int8 | 300 | jnp.full_like(jnp.zeros(2, 'int8'), np.int64(300))
astype | int8 | 300 | jnp.astype(np.array([300]), 'int8')
astype | int8 | 300 | jnp.astype(300, 'int8')
convert_element_type | int32 | 1099511627776 | lib.lax.convert_element_type(np.array([2**40]), 'int32')
convert_element_type | uint8 | -1 | lib.lax.convert_element_type(np.int64(-1), 'uint8')
nonzero | int32 | 1099511627776 | jnp.nonzero(jnp.ones(4), size=6, fill_value=2**40)
nonzero | int32 | 1099511627776 | jnp.nonzero(jnp.ones(4), size=6, fill_value=np.int64(2**40))
where | int32 | 1099511627776 | jnp.where(jnp.ones(4), size=6, fill_value=2**40)
take | uint8 | -1 | jnp.take(u, jnp.array([7]), fill_value=-1.0)
take | int8 | 300 | jnp.take(jnp.ones(4, 'int8'), jnp.array([7]), fill_value=300.0)
at[].get | uint8 | 300 | u.at[jnp.array([7])].get(mode='fill', fill_value=300)
pad | int8 | 300 | jnp.pad(jnp.ones(4, 'int8'), 1, constant_values=(300, 1))
piecewise | int8 | 300 | jnp.piecewise(jnp.ones(2, 'int8'), [jnp.ones(2, bool)], [300])
indices | int8 | 299 | jnp.indices((300, 1), dtype='int8')
iota | int8 | 299 | lib.lax.iota('int8', 300)
fromstring | int8 | 300 | jnp.fromstring('300', 'int8', sep=' ')
""")


@pytest.mark.parametrize("row", UNFIT)
def test_integers_that_do_not_fit_are_refused(row: str) -> None:
    """Whoever takes a number puts it into the array's dtype; it must not wrap there."""
    call, dtype, got, expression = row.split(" | ", 3)
    limits = np.iinfo(dtype)
    with pytest.raises(errors.IntegerOverflowError) as caught:
        evaluate(functrax, expression)
    expected = f"integers from {limits.min} to {limits.max}, which {dtype} holds; got {got} ("
    assert str(caught.value).startswith(f"[{call}] expected {expected}")


@pytest.mark.parametrize("value", ["np.array([1j])", "[np.array([1j])]", "jnp.array([1j])"])
def test_arrays_lose_imaginary_parts_with_a_warning(value: str) -> None:
    """Arrays are cast, as NumPy's `astype` does; only Python's numbers are refused."""
    with pytest.warns(np.exceptions.ComplexWarning):
        made = jnp.array(eval(value), dtype="float32")
    assert made.dtype == np.float32


def test_bytes_are_those_of_the_elements() -> None:
    """As NumPy's arrays; without a method of its own `bytes` would take the elements one by one."""
    x = np.arange(3, dtype=np.int32)
    assert bytes(jnp.asarray(x)) == x.tobytes()
    assert bytes(jnp.float32(1.5)) == np.float32(1.5).tobytes()


def test_formats() -> None:
    """A format is for numbers; without one any array is printed."""
    assert f"{jnp.float32(2.5):.2f}" == "2.50"
    assert f"{jnp.arange(2)}" == "[0 1]"


def _frame(row: Any, widths: Any, axis: int, options: Any) -> Any:
    """Fill both ends of a row with a number that tells the axis."""
    filler = options.get("filler", 10) + axis
    if widths[0]:
        row = row.at[: widths[0]].set(filler)
    return row.at[-widths[1] :].set(filler + 5) if widths[1] else row


@pytest.mark.parametrize("options", [{}, {"filler": 7}])
@pytest.mark.parametrize("widths", [2, ((1, 2), (0, 1)), ((0, 0), (2, 0))])
def test_pad_by_a_function(widths: Any, options: Any) -> None:
    """The rows of one axis after the other, those of the padding too."""
    x = np.arange(6).reshape(2, 3)
    found = jnp.pad(jnp.asarray(x), widths, mode=_frame, **options)
    expected = jax.numpy.pad(jax.numpy.asarray(x), widths, mode=_frame, **options)
    np.testing.assert_array_equal(found, expected)
    jitted = functrax.jit(lambda x: jnp.pad(x, widths, mode=_frame, **options))
    np.testing.assert_array_equal(jitted(x), expected)


@pytest.mark.parametrize("optimize", ["auto", "optimal", True, False])
def test_einsum_path_is_the_steps_alone(optimize: Any) -> None:
    """As in JAX; `einsum` takes them as they are."""
    x, y, z = (np.ones(shape, np.float32) for shape in ((2, 3), (3, 4), (4, 5)))
    path, _ = jnp.einsum_path("ij,jk,kl->il", x, y, z, optimize=optimize)
    assert path == jax.numpy.einsum_path("ij,jk,kl->il", x, y, z, optimize=optimize)[0]
    assert jnp.einsum("ij,jk,kl->il", x, y, z, optimize=path).shape == (2, 5)
