"""Products of arrays: dot, matmul, tensordot and their kin."""

import functools
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integer, listed
from functrax.core.config import config
from functrax.core.trace import Array, Value, bind, state
from functrax.core.types import short_types
from functrax.numpy.joining import stack, unstack
from functrax.numpy.manipulation import moveaxis, one_or_several, ravel
from functrax.numpy.operands import broadcast_shapes, cast, mixes, promote, to_array
from functrax.primitives import elementwise as lax
from functrax.primitives.convert import convert
from functrax.primitives.dot import dot_general_p
from functrax.primitives.precision import canonical_precision
from functrax.primitives.rules import reshape, transpose_axes
from functrax.primitives.shape import canonical_axis
from functrax.runtime.array import DeviceArray
from functrax.runtime.dispatch import evaluate

Axes = tuple[int, ...]


def contract(
    a: Value,
    b: Value,
    numbers: Any,
    precision: Any = None,
    preferred: Any = None,
    call: str = "dot",
) -> Value:
    """Apply dot_general to promoted operands; the result is not weakly typed."""
    return bind(
        dot_general_p,
        a,
        b,
        dimension_numbers=numbers,
        precision=canonical_precision(precision, call),
        preferred_element_type=preferred,
    )[0]


def _operands(call: str, a: Any, b: Any, preferred: Any) -> tuple[Value, Value, Any]:
    """Return promoted operands and the dtype that the result is asked to have."""
    if not (isinstance(a, Array) and isinstance(b, Array) and a.aval.dtype is b.aval.dtype):
        a, b = promote(call, a, b)
    return a, b, None if preferred is None else dtypes.canonicalize(preferred, call)


def _finished(x: Value, left: Value, right: Value) -> Array:
    """Return a product that is weak only if both operands are."""
    weak = left.aval.weak_type and right.aval.weak_type
    return to_array(convert(x, x.aval.dtype, weak) if x.aval.weak_type != weak else x)


def _times(a: Value, b: Value) -> Value:
    """Multiply elementwise; the product of booleans is *and*."""
    return (lax.bitwise_and if dtypes.is_bool(a.aval.dtype) else lax.mul)(a, b)


# ---- matmul


@functools.lru_cache(4096)
def _plan(left: Axes, right: Axes) -> tuple[Any, Axes, Axes, Axes, Axes | None]:
    """Plan a matrix product of stacks: dimension numbers, shapes without unit batch axes, order of
    the result.

    Batch axes of both operands are batch axes of the product; those of one alone are free axes of
    it, and the result is brought in order at the end.
    """
    vector_left, vector_right = len(left) == 1, len(right) == 1
    batch_left, batch_right = left[: max(0, len(left) - 2)], right[: max(0, len(right) - 2)]
    batch = broadcast_shapes("matmul", [batch_left, batch_right])
    rank = len(batch)
    own: list[list[int]] = [[], []]  # which batch axes each operand really has
    for side, sizes in enumerate((batch_left, batch_right)):
        start = rank - len(sizes)
        other = batch_right if side == 0 else batch_left
        for axis, size in enumerate(sizes, start):
            partner = axis - (rank - len(other))
            alone = partner < 0 or other[partner] == 1
            if size != 1 or (alone and not (side and partner >= 0 and other[partner] == 1)):
                own[side].append(axis)
    shapes = [
        tuple(batch_sizes[axis - (rank - len(batch_sizes))] for axis in axes) + core
        for axes, batch_sizes, core in (
            (own[0], batch_left, left[len(batch_left) :]),
            (own[1], batch_right, right[len(batch_right) :]),
        )
    ]
    shared = [axis for axis in own[0] if axis in own[1]]
    contracting = len(shapes[0]) - 1, len(shapes[1]) - 1 if vector_right else len(shapes[1]) - 2
    numbers = (
        ((contracting[0],), (contracting[1],)),
        (tuple(map(own[0].index, shared)), tuple(map(own[1].index, shared))),
    )
    free = [[axis for axis in axes if axis not in shared] for axes in own]
    made = [*shared, *free[0], *([] if vector_left else ["m"]), *free[1]]
    made += [] if vector_right else ["n"]
    wanted = [axis for axis in range(rank) if axis in made]
    wanted += [axis for axis in ("m", "n") if axis in made]  # type: ignore[list-item]
    order = None if wanted == made else tuple(map(made.index, wanted))
    result = (
        *batch,
        *(() if vector_left else left[-2:-1]),
        *(() if vector_right else right[-1:]),
    )
    return numbers, shapes[0], shapes[1], result, order


