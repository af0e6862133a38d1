"""What every primitive means, written plainly in NumPy and SciPy.

A meaning takes the operands as NumPy arrays, and the primitive's parameters. Floating operands
arrive in double precision, whatever dtype is tested, so that the meaning is right to the last bit
of it; the primitives in `EXACT` get the dtype itself, for their meaning depends on it.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from functrax.primitives.gather import GatherScatterMode

NDArray = np.ndarray[Any, Any]
ORACLE: dict[str, Callable[..., Any]] = {}
EXACT = {
    "bitcast_convert_type",
    "convert_element_type",
    "nextafter",
    "random_seed",
    "reduce_precision",
}


def meaning(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a function be the meaning of primitives."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        ORACLE.update(dict.fromkeys(names, function))
        return function

    return register


# Elementwise --------------------------------------------------------------------------------------


def truncated_quotient(x: NDArray, y: NDArray) -> NDArray:
    """Division as in C: integers lose the fraction."""
    if x.dtype.kind not in "iu":
        return x / y
    return (x - np.fmod(x, y)) // y


def power(x: NDArray, y: NDArray) -> NDArray:
    """Powers; a negative power of an integer is 0, 1 or -1."""
    if x.dtype.kind not in "iu":
        return x**y
    inverse = np.where(np.abs(x) == 1, x ** np.abs(y), 0)
    return np.where(y < 0, inverse, x ** np.abs(y)).astype(x.dtype)


def extreme(pick: Any, order: Any) -> Callable[..., NDArray]:
    """The larger or smaller of two; complex numbers compare by real part, then imaginary part."""

    def choose(x: NDArray, y: NDArray) -> NDArray:
        if x.dtype.kind != "c":
            return pick(x, y)
        first = np.where(x.real == y.real, order(x.imag, y.imag), order(x.real, y.real))
        return np.where(first, x, y)

    return choose


def shift(by: Callable[[Any, Any], Any], beyond: Callable[[Any], Any]) -> Callable[..., NDArray]:
    """Shifts; by as many bits as there are, or more, nothing is left (but perhaps the sign)."""

    def shifted(x: NDArray, count: NDArray) -> NDArray:
        bits = x.dtype.itemsize * 8
        count = count.astype(np.int64)
        inside = (count >= 0) & (count < bits)
        moved = by(x, np.where(inside, count, 0).astype(x.dtype))
        return np.where(inside, moved, beyond(x)).astype(x.dtype)

    return shifted


def _logical(x: NDArray, count: NDArray) -> NDArray:
    unsigned = x.view(f"u{x.dtype.itemsize}")
    return (unsigned >> count.astype(unsigned.dtype)).view(x.dtype)


def leading_zeros(x: NDArray) -> NDArray:
    """Count the zeros before the first one bit."""
    bits = x.dtype.itemsize * 8
    words = x.view(f"u{x.dtype.itemsize}")
    return np.vectorize(lambda word: bits - int(word).bit_length(), otypes=[x.dtype])(words)


def rounded(x: NDArray, rounding_method: int) -> NDArray:
    """Round half away from zero (0), or to even (1)."""
    return np.rint(x) if rounding_method else np.copysign(np.floor(np.abs(x) + 0.5), x)


ORACLE |= {
    "abs": np.abs,
    "acos": np.arccos,
    "acosh": np.arccosh,
    "add": np.add,
    "and": np.bitwise_and,
    "asin": np.arcsin,
    "asinh": np.arcsinh,
    "atan": np.arctan,
    "atan2": np.arctan2,
    "atanh": np.arctanh,
    "cbrt": np.cbrt,
    "ceil": np.ceil,
    "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
    "clz": leading_zeros,
    "complex": lambda x, y: x + 1j * y,
    "conj": np.conj,
    "copy": lambda x: x,
    "cos": np.cos,
    "cosh": np.cosh,
    "div": truncated_quotient,
    "eq": np.equal,
    "erf": special.erf,
    "erf_inv": special.erfinv,
    "erfc": special.erfc,
    "exp": np.exp,
    "exp2": lambda x: 2.0**x,
    "expm1": special.expm1,
    "floor": np.floor,
    "ge": np.greater_equal,
    "gt": np.greater,
    "imag": np.imag,
    "integer_pow": lambda x, y: x**y,
    "is_finite": np.isfinite,
    "le": np.less_equal,
    "log": np.log,
    "log1p": special.log1p,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "lt": np.less,
    "max": extreme(np.maximum, np.greater),
    "min": extreme(np.minimum, np.less),
    "mul": np.multiply,
    "ne": np.not_equal,
    "neg": np.negative,
    "nextafter": np.nextafter,
    "not": np.invert,
    "optimization_barrier": lambda *operands: operands,
    "or": np.bitwise_or,
    "population_count": lambda x: np.bitwise_count(x.view(f"u{x.dtype.itemsize}")),
    "pow": power,
    "real": np.real,
    "rem": np.fmod,
    "round": rounded,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "select_n": lambda which, *cases: np.choose(which.astype(np.intp), np.broadcast_arrays(*cases)),
    "shift_left": shift(np.left_shift, np.zeros_like),
    "shift_right_arithmetic": shift(
        lambda x, n: x.view(f"i{x.dtype.itemsize}") >> n.view(f"i{x.dtype.itemsize}"),
        lambda x: np.where(x.view(f"i{x.dtype.itemsize}") < 0, -1, 0),
    ),
    "shift_right_logical": shift(_logical, np.zeros_like),
    "sign": np.sign,
    "sin": np.sin,
    "sinh": np.sinh,
    "sqrt": np.sqrt,
    "square": lambda x: x * x,
    "stop_gradient": lambda x: x,
    "name": lambda x, **_: x,
    "to_memory": lambda x, **_: x,
    "sub": np.subtract,
    "tan": np.tan,
    "tanh": np.tanh,
    "xor": np.bitwise_xor,
}

# Types and bits -----------------------------------------------------------------------------------


@meaning("convert_element_type")
def _convert(x: NDArray, new_dtype: Any, weak_type: bool) -> NDArray:
    if new_dtype.kind == "b":
        return x != 0
    return (x.real if new_dtype.kind != "c" else x).astype(new_dtype)


@meaning("bitcast_convert_type")
def _bitcast(x: NDArray, new_dtype: Any) -> NDArray:
    old, new = x.dtype.itemsize, new_dtype.itemsize
    if old >= new:
        shape = x.shape if old == new else (*x.shape, old // new)
        return np.ascontiguousarray(x).view(new_dtype).reshape(shape)
    return np.ascontiguousarray(x).view(new_dtype).reshape(x.shape[:-1])


@meaning("reduce_precision")
def _reduce_precision(x: NDArray, exponent_bits: int, mantissa_bits: int) -> NDArray:
    """Round to nearest even; too large becomes infinite, too small zero."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    scale = 2.0 ** (mantissa_bits + 1)
    result = np.ldexp(np.rint(mantissa * scale) / scale, exponent)
    bias = 2 ** (exponent_bits - 1) - 1
    result = np.where(np.abs(result) >= 2.0 ** (bias + 1), np.copysign(np.inf, x), result)
    return np.where(np.abs(result) < 2.0 ** (1 - bias), np.copysign(0, x), result).astype(x.dtype)


