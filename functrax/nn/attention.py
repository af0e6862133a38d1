"""Attention."""

import math
from typing import Any

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integers
from functrax.core.trace import Value
from functrax.core.types import short_types
from functrax.nn.normalization import softmax
from functrax.numpy.arithmetic import choose
from functrax.numpy.einsum import einsum
from functrax.numpy.logic import to_bool
from functrax.numpy.manipulation import one_or_several
from functrax.numpy.operands import (
    align,
    array_operand,
    cast,
    known_real,
    number,
    operand,
    promote,
)
from functrax.numpy.ranges import iota
from functrax.primitives import elementwise as lax
from functrax.primitives.rules import expand_axis, reshape, transpose_axes
from functrax.scipy.special import logsumexp
from functrax.transforms.fuse import fuse


def dot_product_attention(
    query: Any, key: Any, value: Any, bias: Any = None, mask: Any = None, *,
    scale: float | None = None, is_causal: bool = False, query_seq_lengths: Any = None,
    key_value_seq_lengths: Any = None, local_window_size: Any = None,
    implementation: str | None = None, return_residual: bool = False,
) -> Any:  # fmt: skip
    """Return for each query the mean of the values, weighted by how well its key matches.

    Args:
        query: array of shape ([B,] T, N, H): batch, positions, heads, features.
        key: array of shape ([B,] S, K, H); K divides N, and each key head serves N/K query heads.
        value: array of the key's shape.
        bias: array that broadcasts to ([B,] N, T, S), added to the scores.
        mask: booleans that broadcast to ([B,] N, T, S): where a query may look.
        scale: factor of the scores; 1/sqrt(H) if None.
        is_causal: bool, whether a query sees only positions up to its own.
        query_seq_lengths: integers of shape (B,): the results of later queries are 0.
        key_value_seq_lengths: integers of shape (B,): later keys are not seen.
        local_window_size: int or (left, right): how far before and behind its own position a query
            sees.
        implementation: None or "xla".
        return_residual: bool, whether to return the logarithms of the softmax's denominators too.

    Returns:
        An array of the query's shape and dtype; or a pair of it and the logarithms, of shape
        ([B,] T, N) and the key's dtype.

    Raises:
        ShapeError: if the shapes do not fit together.
        ArgumentError: for another implementation, or a scale or window that is no number.

    Source: Vaswani et al., Attention Is All You Need (2017), section 3.2.1; of the residual Dao,
    FlashAttention-2 (2023), section 3.1.1.
    """
    call = "dot_product_attention"
    if implementation not in (None, "xla"):
        raise errors.ArgumentError(call, "implementation=None or 'xla'", repr(implementation))
    q, k, v = (array_operand(x, call) for x in (query, key, value))
    _check_shapes(call, q, k, v)
    batched = q.aval.ndim == 4
    if not batched:
        q, k, v = (reshape(x, (1, *x.aval.shape)) for x in (q, k, v))
    extras = [
        None if x is None else operand(x, call)
        for x in (bias, query_seq_lengths, key_value_seq_lengths)
    ]
    factor = 1 / math.sqrt(q.aval.shape[-1]) if scale is None else known_real(call, "scale", scale)
    out = _attention(
        q, k, v, extras[0], None if mask is None else to_bool(mask, call), *extras[1:],
        scale=factor, causal=bool(is_causal), window=_window(call, local_window_size),
        with_residual=bool(return_residual),
    )  # fmt: skip
    if not batched:
        out = [reshape(x, x.aval.shape[1:]) for x in out]
    return tuple(out) if return_residual else out[0]


def _window(call: str, size: Any) -> tuple[int, int] | None:
    """Return how far a query sees before and behind its own position; None for everywhere."""
    if size is None:
        return None
    several = integers(call, "local_window_size", one_or_several(size))
    if len(several) not in (1, 2):
        raise errors.ArgumentError(call, "local_window_size as an int or a pair", repr(size))
    return several[0], several[-1]