def matmul(
    a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None,
    out_sharding: None = None,
) -> Array:  # fmt: skip
    """Multiply matrices, or stacks of them; a vector is a row on the left and a column on the
    right.

    Args:
        a: array of shape (..., m, n) or (n,).
        b: array of shape (..., n, k) or (n,).
        precision: None, "default", "high", "highest", a `lax.Precision`, or a pair of these.
        preferred_element_type: the dtype to sum in and return.
        out_sharding: must be None.

    Returns:
        An array of shape (..., m, k), without m or k for vectors.

    Raises:
        ShapeError: showing both shapes, if they do not fit.

    Example:
        >>> jnp.matmul(jnp.eye(2), jnp.array([1.0, 2.0]))
        Array([1., 2.], dtype=float32)
    """
    a, b, preferred = _operands("matmul", a, b, preferred_element_type)
    left, right = a.aval.shape, b.aval.shape
    if not left or not right or left[-1] != right[0 if len(right) == 1 else -2]:
        raise _misfit("matmul", a, b)
    if len(left) > 1 and len(right) == 2:  # layers and matrices
        numbers = (((len(left) - 1,), (0,)), ((), ()))
        return _finished(contract(a, b, numbers, precision, preferred, "matmul"), a, b)
    numbers, shape_left, shape_right, result, order = _plan(left, right)
    product = contract(
        reshape(a, shape_left), reshape(b, shape_right), numbers, precision, preferred, "matmul"
    )
    if order is not None:
        product = transpose_axes(product, order)
    return _finished(reshape(product, result), a, b)


def _misfit(call: str, a: Value, b: Value) -> errors.ShapeError:
    return errors.ShapeError(
        call,
        "the last axis of the first array to be as long as the last but one (of a vector: the "
        "only one) of the second",
        short_types((a.aval, b.aval)),
        fix="Transpose or reshape one of them.",
    )


_PRODUCT = {
    "dimension_numbers": (((1,), (0,)), ((), ())),
    "precision": None,
    "preferred_element_type": None,
}


def matmul_operator(self: Any, other: Any) -> Any:
    """Return ``self @ other``."""
    if type(self) is type(other) is DeviceArray and state.trace is None:
        left, right = self.aval, other.aval
        if (
            left.ndim == right.ndim == 2
            and left.dtype is right.dtype
            and not left.weak_type
            and not right.weak_type
            and left.shape[1] == right.shape[0]
            and config.default_matmul_precision is None
        ):  # what `matmul` comes to, without its frames: see ADR 0010
            return evaluate(dot_general_p, (self, other), _PRODUCT)[0]
    if mixes(other):
        return matmul(self, other)
    return NotImplemented


def matmul_reflected(self: Any, other: Any) -> Any:
    """Return ``other @ self``."""
    return matmul(other, self) if mixes(other) else NotImplemented


# ---- the others


def dot(
    a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None,
    out_sharding: None = None,
) -> Array:  # fmt: skip
    """Multiply vectors, matrices, or sum over the last axis of one and the last but one of the
    other.

    Args:
        a: array or number.
        b: array or number.
        precision: as in `matmul`.
        preferred_element_type: the dtype to sum in and return.
        out_sharding: must be None.

    Returns:
        An array of shape (*a.shape[:-1], *b.shape[:-2], b.shape[-1]); of numbers the plain product.

    Raises:
        ShapeError: showing both shapes, if they do not fit.

    Example:
        >>> jnp.dot(jnp.arange(3), jnp.arange(3))
        Array(5, dtype=int32)
    """
    return _dot("dot", a, b, precision, preferred_element_type)


def _dot(call: str, a: Any, b: Any, precision: Any, preferred: Any) -> Array:
    a, b, preferred = _operands(call, a, b, preferred)
    left, right = a.aval.shape, b.aval.shape
    if not left or not right:
        product = _times(a, b)
        return to_array(product if preferred is None else cast(product, preferred))
    if left[-1] != right[0 if len(right) == 1 else -2]:
        raise _misfit(call, a, b)
    numbers = (((len(left) - 1,), (max(0, len(right) - 2),)), ((), ()))
    return _finished(contract(a, b, numbers, precision, preferred, call), a, b)


