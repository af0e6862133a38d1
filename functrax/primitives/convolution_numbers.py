"""Which axis of a convolution is which, how many windows there are, and axes made of groups."""

import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

from functrax import errors
from functrax.core.params import param_type
from functrax.core.trace import Value
from functrax.primitives.rules import move_axis, reshape


@param_type
class ConvDimensionNumbers(NamedTuple):
    """The axes of a convolution's operands and result.

    Attributes:
        lhs_spec: the axes of lhs: batch, feature, then the spatial ones.
        rhs_spec: the axes of rhs: output feature, input feature, then the spatial ones.
        out_spec: the axes of the result: batch, feature, then the spatial ones.

    Source: StableHLO specification, "convolution".
    """

    lhs_spec: tuple[int, ...]
    rhs_spec: tuple[int, ...]
    out_spec: tuple[int, ...]


def conv_dimension_numbers(
    lhs_shape: Sequence[int], rhs_shape: Sequence[int], dimension_numbers: Any
) -> ConvDimensionNumbers:
    """Say which axis of a convolution is which, from any of the forms that are accepted.

    Args:
        lhs_shape: the shape of lhs.
        rhs_shape: the shape of rhs.
        dimension_numbers: None for batch (or output feature) first, then feature (or input
            feature), then spatial axes; or strings for lhs, rhs and result such as
            ``("NHWC", "HWIO", "NHWC")``, where the spatial letters of rhs give their order; or a
            `ConvDimensionNumbers`.

    Returns:
        The axes as numbers.

    Raises:
        ShapeError: if the ranks differ or are below 2.
        ArgumentError: if it is none of these forms, or a string does not fit.

    Example:
        >>> conv_dimension_numbers((1, 8, 8, 3), (3, 3, 3, 16), ("NHWC", "HWIO", "NHWC"))
        ConvDimensionNumbers(lhs_spec=(0, 3, 1, 2), rhs_spec=(3, 2, 0, 1), out_spec=(0, 3, 1, 2))

    Source: StableHLO specification, "convolution".
    """
    lhs_shape, rhs_shape = (
        tuple(shape) if isinstance(shape, Sequence) else () for shape in (lhs_shape, rhs_shape)
    )
    rank = len(lhs_shape)
    if rank != len(rhs_shape) or rank < 2:
        raise errors.ShapeError(
            "conv_general_dilated",
            "lhs and rhs of one rank, at least 2",
            f"shapes {tuple(lhs_shape)} and {tuple(rhs_shape)}",
        )
    if dimension_numbers is None:
        dimension_numbers = (tuple(range(rank)),) * 3
    try:
        lhs, rhs, out = dimension_numbers
    except (TypeError, ValueError):
        raise _not_numbers(rank, dimension_numbers) from None
    if isinstance(lhs, str) and isinstance(rhs, str) and isinstance(out, str):
        return _from_strings(rank, lhs, rhs, out)
    try:
        given: list[Any] = [lhs, rhs, out]
        specs = [tuple(map(operator.index, spec)) for spec in given]
    except TypeError:
        raise _not_numbers(rank, dimension_numbers) from None
    if any(sorted(spec) != list(range(rank)) for spec in specs):
        raise _not_numbers(rank, dimension_numbers)
    return ConvDimensionNumbers(*specs)


def _not_numbers(rank: int, got: Any) -> errors.ArgumentError:
    return errors.ArgumentError(
        "conv_general_dilated",
        f"dimension_numbers as three strings or permutations of {rank} axes, or None",
        repr(got),
        fix='Write for example ("NHWC", "HWIO", "NHWC").',
    )


def _from_strings(rank: int, lhs: str, rhs: str, out: str) -> ConvDimensionNumbers:
    spatial = [letter for letter in rhs if letter not in "OI"]
    for text, letters in ((lhs, "NC"), (rhs, "OI"), (out, "NC")):
        expected = sorted([*letters, *spatial])
        if len(text) != rank or len(set(text)) != rank or sorted(text) != expected:
            raise _not_numbers(rank, (lhs, rhs, out))
    lhs_spec, rhs_spec, out_spec = (
        tuple(text.index(letter) for letter in [*letters, *spatial])
        for text, letters in ((lhs, "NC"), (rhs, "OI"), (out, "NC"))
    )
    return ConvDimensionNumbers(lhs_spec, rhs_spec, out_spec)


# Sizes --------------------------------------------------------------------------------------------


def dilated(size: int, dilation: int) -> int:
    """Return the extent of `size` elements that lie `dilation` apart."""
    return (size - 1) * dilation + 1 if size else 0


