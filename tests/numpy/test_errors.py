"""What users see when arguments do not fit: the whole message, without the place in the file."""

import contextlib
import inspect
import re
from typing import Any

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors
from tests.numpy.compare import rows

x, y = np.ones((3, 4), np.float32), np.ones((5, 4), np.float32)

CASES: list[tuple[str, type[Exception], str]] = [
    (
        "jnp.add(a, b)",
        errors.ShapeError,
        "[add] expected operands of one shape (or scalars); got f32[3,4], f32[5,4]. "
        "Reshape or `broadcast_to` a common shape.",
    ),
    (
        "a + jnp.ones((2, 3, 5))",
        errors.ShapeError,
        "[add] expected shapes that broadcast together; got (3, 4), (2, 3, 5). "
        "Sizes of trailing axes must be equal, or 1.",
    ),
    (
        "a @ b",
        errors.ShapeError,
        "[matmul] expected the last axis of the first array to be as long as the last but one (of a vector: the "
        "only one) of the second; got f32[3,4], f32[5,4]. Transpose or reshape one of them.",
    ),
    (
        "jnp.einsum('ij,jk->ik', a, b)",
        errors.ShapeError,
        "[einsum] expected one size for each letter of 'ij,jk->ik'; got 4 and 5 for 'j', in shapes (3, 4), (5, 4).",
    ),
    (
        "jnp.einsum('ij->ijk', a)",
        errors.ArgumentError,
        "[einsum] expected letters of the arrays, each once, after the arrow; got 'ij->ijk'.",
    ),
    (
        "jnp.reshape(a, (5, -1))",
        errors.ShapeError,
        "[reshape] expected a shape of 12 elements; got (5, -1) for an array of shape (3, 4).",
    ),
    (
        "jnp.sum([1, 2])",
        errors.ArgumentError,
        "[sum] expected an array or a number; got [1, 2] of type list. Convert it with `jnp.asarray`.",
    ),
    (
        "jnp.sum(a, axis=2)",
        errors.BoundsError,
        "[sum] expected an axis of an array of 2 axes; got axis 2.",
    ),
    (
        "jnp.max(jnp.zeros((0, 3)))",
        errors.ShapeError,
        "[max] expected at least one element to reduce; got f32[0,3]. Give `initial`.",
    ),
    (
        "jnp.sum(a, out=a)",
        errors.ArgumentError,
        "[sum] expected out=None; got f32[3,4]. Arrays are immutable: use the result.",
    ),
    (
        "jnp.zeros((2, -1))",
        errors.ArgumentError,
        "[zeros] expected a shape of non-negative integers; got (2, -1).",
    ),
    (
        "jnp.asarray(2**40)",
        errors.IntegerOverflowError,
        "[asarray] expected integers from -2147483648 to 2147483647, which int32 holds; got 1099511627776. "
        'Ask for dtype="int64", which holds it.',
    ),
    (
        "jnp.arange(3) + 2**40",
        errors.IntegerOverflowError,
        "[add] expected integers from -2147483648 to 2147483647, which int32 holds; got 1099511627776. "
        'Ask for dtype="int64", which holds it.',
    ),
    (
        "jnp.asarray([[1], [1, 2]])",
        errors.ShapeError,
        "[asarray] expected nested sequences of equal lengths; got lengths that differ, in [[1], [1, 2]].",
    ),
    (
        "jnp.asarray('text')",
        errors.ArgumentError,
        "[asarray] expected numbers, or sequences of numbers; got 'text' of type str.",
    ),
    (
        "jnp.concatenate([])",
        errors.ArgumentError,
        "[concatenate] expected at least one array; got an empty sequence.",
    ),
    (
        "jnp.concatenate([1.0, 2.0])",
        errors.ShapeError,
        "[concatenate] expected arrays of at least one axis; got (), (). Use `jnp.stack` to join numbers.",
    ),
    *(
        (
            f"jnp.{name}(key)",
            errors.KeyTypeError,
            f"[{name}] expected an array of numbers; got the PRNG key key<fry>[]. "
            "Use `random.key_data(key)` for its bits, or a sampler of functrax.random for numbers.",
        )
        for name in [
            "sum",
            "prod",
            "max",
            "min",
            "all",
            "any",
            "mean",
            "var",
            "std",
            "average",
            "cov",
            "median",
            "abs",
            "negative",
            "sin",
            "rint",
            "round",
            "trunc",
            "positive",
            "conj",
            "real",
            "isfinite",
            "nan_to_num",
            "logical_not",
            "deg2rad",
        ]
    ),
    (
        "jnp.add(key, key)",
        errors.KeyTypeError,
        "[add] expected an array of numbers; got the PRNG key key<fry>[]. "
        "Use `random.key_data(key)` for its bits, or a sampler of functrax.random for numbers.",
    ),
    *(
        (
            f"jnp.{name}(a, dtype=key.dtype)",
            errors.KeyTypeError,
            f"[{name}] expected a dtype of numbers; got key<fry>.",
        )
        for name in ("sum", "mean", "var", "cov")
    ),
    *(
        (
            f"jnp.{name}(a, {option}='a')",
            errors.ArgumentError,
            f"[{name}] expected a number for {option!r}; got 'a' of type str.",
        )
        for name, option in [
            ("var", "ddof"),
            ("std", "ddof"),
            ("var", "correction"),
            ("cov", "ddof"),
        ]
    ),
    *(
        (
            f"jnp.{name}(a, {option}='a')",
            errors.ArgumentError,
            f"[{name}] expected an integer for {option!r}; got 'a' of type str.",
        )
        for name, option in [
            ("mean", "axis"),
            ("median", "axis"),
            ("diff", "n"),
            ("rot90", "k"),
            ("unique", "axis"),
        ]
    ),
    ("jnp.repeat(a, -1)", errors.ArgumentError, "[repeat] expected repeats >= 0; got -1."),
    (
        "jnp.repeat(a, jnp.array([1, -2, 1]), 0)",
        errors.ArgumentError,
        "[repeat] expected repeats >= 0; got -2.",
    ),
    (
        "jnp.vdot(a, b)",
        errors.ShapeError,
        "[vdot] expected the last axis of the first array to be as long as the last but one (of a vector: the only "
        "one) of the second; got f32[12], f32[20]. Transpose or reshape one of them.",
    ),
    (
        "jnp.inner(a, b.T)",
        errors.ShapeError,
        "[inner] expected last axes of equal sizes; got f32[3,4], f32[4,5].",
    ),
    (
        "jnp.stack([a, b])",
        errors.ShapeError,
        "[stack] expected arrays of one shape; got (3, 4), (5, 4).",
    ),
    (
        "jnp.split(a, 5, axis=1)",
        errors.ShapeError,
        "[split] expected a size that divides into 5 equal parts; got size 4 of axis 1.",
    ),
    (
        "jnp.broadcast_to(a, (4,))",
        errors.ShapeError,
        "[broadcast_to] expected an array that broadcasts to (4,); got shape (3, 4).",
    ),
    (
        "jnp.power(jnp.arange(3), -1)",
        errors.ArgumentError,
        "[power] expected a non-negative exponent for integers; got -1. "
        "Convert the base to a float with `.astype(float)`.",
    ),
    (
        "jnp.sin(functrax.random.key(0))",
        errors.KeyTypeError,
        "[sin] expected an array of numbers; got the PRNG key key<fry>[]. "
        "Use `random.key_data(key)` for its bits, or a sampler of functrax.random for numbers.",
    ),
    (
        "jnp.int4(1) + jnp.float32(1)",
        functrax.errors.TypePromotionError,
        "[add] expected dtypes that promote to a common one; got int4, float32. "
        "Numbers of 8 bits and fewer are not promoted: convert one with astype.",
    ),
    (
        "functrax.jit(lambda v: jnp.arange(v))(3)",
        errors.TracerArrayError,
        "[arange] expected a concrete 'stop'; got a traced ~i32[] made at the call of <lambda>, argument v. "
        "The shape would depend on a traced value.",
    ),
    (
        "functrax.jit(jnp.nonzero)(jnp.ones(3))",
        errors.TracerArrayError,
        "[nonzero] expected a concrete array; got a traced f32[3] made at the call of nonzero, argument a. "
        "Give `size`, so that the shape is known.",
    ),
    (
        "jnp.pad(a, 1, mode='edges')",
        errors.ArgumentError,
        "[pad] expected a mode among constant, empty, edge, wrap, reflect, symmetric, linear_ramp, maximum, minimum, "
        "mean, median, with its own arguments; got mode='edges'.",
    ),
    (
        "jnp.take(a, 1.5)",
        errors.DtypeError,
        "[take] expected integer indices; got ~f32[].",
    ),
    (
        "jnp.where(a > 0, a)",
        errors.ArgumentError,
        "[where] expected both x and y, or neither; size and fill_value only without them; got another combination.",
    ),
    (
        "jnp.linalg.norm(a, 2)",
        errors.ArgumentError,
        "[norm] expected ord='fro', 1, -1, infinity or -infinity for matrices; got 2. "
        "Norms of singular values need `svd`.",
    ),
    ("jnp.frexp(1j)", errors.DtypeError, "[frexp] expected real numbers; got ~c64[]."),
    ("jnp.ldexp(a, 2.0)", errors.DtypeError, "[ldexp] expected integers as x2; got ~f32[]."),
    ("jnp.gcd(a, 2)", errors.DtypeError, "[gcd] expected integers; got f32[3,4]."),
    ("jnp.lcm(True, True)", errors.DtypeError, "[lcm] expected integers; got bool[]."),
    # what functions that are made of others say of their arguments
    (
        "jnp.ptp(a, axis=7)",
        errors.BoundsError,
        "[ptp] expected an axis of an array of 2 axes; got axis 7.",
    ),
    (
        "jnp.nanmean(a, axis=7)",
        errors.BoundsError,
        "[nanmean] expected an axis of an array of 2 axes; got axis 7.",
    ),
    (
        "jnp.nanmax(a, axis='x')",
        errors.ArgumentError,
        "[nanmax] expected an integer for 'axis'; got 'x' of type str.",
    ),
    (
        "jnp.nanvar(a, axis=7)",
        errors.BoundsError,
        "[nanvar] expected an axis of an array of 2 axes; got axis 7.",
    ),
    (
        "jnp.nanmedian(a, axis=7)",
        errors.BoundsError,
        "[nanmedian] expected an axis of an array of 2 axes; got axis 7.",
    ),
    (
        "jnp.median(a, axis=7)",
        errors.BoundsError,
        "[median] expected an axis of an array of 2 axes; got axis 7.",
    ),
    (
        "jnp.average(a, axis=7)",
        errors.BoundsError,
        "[average] expected an axis of an array of 2 axes; got axis 7.",
    ),
    (
        "jnp.average(a, weights=b)",
        errors.ShapeError,
        "[average] expected weights of the array's shape, or one per element of the axes; got f32[5,4] for f32[3,4] and axis None.",
    ),
    (
        "jnp.quantile(a, 0.5, axis=7)",
        errors.BoundsError,
        "[quantile] expected an axis of an array of 2 axes; got axis 7.",
    ),
    (
        "jnp.nanpercentile(a, 50, axis=7)",
        errors.BoundsError,
        "[nanpercentile] expected an axis of an array of 2 axes; got axis 7.",
    ),
    (
        "jnp.std(a, where=b)",
        errors.ShapeError,
        "[std] expected shapes that broadcast together; got (3, 4), (5, 4). "
        "Sizes of trailing axes must be equal, or 1.",
    ),
    (
        "jnp.corrcoef(a, dtype='nope')",
        errors.DtypeError,
        "[corrcoef] expected a dtype; got 'nope'.",
    ),
    (
        "jnp.corrcoef(a, b.T)",
        errors.ShapeError,
        "[corrcoef] expected arrays equal in all sizes but that of axis 0; got f32[3,4], f32[4,5]. "
        "Reshape or broadcast them to fit.",
    ),
    (
        "jnp.cov(a, b.T)",
        errors.ShapeError,
        "[cov] expected arrays equal in all sizes but that of axis 0; got f32[3,4], f32[4,5]. "
        "Reshape or broadcast them to fit.",
    ),
    (
        "jnp.cov(None)",
        errors.ArgumentError,
        "[cov] expected an array or a number; got None of type NoneType. "
        "Convert it with `jnp.asarray`.",
    ),
    (
        "jnp.cov(a, aweights=b)",
        errors.ShapeError,
        "[cov] expected aweights of shape (4,), one per observation; got f32[5,4].",
    ),
    (
        "jnp.count_nonzero(a, axis=7)",
        errors.BoundsError,
        "[count_nonzero] expected an axis of an array of 2 axes; got axis 7.",
    ),
    (
        "jnp.trapezoid(a, axis=7)",
        errors.BoundsError,
        "[trapezoid] expected an axis of an array of 2 axes; got axis 7.",
    ),
    (
        "jnp.histogram(a, range=3)",
        errors.ArgumentError,
        "[histogram] expected a pair of limits as range; got 3.",
    ),
    (
        "jnp.partition(a, 0, axis=7)",
        errors.BoundsError,
        "[partition] expected an axis of an array of 2 axes; got axis 7.",
    ),
    (
        "jnp.unique(a, axis=7)",
        errors.BoundsError,
        "[unique] expected an axis of an array of 2 axes; got axis 7.",
    ),
    (
        "jnp.unwrap(a, axis=7)",
        errors.BoundsError,
        "[unwrap] expected an axis of an array of 2 axes; got axis 7.",
    ),
    (
        "jnp.bitwise_and(a, b)",
        errors.DtypeError,
        "[bitwise_and] expected an array of bool or signed integer or unsigned integer dtype; got f32[3,4]. "
        "Convert it with `.astype(...)`.",
    ),
    (
        "jnp.ptp(key)",
        errors.KeyTypeError,
        "[ptp] expected an array of numbers; got the PRNG key key<fry>[]. "
        "Use `random.key_data(key)` for its bits, or a sampler of functrax.random for numbers.",
    ),
    (
        "functrax.jit(lambda v: jnp.ptp(v, 7))(a)",
        errors.BoundsError,
        "[ptp] expected an axis of an array of 2 axes; got axis 7.",
    ),
    (
        "functrax.scipy.special.logsumexp(a, axis=7)",
        errors.BoundsError,
        "[logsumexp] expected an axis of an array of 2 axes; got axis 7.",
    ),
    (
        "a.std(axis=7)",
        errors.BoundsError,
        "[std] expected an axis of an array of 2 axes; got axis 7.",
    ),
    (
        "functrax.lax.reduce_window((), (), functrax.lax.add, (2,))",
        errors.ArgumentError,
        "[reduce_window] expected at least one operand; got ().",
    ),
    (
        "functrax.lax.reduce_window((a, a), (0.0,), functrax.lax.add, (2, 2))",
        errors.ArgumentError,
        "[reduce_window] expected 2 initial values; got (0.0,).",
    ),
    (
        "functrax.lax.reduce_window(a, 0.0, None, (2, 2))",
        errors.ArgumentError,
        "[reduce_window] expected a function as computation; got None of type NoneType.",
    ),
    (
        "functrax.lax.select_n(True)",
        errors.ArgumentError,
        "[select_n] expected at least one case; got none.",
    ),
    (
        "functrax.lax.select_n(1.5, a, a)",
        errors.DtypeError,
        "[select_n] expected a boolean predicate, or integers with more than two cases; got ~f32[].",
    ),
    (
        "jnp.arange(None)",
        errors.ArgumentError,
        "[arange] expected a number for 'stop'; got None of type NoneType.",
    ),
    (
        "functrax.jit(lambda v: jnp.arange(v, 5))(3)",
        errors.TracerArrayError,
        "[arange] expected a concrete 'start'; got a traced ~i32[] made at the call of <lambda>, argument v. "
        "The shape would depend on a traced value.",
    ),
    *(
        (
            f"jnp.{name}(jnp.ones(2), jnp.ones(3))",
            errors.ShapeError,
            f"[{name}] expected shapes that broadcast together; got (2,), (3,). "
            "Sizes of trailing axes must be equal, or 1.",
        )
        for name in ("linspace", "logspace", "geomspace")
    ),
    (
        "jnp.insert(a, [True, False], 1.0)",
        errors.DtypeError,
        "[insert] expected places that are integers; got [True, False] of type list.",
    ),
    (
        "jnp.insert(a, [[1], [1, 2]], 1.0)",
        errors.ShapeError,
        "[insert] expected nested sequences of equal lengths; got lengths that differ, in [[1], [1, 2]].",
    ),
    (
        "jnp.trim_zeros(a[0], 'x')",
        errors.ArgumentError,
        "[trim_zeros] expected trim='f', 'b' or 'fb'; got 'x' of type str.",
    ),
    (
        "jnp.einsum(None, a)",
        errors.ArgumentError,
        "[einsum] expected a string, or arrays and lists of axes from 0 to 51 in turn; got f32[3,4].",
    ),
    (
        "jnp.einsum('ij,ij,ij->i', a, a, a, optimize=[(0, 7)])",
        errors.ArgumentError,
        "[einsum] expected a path that multiplies 3 arrays, each once, as optimize; got [(0, 7)].",
    ),
    (
        "jnp.einsum_path('ij,ij,ij->i', a, a, a, optimize='best')",
        errors.ArgumentError,
        "[einsum_path] expected True, False, 'auto', 'optimal', 'greedy' or a path as optimize; got 'best'.",
    ),
    (
        "jnp.rot90(a, axes=())",
        errors.ArgumentError,
        "[rot90] expected a pair of axes; got ().",
    ),
    (
        "jnp.vecmat(1.0, a)",
        errors.ShapeError,
        "[vecmat] expected an array of vectors as x1; got ~f32[].",
    ),
    (
        "jnp.unwrap(a, discont='a')",
        errors.ArgumentError,
        "[unwrap] expected a number or an array for 'discont'; got 'a' of type str. "
        "Convert it with `jnp.asarray`.",
    ),
    (
        "jnp.ldexp(a, key)",
        errors.KeyTypeError,
        "[ldexp] expected an array of numbers; got the PRNG key key<fry>[]. "
        "Use `random.key_data(key)` for its bits, or a sampler of functrax.random for numbers.",
    ),
    (
        "jnp.can_cast(1.5, 'int8')",
        errors.ArgumentError,
        "[can_cast] expected what `numpy.can_cast` takes; got others: can_cast() does not support Python ints, "
        "floats, and complex because the result used to depend on the value.",
    ),
    (
        "jnp.issubdtype(7, 'int8')",
        errors.DtypeError,
        "[issubdtype] expected dtypes, or types of numbers; got 7 of type int and 'int8' of type str.",
    ),
    (
        "jnp.frombuffer('a')",
        errors.ArgumentError,
        "[frombuffer] expected what `numpy.frombuffer` takes; got others: a bytes-like object is required, not 'str'.",
    ),
    (
        "jnp.piecewise(a, [a > 1], [lambda v: jnp.stack([v, v])])",
        errors.ShapeError,
        "[piecewise] expected functions that return a number for a number; got one that returns shape (2,).",
    ),
    (
        "jnp.gradient(a, jnp.ones(2), axis=0)",
        errors.ShapeError,
        "[gradient] expected a number or a vector of 3 places as the distance along axis 0; got shape (2,).",
    ),
    (
        "jnp.linalg.norm(a[0], 'a')",
        errors.ArgumentError,
        "[norm] expected ord=2, a number, infinity, -infinity or 0; got 'a'.",
    ),
    (
        "a.item(99)",
        errors.BoundsError,
        "[item] expected a place in an array of shape (3, 4); got 99.",
    ),
    (
        "a.item('a')",
        errors.ArgumentError,
        "[item] expected no argument, an integer, or one for each of 2 axes; got 'a'.",
    ),
    (
        "jnp.ones(()).view('int16')",
        errors.ShapeError,
        "[view] expected a last axis that holds whole elements of i16, 16 bits each; got f32[].",
    ),
    (
        "a[:, :3].view('int64')",
        errors.ShapeError,
        "[view] expected a last axis that holds whole elements of i64, 64 bits each; got f32[3,3].",
    ),
    (
        "a.view(key.dtype)",
        errors.KeyTypeError,
        "[view] expected a dtype of numbers; got key<fry>.",
    ),
    (
        "1.0 in a",
        errors.ShapeError,
        "[contains] expected a number to look for in a vector; got ~f32[] in f32[3,4].",
    ),
    (
        "functrax.lax.reduce_window(a, 0.0, functrax.lax.add, (2,))",
        errors.ArgumentError,
        "[reduce_window] expected window_dimensions with an entry of at least 1 for each of 2 axes; got (2,).",
    ),
]


