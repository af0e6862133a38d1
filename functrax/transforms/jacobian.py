"""Whole matrices of derivatives: `jacfwd`, `jacrev` and `hessian`."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes, tree
from functrax.core.jaxpr import eval_jaxpr
from functrax.core.primitive import BatchAxis
from functrax.core.trace import Value, bind
from functrax.core.types import ShapedArray
from functrax.primitives.convert import convert_element_type
from functrax.primitives.elementwise import add, eq
from functrax.primitives.rules import full, move_batch_axis, zeros
from functrax.primitives.shape import iota_p, reshape
from functrax.primitives.slice import slice
from functrax.transforms.batch import batch_flat
from functrax.transforms.differentiate import (
    Pullback,
    WithAux,
    argument_numbers,
    check_inputs,
    leaf_names,
    like_primal,
    select_arguments,
)
from functrax.transforms.flat import (
    argument_values,
    as_array,
    check_callable,
    function_name,
)
from functrax.transforms.partial import linearize_flat


def _basis(avals: Sequence[ShapedArray]) -> list[Value]:
    """Return the standard basis of a product of arrays: for each, its part of every basis
    vector.
    """
    total = sum(aval.size for aval in avals)
    parts: list[Value] = []
    offset = 0
    int32 = np.dtype(np.int32)
    for aval in avals:
        shape = (total, aval.size)
        rows = bind(iota_p, dtype=int32, shape=shape, dimension=0)[0]
        columns = bind(iota_p, dtype=int32, shape=shape, dimension=1)[0]
        ones = convert_element_type(eq(rows, add(columns, offset)), aval.dtype)
        parts.append(reshape(ones, (total, *aval.shape)))
        offset += aval.size
    return parts


def jacfwd(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Callable[..., Any]:
    """Return a function that computes the Jacobian of `fun` column by column, by forward mode.

    Args:
        fun: a function of pytrees of arrays.
        argnums: position or positions of the arguments to differentiate.
        has_aux: whether `fun` returns ``(output, aux)``.
        holomorphic: whether `fun` is complex-differentiable.

    Returns:
        A function of the same arguments. For an output of shape o and an argument of shape i, the
        Jacobian has shape ``o + i``; it is the output's tree of the arguments' trees.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.jacfwd(lambda x: x**2)(jnp.array([1.0, 2.0]))
        Array([[2., 0.],
               [0., 4.]], dtype=float32)
    """
    return _by_columns("jacfwd", fun, argnums, has_aux, holomorphic)


def _by_columns(
    call: str,
    fun: Callable[..., Any],
    argnums: int | Sequence[int],
    has_aux: bool,
    holomorphic: bool,
) -> Callable[..., Any]:
    check_callable(fun, call)
    numbers = argument_numbers(call, argnums)

    @functools.wraps(fun)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        chosen, rest = select_arguments(call, fun, numbers, args, kwargs)
        leaves, in_tree = tree.flatten((chosen, {}))
        places = [n % len(args) for n in numbers]
        names = lambda: leaf_names(fun, places, chosen)  # noqa: E731
        values = argument_values(call, leaves, names)
        check_inputs(
            call, fun, values, places, chosen, holomorphic=holomorphic, allow_complex=False
        )
        flat = WithAux(rest, in_tree, call, has_aux)
        active, user = [True] * len(values), function_name(fun)
        results, linear, residuals, nonzero = linearize_flat(
            flat, values, active, name=call, function_name=user, argument_names=names
        )
        avals = [x.aval for x in values]
        basis = _basis(avals)
        total = sum(aval.size for aval in avals)
        pushed, dims = batch_flat(
            lambda *tangents: eval_jaxpr(linear, residuals, *tangents),
            BatchAxis(total),
            basis,
            [0] * len(basis),
        )
        columns = iter(zip(pushed, dims, strict=True))
        parts: list[list[Any]] = []
        for result, has in zip(results[: flat.count], nonzero, strict=False):
            tangent, dim = next(columns) if has else (zeros(result.aval), None)
            dense = move_batch_axis(BatchAxis(total), tangent, dim, result.aval.ndim)
            parts.append(_split_last(dense, result.aval, avals))
        jacobians = _assemble(flat, in_tree, parts, not isinstance(argnums, Sequence))
        return (jacobians, flat.aux_of(results)) if has_aux else jacobians

    return jacobian


def _split_last(x: Value, output: ShapedArray, avals: Sequence[ShapedArray]) -> list[Value]:
    """Cut the last axis into the arrays it is made of; they are weak if the output is."""
    outer = output.shape
    parts: list[Value] = []
    offset = 0
    for aval in avals:
        start = (*(0 for _ in outer), offset)
        part = x if len(avals) == 1 else slice(x, start, (*outer, offset + aval.size))
        parts.append(as_array(like_primal(reshape(part, (*outer, *aval.shape)), output)))
        offset += aval.size
    return parts


def _assemble(flat: WithAux, in_tree: Any, parts: Sequence[Sequence[Any]], single: bool) -> Any:
    rows = [in_tree.unflatten(row)[0] for row in parts]
    return flat.flat.out_tree.unflatten([row[0] if single else row for row in rows])


def jacrev(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Callable[..., Any]:
    """Return a function that computes the Jacobian of `fun` row by row, by reverse mode.

    Args:
        fun: a function of pytrees of arrays.
        argnums: position or positions of the arguments to differentiate.
        has_aux: whether `fun` returns ``(output, aux)``.
        holomorphic: whether `fun` is complex-differentiable.
        allow_int: whether integer arguments are taken; their Jacobian is float0.

    Returns:
        A function of the same arguments. For an output of shape o and an argument of shape i, the
        Jacobian has shape ``o + i``; it is the output's tree of the arguments' trees.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.jacrev(lambda x: x.sum())(jnp.array([1.0, 2.0]))
        Array([1., 1.], dtype=float32)
    """
    return _by_rows("jacrev", fun, argnums, has_aux, holomorphic, allow_int)


def _by_rows(
    call: str,
    fun: Callable[..., Any],
    argnums: int | Sequence[int],
    has_aux: bool,
    holomorphic: bool,
    allow_int: bool,
) -> Callable[..., Any]:
    check_callable(fun, call)
    numbers = argument_numbers(call, argnums)

    @functools.wraps(fun)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        chosen, rest = select_arguments(call, fun, numbers, args, kwargs)
        leaves, in_tree = tree.flatten((chosen, {}))
        places = [n % len(args) for n in numbers]
        names = lambda: leaf_names(fun, places, chosen)  # noqa: E731
        values = argument_values(call, leaves, names)
        check_inputs(
            call, fun, values, places, chosen, holomorphic=holomorphic, allow_int=allow_int
        )
        pullback = Pullback(call, rest, values, in_tree, has_aux, names)
        outputs = [r.aval for r in pullback.results[: pullback.flat.count]]
        for aval in outputs:
            if not (
                dtypes.is_complex(aval.dtype) if holomorphic else dtypes.is_floating(aval.dtype)
            ):
                kind = "complex" if holomorphic else "real floating-point"
                raise errors.DtypeError(
                    call, f"{kind} outputs from {function_name(fun)!r}", repr(aval)
                )
        basis = _basis(outputs)
        total = sum(aval.size for aval in outputs)
        axis = BatchAxis(total)
        zero: list[bool] = []

        def pull(*cotangents: Value) -> list[Value]:
            pulled = pullback.pull(cotangents)
            zero.extend(c is None for c in pulled)
            return [c for c in pulled if c is not None]

        pulled, dims = batch_flat(pull, axis, basis, [0] * len(basis))
        rows = iter([move_batch_axis(axis, c, d) for c, d in zip(pulled, dims, strict=True)])
        dense = [None if is_zero else next(rows) for is_zero in zero]
        parts = [_rows(dense, pullback, outputs, total, index) for index in range(len(outputs))]
        jacobians = _assemble(pullback.flat, in_tree, parts, not isinstance(argnums, Sequence))
        return (jacobians, pullback.flat.aux_of(pullback.results)) if has_aux else jacobians

    return jacobian


def _rows(
    dense: Sequence[Value | None],
    pullback: Pullback,
    outputs: Sequence[ShapedArray],
    total: int,
    index: int,
) -> list[Any]:
    """Cut the rows that belong to one output out of every argument's stack of cotangents."""
    offset = sum(aval.size for aval in outputs[:index])
    shape = outputs[index].shape
    parts: list[Any] = []
    for stack, value, is_active in zip(dense, pullback.values, pullback.linear.active, strict=True):
        whole = (*shape, *value.aval.shape)
        if not is_active:
            parts.append(np.zeros(whole, dtypes.float0))
        elif stack is None:
            zero = full(whole, 0, value.aval.dtype)
            parts.append(as_array(like_primal(zero, value.aval)))
        else:
            start = (offset, *(0 for _ in value.aval.shape))
            limit = (offset + outputs[index].size, *value.aval.shape)
            part = stack if len(outputs) == 1 else slice(stack, start, limit)
            parts.append(as_array(like_primal(reshape(part, whole), value.aval)))
    return parts


def hessian(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Callable[..., Any]:
    """Return a function that computes the Hessian of `fun`: `jacfwd` of `jacrev`.

    Args:
        fun: a function of pytrees of arrays.
        argnums: position or positions of the arguments to differentiate.
        has_aux: whether `fun` returns ``(output, aux)``.
        holomorphic: whether `fun` is complex-differentiable.

    Returns:
        A function of the same arguments; for output shape o and argument shapes i, j, a Hessian has
        shape ``o + i + j``.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.hessian(lambda x: (x**3).sum())(jnp.array([1.0, 2.0]))
        Array([[ 6.,  0.],
               [ 0., 12.]], dtype=float32)
    """
    first = _by_rows("hessian", fun, argnums, has_aux, holomorphic, False)
    return _by_columns("hessian", first, argnums, has_aux, holomorphic)