# Shapes -------------------------------------------------------------------------------------------


@meaning("broadcast_in_dim")
def _broadcast(x: NDArray, shape: Any, broadcast_dimensions: Any) -> NDArray:
    placed = [1] * len(shape)
    for axis, size in zip(broadcast_dimensions, x.shape):
        placed[axis] = size
    return np.broadcast_to(x.reshape(placed), shape)


@meaning("iota")
def _iota(dtype: Any, shape: Any, dimension: int) -> NDArray:
    return np.indices(shape)[dimension].astype(dtype)


@meaning("pad")
def _pad(x: NDArray, value: NDArray, padding_config: Any) -> NDArray:
    for axis, (low, high, interior) in enumerate(padding_config):
        count = max(x.shape[axis] - 1, 0) * interior + x.shape[axis]
        spread = np.full((*x.shape[:axis], count, *x.shape[axis + 1 :]), value, x.dtype)
        np.moveaxis(spread, axis, 0)[:: interior + 1] = np.moveaxis(x, axis, 0)
        edges = [(0, 0)] * x.ndim
        edges[axis] = (max(low, 0), max(high, 0))
        x = np.pad(spread, edges, constant_values=value)
        x = np.moveaxis(
            np.moveaxis(x, axis, 0)[max(-low, 0) : x.shape[axis] - max(-high, 0)], 0, axis
        )
    return x


def _clamped(starts: Any, sizes: Any, shape: Any) -> tuple[slice, ...]:
    """The block of a shape at a place, moved inside."""
    places = [max(0, min(int(i), n - k)) for i, k, n in zip(starts, sizes, shape)]
    return tuple(slice(i, i + k) for i, k in zip(places, sizes))