@pytest.mark.parametrize(("expression", "kind", "message"), CASES, ids=[case[0] for case in CASES])
def test_message(expression: str, kind: type[Exception], message: str) -> None:
    names: dict[str, Any] = {
        "jnp": jnp,
        "functrax": functrax,
        "a": jnp.asarray(x),
        "b": jnp.asarray(y),
        "key": functrax.random.key(0),
    }
    with pytest.raises(kind) as raised:
        eval(expression, names)
    assert re.sub(r" \([^() ]*:\d+\)", "", str(raised.value)) == message


_WITH_AXIS = [
    name
    for name, function in sorted(vars(jnp).items())
    if inspect.isfunction(function) and "axis" in inspect.signature(function).parameters
    if name != "apply_along_axis"  # whose `axis` stands before the array
]


@pytest.mark.parametrize("name", _WITH_AXIS)
def test_errors_name_the_function_that_the_user_called(name: str) -> None:
    """Whatever it is made of, eagerly and in a program."""
    function = getattr(jnp, name)
    others = {"q": 0.5, "values": x, "a": x[0] > 0, "arr2": x, "choices": [x], "x2": x}
    given = [
        others.get(parameter.name, 1)
        for parameter in list(inspect.signature(function).parameters.values())[1:]
        if parameter.default is parameter.empty and parameter.name not in ("axis", "kwargs")
    ]
    call = lambda v: function(v, *given, axis=7)  # noqa: E731
    for run in (call, functrax.jit(call)):
        with pytest.raises(errors.FunctraxError) as raised:
            run(jnp.asarray(x))
        assert raised.value.call == function.__name__


