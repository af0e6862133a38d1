"""Initializers whose variance follows from the shape: `variance_scaling`."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from functrax import errors, random
from functrax.core import dtypes
from functrax.core.arguments import integers
from functrax.core.trace import Array, Value
from functrax.nn.initializers.distributions import Initializer, initializer, scaled_normal
from functrax.numpy.manipulation import one_or_several
from functrax.primitives.elementwise import complex, cos, div, log, mul, neg, sin, sqrt, sub
from functrax.primitives.shape import canonical_axis
from functrax.random.arguments import PYTHON_NUMBERS, constant, given, parameter, split_in
from functrax.transforms.fuse import fuse

Axes = int | Sequence[int]


def variance_scaling(
    scale: Any,
    mode: str,
    distribution: str,
    in_axis: Axes = -2,
    out_axis: Axes = -1,
    batch_axis: Axes = (),
    dtype: Any = None,
) -> Initializer:
    """Return an initializer whose variance is `scale` divided by the number of inputs or outputs.

    Axes that are none of inputs, outputs and batch are taken as the receptive field of a
    convolution: each of its places is an input (and an output).

    Args:
        scale: the numerator: a positive number.
        mode: the denominator: ``"fan_in"`` for the number of inputs, ``"fan_out"`` of outputs,
            ``"fan_avg"`` their mean, ``"fan_geo_avg"`` their geometric mean.
        distribution: ``"truncated_normal"`` (at two standard deviations), ``"normal"`` or
            ``"uniform"``; for complex dtypes by modulus, in all directions.
        in_axis: the axis or axes of inputs.
        out_axis: the axis or axes of outputs.
        batch_axis: the axis or axes to ignore.
        dtype: the initializer's default dtype, floating or complex; float32 if None.

    Returns:
        An initializer.

    Raises:
        ArgumentError: for another mode or distribution.
        ArgumentError, BoundsError: when it is called, if the scale is no number, or axes are none.
        ShapeError: when it is called for fewer than two axes without saying which are inputs.
        DtypeError: when it is called with a dtype that is neither floating nor complex.

    Example:
        >>> from functrax.random import key
        >>> variance_scaling(1.0, "fan_in", "normal")(key(0), (64, 2)).std() < 0.2
        Array(True, dtype=bool)

    Source: He, Zhang, Ren, Sun, "Delving deep into rectifiers" (ICCV 2015).
    """
    call = "variance_scaling"
    if not isinstance(mode, str) or mode not in _DENOMINATORS:
        names = " or ".join(map(repr, _DENOMINATORS))
        raise errors.ArgumentError(call, f"mode {names}", repr(mode))
    if not isinstance(distribution, str) or distribution not in _DISTRIBUTIONS:
        names = " or ".join(map(repr, _DISTRIBUTIONS))
        raise errors.ArgumentError(call, f"distribution {names}", repr(distribution))

    row = _DISTRIBUTIONS[distribution]

    def draw(key: Any, shape: tuple[int, ...], wanted: Any) -> Array:
        (variance,) = given(call, None, scale=scale)
        inputs, outputs = _fans(shape, in_axis, out_axis, batch_axis)
        count = _DENOMINATORS[mode](inputs, outputs)
        is_complex, real = dtypes.is_complex(wanted), dtypes.to_real(wanted)
        factor = _factor(variance / count if count else 0.0, real, *row.factor[is_complex])
        return _scaled(key, factor, shape=shape, dtype=real, draw=row.draw[is_complex])

    return initializer(call, dtype, draw)


_DENOMINATORS: dict[str, Callable[[float, float], float]] = {
    "fan_in": lambda inputs, outputs: inputs,
    "fan_out": lambda inputs, outputs: outputs,
    "fan_avg": lambda inputs, outputs: (inputs + outputs) / 2,
    "fan_geo_avg": lambda inputs, outputs: math.sqrt(inputs * outputs),
}


def _fans(
    shape: tuple[int, ...], in_axis: Axes, out_axis: Axes, batch_axis: Axes
) -> tuple[float, float]:
    """Return the numbers of inputs and outputs of a layer."""
    if in_axis == -2 and len(shape) < 2:
        raise errors.ShapeError(
            "variance_scaling",
            "a shape of at least two axes, or in_axis and out_axis",
            str(shape),
            fix="Use `normal` for vectors, or say which axes are inputs and outputs.",
        )
    named = {"in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch_axis}
    inputs, outputs, batch = (_size(shape, name, axes) for name, axes in named.items())
    whole = inputs * outputs * batch
    field = math.prod(shape) / whole if whole else 0
    return inputs * field, outputs * field


def _size(shape: tuple[int, ...], name: str, axes: Axes) -> int:
    """Return the number of elements along axes.

    Raises:
        ArgumentError: if they are not integers; BoundsError: if the shape does not have them.
    """
    several = integers("variance_scaling", name, one_or_several(axes))
    return math.prod(shape[canonical_axis("variance_scaling", i, len(shape))] for i in several)


def _factor(variance: Any, dtype: Any, times: float, over: float) -> Value:
    """sqrt(times * variance) / over; of a Python number at once."""
    if isinstance(variance, PYTHON_NUMBERS):
        v, t, o = (np.asarray(x, dtype) for x in (variance, times, over))
        return constant(np.sqrt(t * v) / o, dtype)
    v, t, o = (parameter(x, dtype) for x in (variance, times, over))
    return div(sqrt(mul(t, v)), o)


@fuse
def _scaled(key: Value, factor: Value, *, shape: tuple[int, ...], dtype: Any, draw: Any) -> Value:
    return draw(key, factor, shape, dtype)


def _truncated(key: Value, factor: Value, shape: tuple[int, ...], dtype: Any) -> Value:
    return mul(random.truncated_normal(key, -2, 2, shape, dtype), factor)


def _truncated_complex(key: Value, factor: Value, shape: tuple[int, ...], dtype: Any) -> Value:
    """sqrt(-log(1 - u)) for u uniform in [0, 1 - exp(-4)), in a random direction."""
    first, second = split_in(key)
    one, most = parameter(1, dtype), parameter(1 - math.exp(-4), dtype)
    u = mul(most, random.uniform(first, shape, dtype))
    return _turned(second, mul(sqrt(neg(log(sub(one, u)))), factor), dtype)


def _uniform(key: Value, factor: Value, shape: tuple[int, ...], dtype: Any) -> Value:
    return mul(random.uniform(key, shape, dtype, -1), factor)


def _uniform_complex(key: Value, factor: Value, shape: tuple[int, ...], dtype: Any) -> Value:
    """sqrt(2 u) for u uniform, in a random direction: uniform in a disk."""
    first, second = split_in(key)
    length = sqrt(mul(parameter(2, dtype), random.uniform(first, shape, dtype)))
    return _turned(second, mul(length, factor), dtype)


def _turned(key: Value, length: Value, dtype: Any) -> Value:
    """Return complex numbers of given moduli in random directions."""
    angle = mul(parameter(2 * math.pi, dtype), random.uniform(key, length.aval.shape, dtype))
    return complex(mul(length, cos(angle)), mul(length, sin(angle)))


def _normal(key: Value, factor: Value, shape: tuple[int, ...], dtype: Any) -> Value:
    return scaled_normal(key, factor, shape=shape, dtype=dtype)


def _normal_complex(key: Value, factor: Value, shape: tuple[int, ...], dtype: Any) -> Value:
    return scaled_normal(key, factor, shape=shape, dtype=dtypes.to_complex(dtype))


class _Distribution(NamedTuple):
    """A row of the table, with an entry for real and one for complex dtypes.

    Attributes:
        draw: the function that draws and scales.
        factor: the factor is sqrt(first * variance) / second. The second is the standard deviation
            of what is drawn: that of a truncated normal distribution on the line and in the plane.
    """

    draw: tuple[Callable[..., Value], Callable[..., Value]]
    factor: tuple[tuple[float, float], tuple[float, float]]


_DISTRIBUTIONS = {
    "truncated_normal": _Distribution(
        (_truncated, _truncated_complex), ((1, 0.87962566103423978), (1, 0.95311164380491208))
    ),
    "normal": _Distribution((_normal, _normal_complex), ((1, 1), (1, 1))),
    "uniform": _Distribution((_uniform, _uniform_complex), ((3, 1), (1, 1))),
}