def count_windows(extent: int, window: int, stride: int) -> int:
    """Return how many windows of a size fit into an extent, starting a stride apart."""
    return (extent - window) // stride + 1 if extent >= window else 0


def check_entries(call: str, rank: int, **given: Sequence[Any]) -> None:
    """Check arguments that have an entry for each axis.

    Args:
        call: the user's function.
        rank: how many axes there are.
        **given: the arguments by name; all but the padding must be positive.

    Raises:
        ArgumentError: naming the argument that does not fit.
    """
    for name, values in given.items():
        positive = name == "padding" or all(value >= 1 for value in values)
        if len(values) != rank or not positive:
            least = "" if name == "padding" else " of at least 1"
            expected = f"{name} with an entry{least} for each of {rank} axes"
            raise errors.ArgumentError(call, expected, str(tuple(values)))


def window_counts(
    call: str, sizes: Sequence[int], windows: Sequence[int], geometry: dict[str, Any]
) -> tuple[int, ...]:
    """Return how many windows lie along each axis.

    Args:
        call: the user's function.
        sizes: the array's sizes.
        windows: the window's sizes.
        geometry: by the user's names and in this order, with one entry for each axis: the strides,
            the padding, the dilation of the array, the dilation of the window.

    Raises:
        ArgumentError: if an entry is missing or not positive.
    """
    check_entries(call, len(sizes), **geometry)
    rows = zip(sizes, windows, *geometry.values(), strict=True)
    return tuple(
        count_windows(low + high + dilated(size, spread), dilated(window, step), stride)
        for size, window, stride, (low, high), spread, step in rows
    )


def padtype_to_pads(
    in_shape: Sequence[int],
    window_shape: Sequence[int],
    window_strides: Sequence[int],
    padding: str,
    *,
    call: str = "padtype_to_pads",
) -> list[tuple[int, int]]:
    """Return the padding that a word stands for.

    Args:
        in_shape: the spatial sizes of the array.
        window_shape: those of the window.
        window_strides: the stride along each spatial axis.
        padding: ``"VALID"`` for none; ``"SAME"`` for results of size ceil(size / stride), with the
            odd element at the end; ``"SAME_LOWER"`` with it at the start.
        call: the function the user called.

    Returns:
        Pairs (low, high).

    Raises:
        ArgumentError: for another word.

    Example:
        >>> padtype_to_pads((8,), (3,), (2,), "SAME")
        [(0, 1)]
    """
    word = padding.upper() if isinstance(padding, str) else ""
    if word not in ("VALID", "SAME", "SAME_LOWER"):
        expected = "padding 'VALID', 'SAME' or 'SAME_LOWER', or a pair for each spatial axis"
        raise errors.ArgumentError(call, expected, repr(padding))
    if word == "VALID":
        return [(0, 0)] * len(in_shape)
    pads: list[tuple[int, int]] = []
    for size, window, stride in zip(in_shape, window_shape, window_strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + window - size, 0)
        small = total // 2
        pads.append((small, total - small) if word == "SAME" else (total - small, small))
    return pads


def pairs(call: str, padding: Any, rank: int) -> tuple[tuple[int, int], ...]:
    """Return paddings as pairs of integers.

    Raises:
        ArgumentError: if they are not one pair for each spatial axis.
    """
    try:
        found = tuple((operator.index(low), operator.index(high)) for low, high in padding)
    except (TypeError, ValueError):
        found = ()
    if len(found) != rank:
        expected = f"a word or {rank} pairs (low, high) as the padding"
        raise errors.ArgumentError(call, expected, repr(padding))
    return found


# Axes in groups -----------------------------------------------------------------------------------


def divide(x: Value, axis: int, count: int) -> Value:
    """Divide an axis into `count` parts: they become an axis before it."""
    shape = x.aval.shape
    return reshape(x, (*shape[:axis], count, shape[axis] // count, *shape[axis + 1 :]))


def merge(x: Value, source: int, axis: int, groups: int = 1) -> Value:
    """Merge an axis into another (numbered without it), outermost within each of its groups."""
    if groups == 1:
        x = move_axis(x, source, axis)
        shape = x.aval.shape
        return reshape(x, (*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :]))
    x = divide(move_axis(x, source, 0), axis + 1, groups)
    return merge(merge(x, 0, axis + 1), axis, axis)


def unmerge(x: Value, axis: int, size: int, groups: int) -> tuple[Value, int]:
    """Undo `merge`: return the array with the axis taken out, and where it is."""
    if groups == 1:
        return divide(x, axis, size), axis
    parts = move_axis(divide(divide(x, axis, groups), axis + 1, size), axis + 1, 0)
    return merge(parts, axis + 1, axis + 1), 0