@meaning("dynamic_update_slice")
def _dynamic_update_slice(x: NDArray, update: NDArray, *starts: NDArray) -> NDArray:
    result = x.copy()
    result[_clamped(starts, update.shape, x.shape)] = update
    return result


ORACLE |= {
    "reshape": lambda x, new_sizes: x.reshape(new_sizes),
    "squeeze": lambda x, dimensions: np.squeeze(x, dimensions),
    "transpose": lambda x, permutation: np.transpose(x, permutation),
    "rev": lambda x, dimensions: np.flip(x, dimensions),
    "concatenate": lambda *xs, dimension: np.concatenate(xs, dimension),
    "split": lambda x, sizes, axis: np.split(x, np.cumsum(sizes)[:-1], axis),
    "slice": lambda x, start_indices, limit_indices, strides: x[
        tuple(map(slice, start_indices, limit_indices, strides))
    ],
    "dynamic_slice": lambda x, *starts, slice_sizes: x[_clamped(starts, slice_sizes, x.shape)],
}

# Reductions ---------------------------------------------------------------------------------------


def reduction(function: Any) -> Callable[..., NDArray]:
    """A NumPy reduction that keeps the dtype."""
    return lambda x, axes: function(x, axis=axes, dtype=x.dtype)


def extreme_over(pick: Any) -> Callable[..., NDArray]:
    """The extreme over axes, complex numbers compared as NumPy sorts them."""
    return lambda x, axes: pick(x, axis=axes)


ORACLE |= {
    "reduce_sum": reduction(np.sum),
    "reduce_prod": reduction(np.prod),
    "reduce_max": extreme_over(np.max),
    "reduce_min": extreme_over(np.min),
    "reduce_and": reduction(np.bitwise_and.reduce),
    "reduce_or": reduction(np.bitwise_or.reduce),
    "reduce_xor": reduction(np.bitwise_xor.reduce),
    "argmax": lambda x, axes, index_dtype: np.argmax(x, axes[0]).astype(index_dtype),
    "argmin": lambda x, axes, index_dtype: np.argmin(x, axes[0]).astype(index_dtype),
}


@meaning("dot_general")
def _dot_general(
    lhs: NDArray, rhs: NDArray, dimension_numbers: Any, precision: Any, preferred_element_type: Any
) -> NDArray:
    (lhs_contract, rhs_contract), (lhs_batch, rhs_batch) = dimension_numbers
    names = iter(range(lhs.ndim + rhs.ndim))
    left = [next(names) for _ in range(lhs.ndim)]
    right = [next(names) for _ in range(rhs.ndim)]
    for i, j in (*zip(lhs_contract, rhs_contract), *zip(lhs_batch, rhs_batch)):
        right[j] = left[i]
    free_left = [n for i, n in enumerate(left) if i not in (*lhs_contract, *lhs_batch)]
    free_right = [n for j, n in enumerate(right) if j not in (*rhs_contract, *rhs_batch)]
    out = [*(left[i] for i in lhs_batch), *free_left, *free_right]
    return np.einsum(lhs, left, rhs, right, out)


# Gather and scatter -------------------------------------------------------------------------------


def _windows(operand_shape: Any, indices: NDArray, numbers: Any, sizes: Any, mode: Any) -> Any:
    """Yield for each index vector its batch index, and the window's slices or None if outside."""
    _, _, index_map, operand_batch, indices_batch = numbers
    for batch in np.ndindex(indices.shape[:-1]):
        start = [0] * len(operand_shape)
        for axis, index in zip(index_map, indices[batch]):
            start[axis] = int(index)
        for axis, own in zip(operand_batch, indices_batch):
            start[axis] = batch[own]
        limits = [n - k for n, k in zip(operand_shape, sizes)]
        if (
            all(0 <= i <= limit for i, limit in zip(start, limits))
            or mode is GatherScatterMode.CLIP
        ):
            yield batch, _clamped(start, sizes, operand_shape)
        else:
            yield batch, None


def _placed(window_dims: Any, rank: int, batch: Any) -> tuple[Any, ...]:
    """The index of one batch entry in an array whose other axes are the window's."""
    entries = iter(batch)
    return tuple(slice(None) if axis in window_dims else next(entries) for axis in range(rank))


