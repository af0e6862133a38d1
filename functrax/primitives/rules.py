"""What many primitives share: constants, linear operands, mapped axes, implicit broadcasting."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.primitive import BatchAxis, Linear, Primitive, declare, registry
from functrax.core.signature import of_operands
from functrax.core.trace import VALUES, Value, as_value, bind, vary
from functrax.core.types import Literal, ShapedArray, short_types

NOT_MAPPED = None
Dim = int | None
Tangent = Value | None


# Constants and cotangents -------------------------------------------------------------------------


def scalar(value: Any, dtype: Any, weak_type: bool = False) -> Literal:
    """Return a literal of a dtype: among numbers False and True are 0 and 1, and the reverse."""
    aval = ShapedArray((), dtype, weak_type)
    is_bool = dtypes.is_bool(aval.dtype)
    if isinstance(value, bool) is not is_bool:
        value = bool(value) if is_bool else int(value)
    return Literal(value, aval)


def full(shape: Sequence[int], value: Any, dtype: Any) -> Value:
    """Return an array filled with a Python scalar."""
    literal = scalar(value, dtype)
    return broadcast_to(literal, tuple(shape)) if len(shape) else literal


def zeros(aval: ShapedArray) -> Value:
    """Return zeros of a type; keys of zeros hold a place where they are never used."""
    if dtypes.is_extended(aval.dtype):
        words = full((*aval.shape, *aval.dtype.key_shape), 0, dtypes.uint32)
        return bind(registry["random_wrap"], words, dtype=aval.dtype)[0]
    zero = scalar(0, aval.dtype, aval.weak_type)
    return vary(broadcast_to(zero, aval.shape), aval.varying)


def broadcast_to(x: Value, shape: tuple[int, ...]) -> Value:
    """Broadcast by NumPy's rule: align trailing axes, stretch axes of size 1."""
    if x.aval.shape == shape:
        return x
    dims = tuple(range(len(shape) - x.aval.ndim, len(shape)))
    return bind(registry["broadcast_in_dim"], x, shape=shape, broadcast_dimensions=dims)[0]


def reshape(x: Value, shape: tuple[int, ...]) -> Value:
    """Reshape, unless the shape is right already."""
    return x if x.aval.shape == shape else bind(registry["reshape"], x, new_sizes=shape)[0]


def transpose_axes(x: Value, permutation: Sequence[int]) -> Value:
    """Permute the axes, unless they are in order already."""
    if tuple(permutation) == tuple(range(x.aval.ndim)):
        return x
    return bind(registry["transpose"], x, permutation=tuple(permutation))[0]


def move_axis(x: Value, source: int, destination: int) -> Value:
    """Move one axis to another place."""
    order = [axis for axis in range(x.aval.ndim) if axis != source]
    order.insert(destination, source)
    return transpose_axes(x, order)


def sum_axes(x: Value, axes: Sequence[int]) -> Value:
    """Sum over axes, dropping them."""
    return bind(registry["reduce_sum"], x, axes=tuple(axes))[0] if axes else x


def unbroadcast(x: Value, aval: ShapedArray) -> Value:
    """Sum a cotangent down to the shape that was stretched: the transpose of implicit
    broadcasting.
    """
    if x.aval.shape == aval.shape:
        return x
    if not aval.shape:
        return sum_axes(x, range(x.aval.ndim))
    axes = [
        i
        for i, (small, big) in enumerate(zip(aval.shape, x.aval.shape, strict=True))
        if small != big
    ]
    return reshape(sum_axes(x, axes), aval.shape)


def add_cotangents(x: Tangent, y: Tangent) -> Tangent:
    """Add two tangents or cotangents of one type; None is zero."""
    if x is None or y is None:
        return y if x is None else x
    return bind(registry["add"], x, y)[0]


def tangent_type(aval: ShapedArray) -> ShapedArray:
    """Return the type of a value's tangent: its own, for inexact dtypes."""
    return aval


def is_linear(x: Any) -> bool:
    """Tell whether a transposed operand is `Linear` or a value."""
    return type(x) is Linear


def known(x: Any) -> Any:
    """Return the other factor of a product that is transposed, which must be a value.

    Raises:
        MissingRuleError: if the product is not linear, because both factors depend on the argument.
    """
    if is_linear(x):
        raise errors.MissingRuleError(
            "linear_transpose",
            "a function that is linear in its arguments",
            "a product or quotient of two values that depend on them",
            fix="Use `vjp`, which linearizes first.",
        )
    return x


def has_tangent(aval: ShapedArray) -> bool:
    """Tell whether values of the type have a derivative: inexact dtypes do."""
    return dtypes.is_inexact(aval.dtype)


