"""Reverse mode for users: `vjp`, `linear_transpose`, `grad` and `value_and_grad`."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

from functrax import errors
from functrax.core import dtypes, tree
from functrax.core.trace import Value
from functrax.core.types import Literal, ShapedArray
from functrax.primitives.rules import zeros
from functrax.transforms.differentiate import (
    OfResiduals,
    Pullback,
    argument_numbers,
    call_tree,
    check_cotangents,
    check_inputs,
    leaf_names,
    select_arguments,
)
from functrax.transforms.flat import (
    FlatFunction,
    argument_names,
    argument_types,
    argument_values,
    as_array,
    check_callable,
    function_name,
)
from functrax.transforms.partial import record_flat
from functrax.transforms.transpose import backward_pass

P = ParamSpec("P")


def vjp(
    fun: Callable[..., Any], *primals: Any, has_aux: bool = False, reduce_axes: Sequence[Any] = ()
) -> Any:
    """Evaluate a function and return its pullback.

    Args:
        fun: a differentiable function of pytrees of arrays.
        *primals: its arguments.
        has_aux: whether `fun` returns ``(output, aux)``.
        reduce_axes: accepted for compatibility; must be empty.

    Returns:
        ``(output, vjpfun)`` (and aux): ``vjpfun(cotangent of the output)`` gives the tuple of
        cotangents of `primals`. `vjpfun` is a pytree (`tree_util.Partial`) of what it remembers.

    Raises:
        TreeError, ShapeError, DtypeError: when `vjpfun` gets a cotangent that does not fit the
            output.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> y, pull = functrax.vjp(jnp.sin, 0.0)
        >>> [float(x) for x in pull(1.0)]
        [1.0]
    """
    check_callable(fun, "vjp")
    if reduce_axes:
        raise errors.ArgumentError("vjp", "reduce_axes=()", repr(reduce_axes))
    leaves, in_tree = tree.flatten(primals)
    whole = call_tree(in_tree)
    names = lambda: argument_names(fun, whole)  # noqa: E731
    values = argument_values("vjp", leaves, names)
    pullback = Pullback("vjp", fun, values, whole, has_aux, names)
    flat = pullback.flat
    out_tree = flat.flat.out_tree
    out_avals = [r.aval for r in pullback.results[: flat.count]]

    pull = _Pull(function_name(fun), pullback.linear, in_tree, out_tree, out_avals)
    out = flat.out_of(pullback.results), tree.Partial(pull, pullback.residuals)
    return (*out, flat.aux_of(pullback.results)) if has_aux else out


class _Pull(OfResiduals):
    """The pullback that `vjp` returns."""

    what = "pullback"

    def __call__(self, residuals: Sequence[Value], *cotangent: Any) -> Any:
        checked = check_cotangents("vjp", cotangent, self.out_tree, self.out_avals)
        return self.in_tree.unflatten(self.linear.dense(self.linear.pull(residuals, checked)))


def linear_transpose(
    fun: Callable[..., Any], *primals: Any, reduce_axes: Sequence[Any] = ()
) -> Callable[..., Any]:
    """Transpose a function that is promised to be linear.

    Args:
        fun: a linear function of pytrees of arrays, of real and complex numbers or of integers.
        *primals: arguments, or `ShapeDtypeStruct`; only their types matter.
        reduce_axes: accepted for compatibility; must be empty.

    Returns:
        A function from a cotangent of the output to the tuple of cotangents of the arguments.

    Raises:
        MissingRuleError: if an operation in `fun` is not linear.
        DtypeError: if it takes or returns booleans or keys, or makes numbers of one kind from those
            of the other.

    Example:
        >>> import functrax
        >>> [float(x) for x in functrax.linear_transpose(lambda x: 3.0 * x, 1.0)(2.0)]
        [6.0]
    """
    check_callable(fun, "linear_transpose")
    leaves, in_tree = tree.flatten(primals)
    whole = call_tree(in_tree)
    avals = argument_types("linear_transpose", leaves, lambda: argument_names(fun, whole))
    flat = FlatFunction(fun, whole, "linear_transpose")
    jaxpr, residuals, results = record_flat(flat, avals, name="linear_transpose")
    out_avals = [r.aval for r in results]
    types = [aval.dtype for aval in (*avals, *out_avals)]
    if not (all(map(dtypes.is_inexact, types)) or all(map(dtypes.is_integer, types))):
        raise errors.DtypeError(
            "linear_transpose",
            "arguments and results of floating or complex dtype, or integers alone",
            f"({', '.join(map(repr, avals))}) -> ({', '.join(map(repr, out_avals))})",
        )

    def transposed(*cotangent: Any) -> Any:
        checked = check_cotangents(
            "linear_transpose", cotangent, flat.out_tree, out_avals, lambda _: True
        )
        pulled = backward_pass(jaxpr, residuals, checked, "linear_transpose")
        dense = [
            as_array(zeros(aval) if c is None else c) for aval, c in zip(avals, pulled, strict=True)
        ]
        return in_tree.unflatten(dense)

    return transposed


def value_and_grad(
    fun: Callable[P, Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    reduce_axes: Sequence[Any] = (),
) -> Callable[P, Any]:
    """Return a function that computes `fun` and its gradient.

    Args:
        fun: a function of pytrees of arrays that returns a real scalar.
        argnums: position or positions of the arguments to differentiate.
        has_aux: whether `fun` returns ``(output, aux)``.
        holomorphic: whether `fun` is complex-differentiable, with complex arguments and output.
        allow_int: whether integer arguments are taken; their gradient is float0.
        reduce_axes: accepted for compatibility; must be empty.

    Returns:
        A function of the same arguments that returns ``(value, gradient)``, or ``((value, aux),
        gradient)``.

    Raises:
        ArgumentError, DtypeError, ShapeError: if the output is not scalar or a dtype cannot be
            differentiated.

    Example:
        >>> import functrax
        >>> value, gradient = functrax.value_and_grad(lambda x: x**2)(3.0)
        >>> float(value), float(gradient)
        (9.0, 6.0)
    """
    return _gradient(
        "value_and_grad", fun, argnums, has_aux, holomorphic, allow_int, reduce_axes, True
    )


def grad(
    fun: Callable[P, Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    reduce_axes: Sequence[Any] = (),
) -> Callable[P, Any]:
    """Return a function that computes the gradient of `fun`.

    Args:
        fun: a function of pytrees of arrays that returns a real scalar.
        argnums: position or positions of the arguments to differentiate.
        has_aux: whether `fun` returns ``(output, aux)``.
        holomorphic: whether `fun` is complex-differentiable, with complex arguments and output.
        allow_int: whether integer arguments are taken; their gradient is float0.
        reduce_axes: accepted for compatibility; must be empty.

    Returns:
        A function of the same arguments that returns the gradient, or ``(gradient, aux)``: a tree
        like the argument, or a tuple of them if `argnums` is a sequence.

    Raises:
        ArgumentError, DtypeError, ShapeError: if the output is not scalar or a dtype cannot be
            differentiated.

    Example:
        >>> import functrax
        >>> float(functrax.grad(lambda x: x**3)(2.0))
        12.0
    """
    return _gradient("grad", fun, argnums, has_aux, holomorphic, allow_int, reduce_axes, False)


def _gradient(
    call: str,
    fun: Callable[..., Any],
    argnums: int | Sequence[int],
    has_aux: bool,
    holomorphic: bool,
    allow_int: bool,
    reduce_axes: Sequence[Any],
    with_value: bool,
) -> Callable[..., Any]:
    check_callable(fun, call)
    if reduce_axes:
        raise errors.ArgumentError(call, "reduce_axes=()", repr(reduce_axes))
    numbers = argument_numbers(call, argnums)

    @functools.wraps(fun)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        try:
            chosen, rest = select_arguments(call, fun, numbers, args, kwargs)
            leaves, in_tree = tree.flatten((chosen, {}))
            places = [n % len(args) for n in numbers]
            names = lambda: leaf_names(fun, places, chosen)  # noqa: E731
            values = argument_values(call, leaves, names)
            check_inputs(
                call, fun, values, places, chosen, holomorphic=holomorphic, allow_int=allow_int
            )
            pullback = Pullback(call, rest, values, in_tree, has_aux, names)
            one = _seed(call, fun, pullback, holomorphic)
            cotangents = pullback.linear.dense(pullback.pull([one]))
        except Exception as error:
            raise errors.filter_traceback(error) from error.__cause__
        gradients = in_tree.unflatten(cotangents)[0]
        if not isinstance(argnums, Sequence):
            gradients = gradients[0]
        if not with_value:
            return (gradients, pullback.flat.aux_of(pullback.results)) if has_aux else gradients
        value = pullback.flat.out_of(pullback.results)
        return ((value, pullback.flat.aux_of(pullback.results)) if has_aux else value), gradients

    return gradient


@functools.lru_cache(maxsize=256)
def _one(aval: ShapedArray) -> Literal:
    """Return 1, the same object each time: an eager gradient finds it on the device already."""
    return Literal(1, aval)


def _seed(call: str, fun: Callable[..., Any], pullback: Pullback, holomorphic: bool) -> Value:
    """Check that the output is one scalar and return its cotangent, 1."""
    outputs = pullback.results[: pullback.flat.count]
    name = function_name(fun)
    fix = "Return a scalar (a sum or mean), or use `jacrev` or `vjp`."
    out_tree = pullback.flat.flat.out_tree
    if out_tree != tree.LEAF:
        got = f"a pytree of {len(outputs)} arrays" if len(outputs) != 1 else f"{out_tree}"
        raise errors.ArgumentError(
            call, f"a scalar output from {name!r}", got,
            fix="Return one scalar; use `has_aux=True` for further results.",
        )  # fmt: skip
    aval = outputs[0].aval
    if aval.shape:
        raise errors.ShapeError(call, f"a scalar output from {name!r}", f"{aval!r}", fix=fix)
    if holomorphic and not dtypes.is_complex(aval.dtype):
        raise errors.DtypeError(
            call, f"a complex output from {name!r}, because holomorphic=True", f"{aval!r}"
        )
    if not holomorphic and not dtypes.is_floating(aval.dtype):
        fix = "Use `holomorphic=True`." if dtypes.is_complex(aval.dtype) else "Return a float."
        raise errors.DtypeError(
            call, f"a real floating-point output from {name!r}", f"{aval!r}", fix=fix
        )
    return _one(aval)