@meaning("gather")
def _gather(
    operand: NDArray, indices: NDArray, dimension_numbers: Any, slice_sizes: Any, mode: Any,
    fill_value: Any, **_: Any,
) -> NDArray:  # fmt: skip
    offset, collapsed, _, operand_batch, _ = dimension_numbers
    dropped = (*collapsed, *operand_batch)
    rank = indices.ndim - 1 + len(offset)
    window = iter(n for axis, n in enumerate(slice_sizes) if axis not in dropped)
    sizes = iter(indices.shape[:-1])
    shape = [next(window) if axis in offset else next(sizes) for axis in range(rank)]
    result = np.zeros(shape, operand.dtype)
    if fill_value is None:
        fill_value = default_fill(operand.dtype)
    for batch, place in _windows(operand.shape, indices, dimension_numbers, slice_sizes, mode):
        value = fill_value if place is None else operand[place].squeeze(dropped)
        result[_placed(offset, rank, batch)] = value
    return result


def default_fill(dtype: Any) -> Any:
    """What is read outside of an array: NaN, the least signed or greatest unsigned integer,
    True.
    """
    if dtype.kind == "b":
        return True
    if dtype.kind in "iu":
        return np.iinfo(dtype).min if dtype.kind == "i" else np.iinfo(dtype).max
    return np.nan


def scatter(combine: Callable[[Any, Any], Any]) -> Callable[..., NDArray]:
    """Combine windows into an array one after the other."""

    def scattered(
        operand: NDArray, indices: NDArray, updates: NDArray, dimension_numbers: Any, mode: Any,
        **_: Any,
    ) -> NDArray:  # fmt: skip
        window, inserted, _, operand_batch, _ = dimension_numbers
        dropped = sorted((*inserted, *operand_batch))
        kept = iter(updates.shape[axis] for axis in window)
        sizes = [1 if axis in dropped else next(kept) for axis in range(operand.ndim)]
        result = operand.copy()
        for batch, place in _windows(operand.shape, indices, dimension_numbers, sizes, mode):
            if place is not None:
                update = np.expand_dims(updates[_placed(window, updates.ndim, batch)], dropped)
                result[place] = combine(result[place], update)
        return result

    return scattered


ORACLE |= {
    "scatter": scatter(lambda old, new: new),
    "scatter_add": scatter(np.add),
    "scatter_mul": scatter(np.multiply),
    "scatter_min": scatter(np.minimum),
    "scatter_max": scatter(np.maximum),
}

# Windows ------------------------------------------------------------------------------------------


def windows(
    x: NDArray, fill: Any, sizes: Any, strides: Any, padding: Any, base: Any, dilation: Any
) -> NDArray:
    """Return what each window sees: the axes of windows, then those within a window."""
    x = _pad(x, fill, [(*edge, step - 1) for edge, step in zip(padding, base)])
    extents = [(size - 1) * step + 1 for size, step in zip(sizes, dilation)]
    axes = [axis for axis, extent in enumerate(extents) if extent > 1]
    seen = np.lib.stride_tricks.sliding_window_view(x, [extents[axis] for axis in axes], axes)
    seen = np.expand_dims(seen, [x.ndim + i for i in range(x.ndim) if i not in axes])
    return seen[tuple(slice(None, None, n) for n in (*strides, *dilation))]


def edge_of(dtype: Any, select: str) -> Any:
    """What lies beyond the edges where the largest (ge) or smallest (le) element is looked for."""
    least = select == "ge"
    if dtype.kind == "b":
        return not least
    if dtype.kind in "iu":
        return np.iinfo(dtype).min if least else np.iinfo(dtype).max
    return -np.inf if least else np.inf


def window_reduction(reduce: Any, fill: Callable[[Any], Any]) -> Callable[..., NDArray]:
    """A reduction of every window."""

    def reduced(
        x: NDArray, window_dimensions: Any, window_strides: Any, padding: Any, base_dilation: Any,
        window_dilation: Any,
    ) -> NDArray:  # fmt: skip
        seen = windows(x, fill(x.dtype), window_dimensions, window_strides, padding, base_dilation,
                       window_dilation)  # fmt: skip
        return reduce(seen, tuple(range(x.ndim, 2 * x.ndim))).astype(x.dtype)

    return reduced


ORACLE |= {
    "reduce_window_sum": window_reduction(np.sum, lambda dtype: 0),
    "reduce_window_max": window_reduction(np.max, lambda dtype: edge_of(dtype, "ge")),
    "reduce_window_min": window_reduction(np.min, lambda dtype: edge_of(dtype, "le")),
}