def vdot(a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None) -> Array:
    """Return the inner product of all elements, the first array conjugated.

    Args:
        a: array.
        b: array of as many elements.
        precision: as in `matmul`.
        preferred_element_type: the dtype to sum in and return.

    Returns:
        An array of shape ().
    """
    a, b, preferred = _operands("vdot", a, b, preferred_element_type)
    return _dot("vdot", lax.conj(ravel(a)), ravel(b), precision, preferred)


def vecdot(
    x1: Any,
    x2: Any,
    /,
    *,
    axis: int = -1,
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Array:
    """Return the inner products of vectors along an axis, the first array conjugated.

    Args:
        x1: array.
        x2: array; the other axes broadcast.
        axis: the axis of the vectors, counted in each array.
        precision: as in `matmul`.
        preferred_element_type: the dtype to sum in and return.

    Returns:
        An array of the broadcast shape without the axis.

    Raises:
        ShapeError: if the axes differ in size.
    """
    a, b, preferred = _operands("vecdot", x1, x2, preferred_element_type)
    if axis != -1:
        a, b = moveaxis(to_array(a), axis, -1), moveaxis(to_array(b), axis, -1)
    if not a.aval.shape or not b.aval.shape or a.aval.shape[-1] != b.aval.shape[-1]:
        raise errors.ShapeError("vecdot", "vectors of one length", short_types((a.aval, b.aval)))
    rows = reshape(lax.conj(a), (*a.aval.shape[:-1], 1, a.aval.shape[-1]))
    columns = reshape(b, (*b.aval.shape, 1))
    product = matmul(rows, columns, precision=precision, preferred_element_type=preferred)
    return reshape(product, product.aval.shape[:-2])


def matvec(x1: Any, x2: Any, /) -> Array:
    """Multiply matrices and vectors.

    Args:
        x1: array of shape (..., m, n).
        x2: array of shape (..., n).

    Returns:
        An array of shape (..., m).

    Raises:
        ShapeError: if they are not matrices and vectors, or do not fit.
    """
    a, b, _ = _operands("matvec", x1, x2, None)
    if a.aval.ndim < 2 or not b.aval.shape:
        expected = "matrices as x1 and vectors as x2"
        raise errors.ShapeError("matvec", expected, short_types((a.aval, b.aval)))
    product = matmul(a, reshape(b, (*b.aval.shape, 1)))
    return reshape(product, product.aval.shape[:-1])


def vecmat(x1: Any, x2: Any, /) -> Array:
    """Multiply vectors, conjugated, and matrices.

    Args:
        x1: array of shape (..., n).
        x2: array of shape (..., n, m).

    Returns:
        An array of shape (..., m).

    Raises:
        ShapeError: if they are not vectors and matrices, or do not fit.
    """
    a, b, _ = _operands("vecmat", x1, x2, None)
    if not a.aval.shape:
        raise errors.ShapeError("vecmat", "an array of vectors as x1", repr(a.aval))
    if b.aval.ndim < 2:
        raise errors.ShapeError("vecmat", "an array of matrices as x2", repr(b.aval))
    product = matmul(reshape(lax.conj(a), (*a.aval.shape[:-1], 1, a.aval.shape[-1])), b)
    return reshape(product, (*product.aval.shape[:-2], product.aval.shape[-1]))


def inner(a: Any, b: Any, *, precision: Any = None, preferred_element_type: Any = None) -> Array:
    """Sum over the last axes of both arrays.

    Args:
        a: array or number.
        b: array or number.
        precision: as in `matmul`.
        preferred_element_type: the dtype to sum in and return.

    Returns:
        An array of shape (*a.shape[:-1], *b.shape[:-1]).
    """
    a, b, preferred = _operands("inner", a, b, preferred_element_type)
    if not a.aval.shape or not b.aval.shape:
        return _dot("inner", a, b, precision, preferred)
    if a.aval.shape[-1] != b.aval.shape[-1]:
        expected = "last axes of equal sizes"
        raise errors.ShapeError("inner", expected, short_types((a.aval, b.aval)))
    numbers = (((a.aval.ndim - 1,), (b.aval.ndim - 1,)), ((), ()))
    return _finished(contract(a, b, numbers, precision, preferred, "inner"), a, b)


def outer(a: Any, b: Any, out: None = None) -> Array:
    """Multiply each element of one array with each of the other.

    Args:
        a: array of n elements.
        b: array of m elements.
        out: must be None.

    Returns:
        An array of shape (n, m).

    Example:
        >>> jnp.outer(jnp.arange(2), jnp.arange(3))
        Array([[0, 0, 0],
               [0, 1, 2]], dtype=int32)
    """
    if out is not None:
        raise errors.ArgumentError("outer", "out=None", errors.type_name(out))
    a, b = promote("outer", a, b)
    return _times(reshape(a, (a.aval.size, 1)), reshape(b, (1, b.aval.size)))


def tensordot(
    a: Any, b: Any, axes: Any = 2, *, precision: Any = None, preferred_element_type: Any = None,
    out_sharding: None = None,
) -> Array:  # fmt: skip
    """Sum over pairs of axes.

    Args:
        a: array.
        b: array.
        axes: int n, for the last n axes of `a` and the first n of `b`; or a pair of axes or
            sequences of axes.
        precision: as in `matmul`.
        preferred_element_type: the dtype to sum in and return.
        out_sharding: must be None.

    Returns:
        An array of the remaining axes of `a`, then of `b`.

    Raises:
        ShapeError: showing both shapes, if the axes differ in size.

    Example:
        >>> jnp.tensordot(jnp.ones((2, 3)), jnp.ones((3, 4)), 1).shape
        (2, 4)
    """
    a, b, preferred = _operands("tensordot", a, b, preferred_element_type)
    rank_a, rank_b = a.aval.ndim, b.aval.ndim
    if hasattr(axes, "__index__") and not getattr(axes, "ndim", 0):
        count = integer("tensordot", "axes", axes)
        if count > min(rank_a, rank_b):
            raise errors.ShapeError(
                "tensordot", f"arrays of {count} or more axes", short_types((a.aval, b.aval))
            )
        left, right = tuple(range(rank_a - count, rank_a)), tuple(range(count))
    else:
        axes = listed("tensordot", "axes", axes)
        if len(axes) != 2:
            raise errors.ArgumentError("tensordot", "axes as an int or a pair", repr(axes))
        left, right = (
            tuple(canonical_axis("tensordot", i, rank) for i in one_or_several(part))
            for part, rank in zip(axes, (rank_a, rank_b), strict=True)
        )
    sizes = [tuple(x.aval.shape[i] for i in part) for x, part in ((a, left), (b, right))]
    if sizes[0] != sizes[1]:
        raise errors.ShapeError(
            "tensordot",
            "summed axes of equal sizes",
            f"{short_types((a.aval, b.aval))} with axes {left} and {right}",
        )
    numbers = ((left, right), ((), ()))
    return _finished(contract(a, b, numbers, precision, preferred, "tensordot"), a, b)


def kron(a: Any, b: Any) -> Array:
    """Return the Kronecker product: a copy of `b` for each element of `a`, multiplied by it.

    Args:
        a: array.
        b: array.

    Returns:
        An array whose sizes are the products of theirs.
    """
    a, b = promote("kron", a, b)
    rank = max(a.aval.ndim, b.aval.ndim)
    left, right = ((1,) * (rank - x.aval.ndim) + x.aval.shape for x in (a, b))
    a = reshape(a, tuple(size for own in left for size in (own, 1)))
    b = reshape(b, tuple(size for own in right for size in (1, own)))
    return reshape(lax.mul(a, b), tuple(m * n for m, n in zip(left, right, strict=True)))


def cross(
    a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Array:
    """Return the vector product of vectors of length 3 (or the third part of that of length 2).

    Args:
        a: array.
        b: array; the other axes broadcast.
        axisa: the axis of the vectors in `a`.
        axisb: the axis of the vectors in `b`.
        axisc: the axis of the vectors in the result.
        axis: all three at once.

    Returns:
        An array of vectors of length 3, or of numbers for two vectors of length 2.

    Raises:
        ShapeError: for vectors of another length.
    """
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = (to_array(x) for x in promote("cross", a, b))
    a, b = moveaxis(a, axisa, 0), moveaxis(b, axisb, 0)
    if a.aval.shape[0] not in (2, 3) or b.aval.shape[0] not in (2, 3):
        raise errors.ShapeError("cross", "vectors of length 2 or 3", short_types((a.aval, b.aval)))
    x, y = (list(unstack(v)) for v in (a, b))
    third = x[0] * y[1] - x[1] * y[0]
    if len(x) == len(y) == 2:
        return third
    zero = 0
    x3, y3 = (v[2] if len(v) == 3 else zero for v in (x, y))
    parts = [x[1] * y3 - x3 * y[1], x3 * y[0] - x[0] * y3, third]
    return moveaxis(stack(parts), 0, axisc)
