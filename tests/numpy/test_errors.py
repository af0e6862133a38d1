"""What users see when arguments do not fit: the whole message, without the place in the file."""

import inspect
import re
from typing import Any

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors

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
        "[arange] expected a concrete 'start'; got a traced ~i32[] made at the call of <lambda>, argument v. "
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