@pytest.mark.parametrize("other", [None, "text", [1, 2], {}, object()])
def test_operators_leave_foreign_types_alone(other: Any) -> None:
    a = jnp.ones(2)
    with pytest.raises(TypeError, match="unsupported operand"):
        a + other
    with pytest.raises(TypeError, match="unsupported operand"):
        other - a
    if isinstance(other, list | dict):  # Python would compare identities, as JAX does not allow
        with pytest.raises(TypeError, match="an array or a number; got"):
            a == other  # noqa: B015
        with pytest.raises(TypeError, match="an array or a number; got"):
            a != other  # noqa: B015
    else:
        assert (a == other) is False
        assert (a != other) is True


def test_arrays_are_immutable() -> None:
    a = jnp.ones(2)
    with pytest.raises(TypeError, match=r"x = x.at\[i\].set\(y\)"):
        a[0] = 2.0


# Calls with every argument named: each in turn is replaced by values that it should not have.
_CALLS = rows("""
apply_along_axis(func1d=jnp.sum, axis=0, arr=a)
apply_over_axes(func=jnp.sum, a=a, axes=(0,))
arange(start=0, stop=4, step=1, dtype=None)
array_repr(arr=a, max_line_width=9, precision=3, suppress_small=True)
array_str(a=a, max_line_width=9, precision=3, suppress_small=True)
bincount(x=n, weights=None, minlength=9)
bincount(x=n, weights=None, length=9)
can_cast(from_='int8', to='int32', casting='safe')
choose(a=n, choices=[v, v, v], out=None, mode='clip')
compress(condition=v > 1, a=v, axis=0, size=3, fill_value=1.0)
convolve(a=v, v=v, mode='full', precision='high', preferred_element_type=None)
correlate(a=v, v=v, mode='full', precision='high', preferred_element_type=None)
delete(arr=v, obj=1, axis=0)
extract(condition=v > 1, arr=v, size=3, fill_value=1.0)
frombuffer(buffer=b'12345678', dtype='int32', count=1, offset=0)
fromstring(string='1 2', dtype=float, count=2, sep=' ')
geomspace(start=1.0, stop=2.0, num=3, axis=0)
insert(arr=a, obj=1, values=5.0, axis=0)
intersect1d(ar1=v, ar2=v, assume_unique=False, size=9, fill_value=1.0)
kaiser(M=3, beta=1.0)
linspace(start=0.0, stop=1.0, num=5, endpoint=True, dtype=None, axis=0)
logspace(start=0.0, stop=1.0, num=5, base=10.0, axis=0)
nonzero(a=v, size=9, fill_value=7)
pad(array=a, pad_width=1, mode='edge')
piecewise(x=v, condlist=[v > 1], funclist=[jnp.sin, 3.0])
repeat(a=a, repeats=2, axis=0)
resize(a=v, new_shape=(2, 3))
roll(a=a, shift=1, axis=0)
rot90(m=a, k=1, axes=(0, 1))
setdiff1d(ar1=v, ar2=v, assume_unique=False, size=9, fill_value=1.0)
setxor1d(ar1=v, ar2=v, assume_unique=False, size=9, fill_value=1.0)
take(a=v, indices=n, axis=0, mode='fill', unique_indices=False, indices_are_sorted=False, fill_value=1.0)
take_along_axis(arr=v, indices=n, axis=0, mode='fill', fill_value=1.0)
tensordot(a=a, b=a, axes=2, precision='high')
trim_zeros(filt=v, trim='fb', axis=0)
unique(ar=v, axis=0, equal_nan=True, size=9, fill_value=1.0)
unwrap(p=v, discont=1.0, axis=-1, period=3.0)
vectorize(pyfunc=jnp.sin, excluded=(), signature='()->()')
zeros(shape=(2,), dtype='int8')
linalg.norm(x=a, ord=2, axis=0)
""")


@pytest.mark.parametrize("call", _CALLS, ids=lambda call: call.partition("(")[0])
def test_bad_arguments_are_one_error(call: str) -> None:
    names: dict[str, Any] = {
        "jnp": jnp,
        "a": jnp.asarray(x),
        "v": jnp.arange(3.0),
        "n": jnp.arange(3),
    }
    name, _, arguments = call.partition("(")
    function = eval(f"jnp.{name}", names)
    good = eval(f"dict({arguments}", names)
    function(**good)
    named = set()
    for argument in good:
        for bad in ("text", None, object(), [1, "text"], {}, -7, 1.5, np.array(["text"])):
            try:
                function(**{**good, argument: bad})
            except errors.FunctraxError as error:
                named.add(error.call)
        with contextlib.suppress(errors.FunctraxError):
            function(**{**good, argument: functrax.random.key(0)})
    assert named == {function.__name__}
