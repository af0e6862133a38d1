"""Forward mode for users: `jvp` and `linearize`."""

from collections.abc import Callable, Sequence
from typing import Any

from functrax import errors
from functrax.core import tree
from functrax.core.jaxpr import eval_jaxpr
from functrax.core.trace import Value, describe
from functrax.primitives.rules import has_tangent, zeros
from functrax.transforms.differentiate import (
    LinearPart,
    OfResiduals,
    WithAux,
    call_tree,
    check_tangents,
    dense_tangent,
    float0_zeros,
)
from functrax.transforms.flat import (
    argument_names,
    argument_values,
    as_array,
    check_callable,
    function_name,
)
from functrax.transforms.jvp import jvp_flat
from functrax.transforms.partial import linearize_flat


def jvp(
    fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False
) -> tuple[Any, ...]:
    """Evaluate a function and its directional derivative.

    Args:
        fun: a differentiable function of pytrees of arrays.
        primals: tuple of its arguments.
        tangents: tuple of the direction: the same trees, shapes and dtypes (float0 for integers).
        has_aux: whether `fun` returns ``(output, aux)``, with aux not differentiated.

    Returns:
        ``(output, tangent)``, or ``(output, tangent, aux)``.

    Raises:
        TreeError: if the trees differ; ShapeError, DtypeError: if a tangent does not fit its
            primal.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.jvp(lambda x: x**2, (3.0,), (1.0,))
        (Array(9., dtype=float32, weak_type=True), Array(6., dtype=float32, weak_type=True))
    """
    check_callable(fun, "jvp")
    if not isinstance(primals, tuple | list) or not isinstance(tangents, tuple | list):
        raise errors.ArgumentError(
            "jvp",
            "primals and tangents as tuples",
            " and ".join(describe(x) for x in (primals, tangents)),
            fix="Write `jvp(f, (x,), (t,))` for one argument.",
        )
    leaves, in_tree = tree.flatten(tuple(primals))
    whole = call_tree(in_tree)
    names = lambda: argument_names(fun, whole)  # noqa: E731
    values = argument_values("jvp", leaves, names)
    avals = [x.aval for x in values]
    given = check_tangents("jvp", tuple(tangents), avals, in_tree, names)
    flat = WithAux(fun, whole, "jvp", has_aux)
    results, tangents_out = jvp_flat(flat, values, given)
    dense = [
        dense_tangent(r, t)
        for r, t in zip(results[: flat.count], tangents_out[: flat.count], strict=True)
    ]
    out = flat.out_of(results), flat.flat.out_tree.unflatten(dense)
    return (*out, flat.aux_of(results)) if has_aux else out


def linearize(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """Evaluate a function and return its derivative there as a linear function.

    Args:
        fun: a differentiable function of pytrees of arrays.
        *primals: its arguments.
        has_aux: whether `fun` returns ``(output, aux)``.

    Returns:
        ``(output, f_jvp)`` (and aux): ``f_jvp(*tangents)`` gives the tangent of the output, without
        recomputing `fun`. `f_jvp` is a pytree (`tree_util.Partial`) of what it remembers.

    Example:
        >>> import functrax
        >>> y, f_jvp = functrax.linearize(lambda x: x**2, 3.0)
        >>> float(f_jvp(1.0))
        6.0
    """
    check_callable(fun, "linearize")
    leaves, in_tree = tree.flatten(primals)
    whole = call_tree(in_tree)
    names = lambda: argument_names(fun, whole)  # noqa: E731
    values = argument_values("linearize", leaves, names)
    avals = [x.aval for x in values]
    active = [has_tangent(aval) for aval in avals]
    flat = WithAux(fun, whole, "linearize", has_aux)
    user = function_name(fun)
    results, jaxpr, residuals, nonzero = linearize_flat(
        flat, values, active, name="linearize", function_name=user, argument_names=names
    )
    linear = LinearPart("linearize", jaxpr, nonzero, active, avals)
    out_avals = [r.aval for r in results[: flat.count]]
    push = _Push(user, linear, in_tree, flat.flat.out_tree, out_avals, names=names)
    out = flat.out_of(results), tree.Partial(push, residuals)
    return (*out, flat.aux_of(results)) if has_aux else out


class _Push(OfResiduals):
    """The linear function that `linearize` returns; `names` gives those of its arguments."""

    what = "linear part"

    def __init__(self, *args: Any, names: Callable[[], Sequence[str]]) -> None:
        super().__init__(*args)
        self.names = names

    def __call__(self, residuals: Sequence[Value], *tangents: Any) -> Any:
        linear = self.linear
        given = check_tangents("linearize", tangents, linear.avals, self.in_tree, self.names)
        pushed = iter(eval_jaxpr(linear.jaxpr, residuals, *(t for t in given if t is not None)))
        dense = [
            as_array(next(pushed))
            if has
            else float0_zeros(aval)
            if not has_tangent(aval)
            else as_array(zeros(aval))
            for has, aval in zip(linear.nonzero, self.out_avals, strict=False)
        ]
        return self.out_tree.unflatten(dense)