@meaning("select_and_gather_add")
def _select_and_gather(
    taken: NDArray, x: NDArray, select: str, window_dimensions: Any, window_strides: Any,
    padding: Any, base_dilation: Any, window_dilation: Any,
) -> NDArray:  # fmt: skip
    how = (window_dimensions, window_strides, padding, base_dilation, window_dilation)
    seen, from_ = windows(x, edge_of(x.dtype, select), *how), windows(taken, 0, *how)
    flat = (*seen.shape[: x.ndim], -1)
    place = (np.argmax if select == "ge" else np.argmin)(seen.reshape(flat), -1)
    return np.take_along_axis(from_.reshape(flat), place[..., None], -1)[..., 0]


@meaning("select_and_scatter_add")
def _select_and_scatter(
    source: NDArray, x: NDArray, select: str, window_dimensions: Any, window_strides: Any,
    padding: Any,
) -> NDArray:  # fmt: skip
    plain = (1,) * x.ndim
    numbers = np.arange(1, x.size + 1).reshape(x.shape)  # 0 at the edges
    place = _select_and_gather(numbers, x, select, window_dimensions, window_strides, padding,
                               plain, plain)  # fmt: skip
    result = np.zeros(x.size + 1, source.dtype)
    np.add.at(result, place, source)
    return result[1:].reshape(x.shape)


@meaning("conv_general_dilated")
def _convolution(
    lhs: NDArray, rhs: NDArray, window_strides: Any, padding: Any, lhs_dilation: Any,
    rhs_dilation: Any, dimension_numbers: Any, feature_group_count: int, batch_group_count: int,
    **_: Any,
) -> NDArray:  # fmt: skip
    lhs_spec, rhs_spec, out_spec = dimension_numbers
    x, kernel = lhs.transpose(lhs_spec), rhs.transpose(rhs_spec)
    one, none = (1, 1), ((0, 0),) * 2
    seen = windows(x, 0, (*one, *kernel.shape[2:]), (*one, *window_strides), (*none, *padding),
                   (*one, *lhs_dilation), (*one, *rhs_dilation))  # fmt: skip
    space, places = x.ndim - 2, int(np.prod(kernel.shape[2:]))
    seen = seen.reshape(*seen.shape[: x.ndim], places)  # batch, feature, space, place in the window
    axis, groups = (1, feature_group_count) if feature_group_count > 1 else (0, batch_group_count)
    parts = zip(np.split(seen, groups, axis), np.split(kernel, groups, 0))
    letters = "".join("abcdefgh"[:space])
    outs = [
        np.einsum(f"ni{letters}k,oik->no{letters}", part, own.reshape(*own.shape[:2], places))
        for part, own in parts
    ]
    return np.concatenate(outs, 1).transpose(np.argsort(out_spec))


# Sorting and scans --------------------------------------------------------------------------------


def sorting_order(keys: Any, axis: int) -> NDArray:
    """The stable permutation; complex numbers compare by real part, then imaginary part."""
    real = [part for key in keys
            for part in ((key.real, key.imag) if key.dtype.kind == "c" else (key,))]  # fmt: skip
    return np.lexsort(real[::-1], axis=axis)


@meaning("sort")
def _sort(*operands: NDArray, dimension: int, is_stable: bool, num_keys: int) -> list[NDArray]:
    order = sorting_order(operands[:num_keys], dimension)
    return [np.take_along_axis(x, order, dimension) for x in operands]


@meaning("argsort")
def _argsort(*operands: NDArray, dimension: int, is_stable: bool, num_keys: int) -> NDArray:
    return sorting_order(operands[:num_keys], dimension)


@meaning("top_k")
def _top_k(x: NDArray, k: int, axis: int) -> tuple[NDArray, NDArray]:
    order = np.argsort(-x.astype(np.float64), axis, kind="stable")
    first = np.take(order, range(k), axis)
    return np.take_along_axis(x, first, axis), first


def scan(accumulate: Any) -> Callable[..., NDArray]:
    """An accumulation along an axis, from either end."""

    def scanned(x: NDArray, axis: int, reverse: bool) -> NDArray:
        turned = np.flip(x, axis) if reverse else x
        result = accumulate(turned, axis).astype(x.dtype)
        return np.flip(result, axis) if reverse else result

    return scanned