# Mapped axes --------------------------------------------------------------------------------------


def move_batch_axis(axis: BatchAxis, x: Value, dim: Dim, destination: int = 0) -> Value:
    """Return x with the mapped axis at `destination`, broadcasting if it is not mapped."""
    if dim is not None:
        return x if dim == destination else move_axis(x, dim, destination)
    shape = list(x.aval.shape)
    shape.insert(destination, axis.size)
    dims = tuple(i for i in range(len(shape)) if i != destination)
    return bind(registry["broadcast_in_dim"], x, shape=tuple(shape), broadcast_dimensions=dims)[0]


def expand_axis(x: Value, position: int) -> Value:
    """Insert an axis of size 1."""
    shape = x.aval.shape
    dims = tuple(i for i in range(len(shape) + 1) if i != position)
    return bind(
        registry["broadcast_in_dim"],
        x,
        shape=(*shape[:position], 1, *shape[position:]),
        broadcast_dimensions=dims,
    )[0]


def batched_axes(axes: Sequence[int], dim: int) -> tuple[int, ...]:
    """Shift axis numbers past an inserted mapped axis."""
    return tuple(axis + (axis >= dim) for axis in axes)


# Linear operations --------------------------------------------------------------------------------


def linear_jvp(
    primitive: Primitive,
    positions: Sequence[int] | None,
    primals: Sequence[Value],
    tangents: Sequence[Tangent],
    params: Any,
) -> tuple[Sequence[Value], Sequence[Tangent]]:
    """Apply the operation itself to the tangents of the operands it is jointly linear in: d Lx = L
    dx.
    """
    results = bind(primitive, *primals, **params)
    linear = range(len(primals)) if positions is None else positions
    if all(tangents[i] is None for i in linear):
        return results, [None] * len(results)
    operands = list(primals)
    for i in linear:
        tangent = tangents[i]
        operands[i] = zeros(primals[i].aval) if tangent is None else tangent
    return results, bind(primitive, *operands, **params)


def declare_linear(name: str, *, positions: Sequence[int] | None = None, **rules: Any) -> Primitive:
    """Declare a primitive that is jointly linear in the operands at `positions` (all by default);
    its jvp comes free.
    """

    def jvp(primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any) -> Any:
        return linear_jvp(registry[name], positions, primals, tangents, params)

    return declare(name, jvp=jvp, **rules)


def bilinear_jvp(
    primitive_name: str, primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any
) -> tuple[Sequence[Value], Sequence[Tangent]]:
    """Apply the product rule: d B(x, y) = B(dx, y) + B(x, dy)."""
    primitive = registry[primitive_name]
    x, y = primals
    dx, dy = tangents
    results = bind(primitive, x, y, **params)
    left = None if dx is None else bind(primitive, dx, y, **params)[0]
    right = None if dy is None else bind(primitive, x, dy, **params)[0]
    if left is None or right is None:
        return results, [right if left is None else left]
    return results, [add_cotangents(left, right)]


# Elementwise operations ---------------------------------------------------------------------------

KINDS = {
    "b": "bool",
    "i": "signed integer",
    "u": "unsigned integer",
    "f": "floating",
    "c": "complex",
    "k": "PRNG key",
}


def kind_of(dtype: Any) -> str:
    """Return the one-letter kind of a dtype: b i u f c, or k for PRNG keys."""
    if dtypes.is_extended(dtype):
        return "k"
    if dtypes.is_bool(dtype):
        return "b"
    if dtypes.is_floating(dtype):
        return "f"
    if dtypes.is_complex(dtype):
        return "c"
    return "u" if dtypes.is_unsigned(dtype) else "i"


def check_kind(call: str, aval: ShapedArray, kinds: str) -> None:
    """Raise unless an operand's dtype is of one of the kinds.

    Raises:
        DtypeError: naming the kinds that are taken; KeyTypeError if it is a PRNG key.
    """
    kind = kind_of(aval.dtype)
    if kind in kinds:
        return
    names = " or ".join(KINDS[k] for k in kinds)
    if kind == "k":
        fix = (
            "Use `random.key_data(key)` for its bits, or a sampler of functrax.random for numbers."
        )
        raise errors.KeyTypeError(
            call, f"an array of {names} dtype", f"the PRNG key {aval!r}", fix=fix
        )
    raise errors.DtypeError(
        call, f"an array of {names} dtype", f"{aval!r}", fix="Convert it with `.astype(...)`."
    )