def _check_shapes(call: str, q: Value, k: Value, v: Value) -> None:
    a, b, c = (x.aval.shape for x in (q, k, v))
    fits = (
        len(a) == len(b) in (3, 4)
        and b == c
        and a[-1] == b[-1]
        and a[:-3] == b[:-3]
        and b[-2] > 0
        and a[-2] % b[-2] == 0
    )
    if not fits:
        raise errors.ShapeError(
            call,
            "query ([B,] T, N, H), key and value ([B,] S, K, H) with K dividing N",
            short_types((q.aval, k.aval, v.aval)),
        )


@fuse
def _attention(
    q: Value, k: Value, v: Value, bias: Value | None, mask: Value | None,
    q_lengths: Value | None, k_lengths: Value | None,
    *, scale: float, causal: bool, window: tuple[int, int] | None, with_residual: bool,
) -> list[Value]:  # fmt: skip
    """Softmax(scale q k + bias) v, in float32; and the logarithms of the denominators, if asked."""
    batch, length, heads, features = q.aval.shape
    groups = k.aval.shape[2]
    q_grouped = reshape(q, (batch, length, groups, heads // groups, features))
    wide = dtypes.promote((q.aval.dtype, dtypes.float32), (False, False))[0]
    scores = einsum("btkgh,bskh->bkgts", q_grouped, k, preferred_element_type=wide)
    scores = reshape(scores, (batch, heads, length, k.aval.shape[1]))
    scores = lax.mul(scores, number(scale, wide))
    if bias is not None:
        scores = lax.add(*align("attention", *promote("attention", scores, _lead(bias))))
    allowed = _allowed(scores.aval.shape, mask, k_lengths, causal, window)
    lowest = number(-0.7 * float(dtypes.finfo(wide).max), wide)
    if allowed is not None:
        scores = choose(allowed, scores, lowest)
    weights = cast(softmax(scores), k.aval.dtype)
    weights = reshape(weights, (batch, groups, heads // groups, length, k.aval.shape[1]))
    out = reshape(einsum("bkgts,bskh->btkgh", weights, v), q.aval.shape)
    results = [out]
    if with_residual:
        results.append(transpose_axes(logsumexp(scores, axis=-1), (0, 2, 1)))
    if q_lengths is not None:
        position = iota(dtypes.int32, (1, length, 1), 1)
        valid = lax.lt(position, reshape(cast(q_lengths, dtypes.int32), (batch, 1, 1)))
        results[0] = choose(expand_axis(valid, 3), out, number(0, out.aval.dtype))
        results[1:] = [choose(valid, x, lowest) for x in results[1:]]
    return list(map(cast, results, (q.aval.dtype, k.aval.dtype)))


def _lead(x: Value) -> Value:
    """Put axes of size 1 in front of a bias or mask, up to four."""
    return reshape(x, (1,) * (4 - x.aval.ndim) + x.aval.shape) if x.aval.ndim < 4 else x


def _allowed(
    shape: tuple[int, ...], mask: Value | None, lengths: Value | None, causal: bool,
    window: tuple[int, int] | None,
) -> Value | None:  # fmt: skip
    """Return where queries may look, or None for everywhere."""
    rows, columns = (1, 1, shape[2], 1), (1, 1, 1, shape[3])
    conditions = [] if mask is None else [_lead(mask)]
    here, there = iota(dtypes.int32, rows, 2), iota(dtypes.int32, columns, 3)
    if causal:
        conditions.append(lax.ge(here, there))
    if window is not None:
        left, right = (number(size, dtypes.int32) for size in window)
        conditions.append(lax.ge(there, lax.sub(here, left)))
        conditions.append(lax.le(there, lax.add(here, right)))
    if lengths is not None:
        conditions.append(lax.lt(there, reshape(cast(lengths, dtypes.int32), (shape[0], 1, 1, 1))))
    found = None
    for condition in conditions:
        found = condition if found is None else lax.bitwise_and(found, condition)
    return found