def running(choose: Any) -> Any:
    """An accumulation by an elementwise function of two."""

    def accumulate(x: NDArray, axis: int) -> NDArray:
        rows = itertools.accumulate(np.moveaxis(x, axis, 0), choose)
        return np.moveaxis(np.array(list(rows)), 0, axis)

    return accumulate


ORACLE |= {
    "cumsum": scan(np.cumsum),
    "cumprod": scan(np.cumprod),
    "cummax": scan(running(ORACLE["max"])),
    "cummin": scan(running(ORACLE["min"])),
    "cumlogsumexp": scan(lambda x, axis: np.log(np.cumsum(np.exp(x), axis))),
}


@meaning("linear_recurrence")
def _linear_recurrence(a: NDArray, u: NDArray, axis: int, reverse: bool) -> NDArray:
    turn = (lambda x: np.flip(x, axis)) if reverse else (lambda x: x)
    rows = zip(np.moveaxis(turn(a), axis, 0), np.moveaxis(turn(u), axis, 0))
    results = [np.zeros_like(np.moveaxis(u, axis, 0)[0])]
    for factor, source in rows:
        results.append(factor * results[-1] + source)
    return turn(np.moveaxis(np.array(results[1:]), 0, axis))


# Random words: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" -----------------------


@meaning("threefry2x32")
def threefry(k0: NDArray, k1: NDArray, x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
    """Twenty rounds of add, rotate, xor, with a key word added after every fourth."""
    key = (k0, k1, k0 ^ k1 ^ np.uint32(0x1BD11BDA))
    rotations = itertools.cycle(((13, 15, 26, 6), (17, 29, 16, 24)))
    x, y = x + key[0], y + key[1]
    for step in range(1, 6):
        for distance in next(rotations):
            x = x + y
            y = (y << np.uint32(distance) | y >> np.uint32(32 - distance)) ^ x
        x, y = x + key[step % 3], y + key[(step + 1) % 3] + np.uint32(step)
    return x, y


def _hash_each(keys: NDArray, count: int) -> NDArray:
    """Hash 0, ..., count - 1 under each key: two words each."""
    counters = np.arange(count, dtype=np.uint32)
    words = threefry(keys[..., 0, None], keys[..., 1, None], 0 * counters, counters)
    return np.stack(words, -1)


def _hash_in_halves(keys: NDArray, count: int) -> NDArray:
    """Hash 0, ..., count - 1, the first half paired with the second: one word each."""
    counters = np.arange(count + count % 2, dtype=np.uint32)
    counters[count:] = 0
    halves = np.split(counters, 2)
    words = threefry(keys[..., 0, None], keys[..., 1, None], *halves)
    return np.concatenate(words, -1)[..., :count]


@meaning("random_seed")
def _seed(seeds: NDArray, dtype: Any) -> NDArray:
    high = seeds.astype(np.uint64) >> np.uint64(32) if seeds.dtype.itemsize == 8 else 0 * seeds
    return np.stack([high.astype(np.uint32), seeds.astype(np.uint32)], -1)


@meaning("random_split")
def _split(keys: NDArray, shape: Any, partitionable: bool) -> NDArray:
    size = int(np.prod(shape))
    words = _hash_each(keys, size) if partitionable else _hash_in_halves(keys, 2 * size)
    return words.reshape(*keys.shape[:-1], *shape, 2)


@meaning("random_fold_in")
def _fold_in(keys: NDArray, data: NDArray) -> NDArray:
    return np.stack(threefry(keys[..., 0], keys[..., 1], 0 * data, data), -1)


@meaning("random_bits")
def _bits(keys: NDArray, shape: Any, bit_width: int, partitionable: bool) -> NDArray:
    size, dtype = int(np.prod(shape)), np.dtype(f"u{bit_width // 8}")
    if partitionable:
        words = _hash_each(keys, size)
        if bit_width == 64:
            flat = words[..., 0].astype(np.uint64) << np.uint64(32) | words[..., 1]
        else:
            flat = words[..., 0] ^ words[..., 1]
    else:
        words = _hash_in_halves(keys, -(-bit_width * size // 32))
        if bit_width == 64:
            high, low = words[..., :size], words[..., size:]
            flat = high.astype(np.uint64) << np.uint64(32) | low
        else:
            flat = np.ascontiguousarray(words).view(dtype)[..., :size]
    return flat.astype(dtype).reshape(*keys.shape[:-1], *shape)


ORACLE |= {"random_wrap": lambda words, dtype: words, "random_unwrap": lambda keys: keys}
ORACLE |= {"random_clone": lambda keys: keys}