def broadcast_shape(call: str, avals: Sequence[ShapedArray]) -> tuple[int, ...]:
    """Return the common shape of elementwise operands: equal ranks with equal or unit sizes, and
    scalars.

    Raises:
        ShapeError: showing the shapes.
    """
    first = avals[0].shape
    if all(aval.shape == first for aval in avals):
        return first
    shapes = [aval.shape for aval in avals if aval.shape]
    ranks = {len(shape) for shape in shapes}
    if len(ranks) == 1:
        merged = [
            {size for size in sizes if size != 1} or {1} for sizes in zip(*shapes, strict=True)
        ]
        if all(len(sizes) == 1 for sizes in merged):
            return tuple(sizes.pop() for sizes in merged)
    raise errors.ShapeError(
        call,
        "operands of one shape (or scalars)",
        short_types(avals),
        fix="Reshape or `broadcast_to` a common shape.",
    )


def elementwise_type(name: str, kinds: str, result: Any, *avals: ShapedArray) -> tuple[ShapedArray]:
    """Check dtypes and shapes of elementwise operands and return the result's type."""
    first = avals[0]
    for aval in avals:
        check_kind(name, aval, kinds)
        if aval.dtype != first.dtype:
            raise errors.DtypeError(
                name,
                "operands of one dtype",
                short_types(avals),
                fix="Convert one with `.astype(...)`.",
            )
    shape = broadcast_shape(name, avals)
    dtype = first.dtype if result is None else result(first.dtype)
    varying = frozenset[str]().union(*(aval.varying for aval in avals))
    weak = not dtypes.is_bool(dtype) and all(aval.weak_type for aval in avals)
    return (ShapedArray(shape, dtype, weak, varying),)


def elementwise_batch(
    name: str, axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any
) -> Any:
    """Map an elementwise operation: line the mapped axes up, and let the rest broadcast."""
    primitive = registry[name]
    if len(operands) == 1:
        return bind(primitive, *operands, **params), dims
    mapped = [(x.aval.shape, dim) for x, dim in zip(operands, dims, strict=True) if dim is not None]
    shape, dim = max(mapped, key=lambda pair: len(pair[0]))
    if all(
        (d == dim and x.aval.ndim == len(shape)) or (d is None and not x.aval.shape)
        for x, d in zip(operands, dims, strict=True)
    ):
        return bind(primitive, *operands, **params), [dim]
    rank = max(x.aval.ndim - (d is not None) for x, d in zip(operands, dims, strict=True))
    if len(shape) != rank + 1:
        dim = 0
    aligned = [_aligned(x, d, dim, rank) for x, d in zip(operands, dims, strict=True)]
    return bind(primitive, *aligned, **params), [dim]


def _aligned(x: Value, dim: Dim, destination: int, rank: int) -> Value:
    """Place the mapped axis at `destination` in a value of `rank` further axes (or leave an
    unmapped scalar).
    """
    if dim is None:
        return expand_axis(x, destination) if x.aval.shape else x
    if x.aval.ndim == 1 and rank:
        return reshape(
            x, tuple(x.aval.shape[0] if i == destination else 1 for i in range(rank + 1))
        )
    return move_axis(x, dim, destination)


def elementwise_jvp(
    name: str,
    derivatives: Sequence[Any],
    primals: Sequence[Value],
    tangents: Sequence[Tangent],
    **params: Any,
) -> tuple[Sequence[Value], Sequence[Tangent]]:
    """Add up the contributions of the operands that have a tangent: dy = sum of (dy/dx_i) dx_i."""
    results = bind(registry[name], *primals, **params)
    total: Tangent = None
    for derivative, tangent in zip(derivatives, tangents, strict=True):
        if tangent is None or derivative is None:
            continue
        part = derivative(tangent, results[0], *primals, **params)
        if part is not None:  # else the derivative is zero for this dtype
            part = broadcast_to_shape(part, results[0].aval.shape)
            total = part if total is None else add_cotangents(total, part)
    return results, [total]


def broadcast_to_shape(x: Value, shape: tuple[int, ...]) -> Value:
    """Stretch an elementwise operand (a scalar, or unit sizes at equal rank) to the result's
    shape.
    """
    return x if x.aval.shape == shape else broadcast_to(x, shape)


def elementwise_transpose(
    pulls: Sequence[Any], cotangents: Sequence[Any], *operands: Value, **params: Any
) -> list[Any]:
    """Pull the cotangent to each linear operand and undo implicit broadcasting."""
    return [
        unbroadcast(pull(cotangents[0], *operands, **params), x.aval) if is_linear(x) else None
        for pull, x in zip(pulls, operands, strict=True)
    ]


def elementwise_lower(operation: str, b: Any, *operands: Any, **_: Any) -> Any:
    """Emit one StableHLO or CHLO operation."""
    return b.elementwise(operation, operands)


def declare_elementwise(
    name: str,
    operation: str | Callable[..., Any],
    kinds: str,
    derivatives: Sequence[Any] | Any,
    *,
    result: Any = None,
    pulls: Sequence[Any] | Any = None,
    operands: int = 1,
) -> Primitive:
    """Declare an elementwise primitive from one table row.

    Args:
        name: the primitive's name.
        operation: the StableHLO operation, or a lowering rule.
        kinds: the letters of the dtypes it takes (see `KINDS`).
        derivatives: per operand ``(tangent, result, *operands, **params) -> tangent``, or None; or
            a Refusal.
        result: maps the operand dtype to the result dtype; the same by default.
        pulls: per operand ``(cotangent, *operands, **params) -> cotangent`` for the operands it is
            linear in; or a Refusal.
        operands: how many there are, where no derivatives tell.

    Returns:
        The primitive.
    """
    jvp: Any = derivatives
    if isinstance(derivatives, tuple):
        jvp, operands = partial(elementwise_jvp, name, derivatives), len(derivatives)
    transpose = partial(elementwise_transpose, pulls) if isinstance(pulls, tuple) else pulls
    lower = partial(elementwise_lower, operation) if isinstance(operation, str) else operation
    check = partial(elementwise_type, name, kinds, result)
    return declare(
        name,
        abstract_eval=of_operands(check, name, operands, operation),
        jvp=jvp,
        transpose=transpose,
        batch=partial(elementwise_batch, name),
        lower=lower,
    )


def unary(primitive: Primitive, summary: str) -> Callable[[Any], Value]:
    """Make the user's function of a unary primitive.

    Args:
        primitive: the primitive; its name names the function.
        summary: the first line of its docstring.
    """
    name = primitive.name

    def function(x: Any) -> Value:
        return bind(primitive, x if isinstance(x, VALUES) else as_value(x, name))[0]

    return _documented(function, name, summary, "x: array of any shape", "An array of its shape.")


def binary(primitive: Primitive, summary: str) -> Callable[[Any, Any], Value]:
    """Make the user's function of a binary primitive; a Python scalar takes the other's dtype.

    Args:
        primitive: the primitive; its name names the function.
        summary: the first line of its docstring.
    """
    name = primitive.name

    def function(x: Any, y: Any) -> Value:
        try:
            left, right = x.aval, y.aval
            if left.dtype is right.dtype and type(left) is type(right) is ShapedArray:
                return bind(primitive, x, y)[0]
        except AttributeError:  # a number, or an array of another library
            pass
        return bind(primitive, *matched(name, x, y))[0]

    arguments = (
        "x: array of any shape, or a Python number\n"
        "        y: the same, of one shape (or a scalar) and one dtype with x"
    )
    return _documented(function, name, summary, arguments, "An array of the common shape.")


def _documented(function: Any, name: str, summary: str, arguments: str, returns: str) -> Any:
    function.__name__ = function.__qualname__ = name
    function.__code__ = function.__code__.replace(co_name=name)  # tracebacks and errors name it
    function.__doc__ = (
        f"{summary}\n\n    Args:\n        {arguments}.\n\n    Returns:\n        {returns}\n\n"
        "    Raises:\n        DtypeError, ShapeError: if it does not take the operands.\n"
    )
    return function


def matched(call: str, *operands: Any) -> list[Value]:
    """Convert array-like operands; Python scalars become literals of the others' type."""
    values: list[Any] = [
        x if isinstance(x, bool | int | float | complex) else as_value(x, call) for x in operands
    ]
    typed = [x.aval for x in values if isinstance(x, VALUES)]
    if not typed:
        return [as_value(x, call) for x in values]
    kind = typed[0].dtype, all(aval.weak_type for aval in typed)
    return [x if isinstance(x, VALUES) else _literal_like(call, x, *kind) for x in values]


def _literal_like(call: str, value: Any, dtype: Any, weak_type: bool) -> Literal:
    """Return a Python scalar as a literal of the other operands' dtype, if promotion would keep
    that dtype, and weak if they are.

    Raises:
        DtypeError: if the scalar's kind needs a wider dtype.
        IntegerOverflowError: if an integer does not fit.
    """
    own = dtypes.python_scalar_dtype(type(value))
    joined, _ = dtypes.promote((dtype, own), (False, not isinstance(value, bool)), call)
    if joined != dtype:
        got = f"{dtypes.short_name(dtype)} and the Python scalar {value!r}"
        raise errors.DtypeError(call, "operands of one dtype", got)
    if dtypes.is_integer(dtype):
        dtypes.check_fits(value, dtype, call)
    return scalar(value, dtype, weak_type)
