"""`custom_vjp`: a function with its own reverse-mode rule."""

import types
from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, ParamSpec, TypeVar

from functrax import errors
from functrax.core import tree
from functrax.core.trace import Value, bind, state
from functrax.core.types import ShapedArray
from functrax.primitives.rules import Tangent
from functrax.transforms.calls import (
    call_rule,
    checked_leaves,
    checked_pair,
    checked_values,
    described,
    flat_call,
    merge_nondiff,
    nondiff_positions,
    place_of,
    user_tangent,
)
from functrax.transforms.flat import (
    FlatFunction,
    argument_names,
    as_array,
    check_callable,
    function_name,
    take_name,
)
from functrax.transforms.symbolic import CustomVJPPrimal
from functrax.transforms.vjp_calls import Rules, custom_vjp_call_p

P = ParamSpec("P")
R = TypeVar("R")


class custom_vjp(Generic[P, R]):  # noqa: N801  (used as a decorator, like JAX's)
    """A function whose gradient is given by a rule instead of being derived.

    Args:
        fun: a function of pytrees of arrays.
        nondiff_argnums: positions of arguments that are not differentiated and need not be arrays;
            `bwd` receives them first.
        nondiff_argnames: names of such arguments.
        mode: what forward mode (`jvp`, `linearize`, `jacfwd`, `hessian`) does. With "primal" it
            differentiates `fun` itself. With "transpose" it transposes `bwd`, which then has to be
            linear in the cotangent.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> @functrax.custom_vjp
        ... def f(x):
        ...     return jnp.sin(x)
        >>> f.defvjp(lambda x: (f(x), x), lambda x, g: (3.0 * g,))
        >>> float(functrax.grad(f)(0.5))
        3.0
    """

    def __init__(
        self,
        fun: Callable[P, R],
        nondiff_argnums: Sequence[int] = (),
        nondiff_argnames: Sequence[str] = (),
        *,
        mode: Literal["primal", "transpose"] = "primal",
    ) -> None:
        """Wrap a function; give the rules with `defvjp`."""
        check_callable(fun, "custom_vjp")
        if mode not in ("primal", "transpose"):
            expected = "mode='primal' or mode='transpose'"
            raise errors.ArgumentError("custom_vjp", expected, repr(mode))
        take_name(self, fun)
        self.fun = fun
        self.nondiff_argnums = nondiff_positions(
            fun, nondiff_argnums, nondiff_argnames, "custom_vjp"
        )
        self.fwd: Callable[..., Any] | None = None
        self.bwd: Callable[..., Any] | None = None
        self.mode = mode
        self.symbolic_zeros = False
        self.optimize_remat = False

    def defvjp(
        self,
        fwd: Callable[..., Any],
        bwd: Callable[..., Any],
        symbolic_zeros: bool = False,
        optimize_remat: bool = False,
    ) -> None:
        """Set the rules.

        Args:
            fwd: the arguments of the function -> ``(output, residuals)``.
            bwd: ``(residuals, output cotangent)`` -> one cotangent per differentiable argument;
                None stands for zero, and numbers of another precision are converted. With
                `nondiff_argnums`, these arguments come first. The cotangents of integers are None,
                in the arguments and in the result.
            symbolic_zeros: whether `fwd` receives each array as a
                `custom_derivatives.CustomVJPPrimal`, which says whether it is differentiated, and
                `bwd` receives cotangents that are known to be zero as
                `custom_derivatives.SymbolicZero`.
            optimize_remat: whether the output is computed by the function, and only the residuals
                by `fwd`. Under `checkpoint` the forward pass is then the function alone; without it
                both run, and XLA merges what they have in common.
        """
        check_callable(fwd, "custom_vjp.defvjp")
        check_callable(bwd, "custom_vjp.defvjp")
        self.symbolic_zeros = symbolic_zeros
        self.optimize_remat = optimize_remat
        self.fwd, self.bwd = fwd, bwd

    def __repr__(self) -> str:
        """Print as ``custom_vjp(name)``."""
        return f"<custom_vjp of {function_name(self.fun)}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function; transforms will find its rules."""
        name = function_name(self.fun)
        if self.fwd is None or self.bwd is None:
            raise errors.ArgumentError(
                name, "rules set by `defvjp`", "none", fix=f"Call `{name}.defvjp(fwd, bwd)`."
            )
        function, values, fixed, nondiff = flat_call(
            self.fun, self.nondiff_argnums, args, kwargs, name
        )
        if state.trace is None:
            return function.run(values)
        rules = _user_rules(self, name, function, fixed, nondiff, [x.aval for x in values])
        results = bind(custom_vjp_call_p, *values, function=function, rules=rules, name=name)
        return function.out_tree.unflatten(results)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind like a method."""
        return self if instance is None else types.MethodType(self, instance)


def _user_rules(
    custom: custom_vjp[..., Any],
    name: str,
    function: FlatFunction,
    fixed: Sequence[Any],
    nondiff: Sequence[int],
    in_avals: Sequence[ShapedArray],
) -> Rules:
    """Wrap the user's rules as functions of flat values that check what they return."""
    fwd: Any = custom.fwd
    bwd: Any = custom.bwd
    in_tree = function.in_tree
    args_tree = in_tree.children()[0]
    memory: dict[str, Any] = {}

    def forward(
        primals: Sequence[Value], perturbed: Sequence[bool]
    ) -> tuple[list[Value], list[Value]]:
        leaves = map(as_array, primals)
        free, _ = in_tree.unflatten(
            map(CustomVJPPrimal, leaves, perturbed) if custom.symbolic_zeros else leaves
        )
        result = call_rule(name, fwd, merge_nondiff(fixed, free, nondiff))
        out, kept = checked_pair(
            name, fwd, "the fwd rule to return a pair (output, residuals)", result
        )
        leaves, out_tree = tree.flatten(out)
        if function.out_tree is None:
            function.out_tree = out_tree
        elif out_tree != function.out_tree:
            raise errors.CustomRuleError(
                name,
                f"an output of the function's structure {function.out_tree} from the fwd rule",
                f"{out_tree}",
                where=place_of(fwd),
            )
        outs = checked_values(name, fwd, "the fwd rule", leaves)
        residuals, residual_tree = tree.flatten(kept)
        memory["residuals"] = residual_tree
        memory["outs"] = [out.aval for out in outs]
        return outs, checked_values(name, fwd, "the fwd rule (in its residuals)", residuals)

    def backward(residuals: Sequence[Value], cotangents: Sequence[Tangent]) -> list[Tangent]:
        dense = [
            user_tangent(aval, c, custom.symbolic_zeros)
            for c, aval in zip(cotangents, memory["outs"], strict=True)
        ]
        kept = memory["residuals"].unflatten(map(as_array, residuals))
        result = call_rule(name, bwd, [*fixed, kept, function.out_tree.unflatten(dense)])
        names = lambda: argument_names(custom.fun, in_tree, nondiff)  # noqa: E731
        if not isinstance(result, tuple | list):
            raise errors.CustomRuleError(
                name,
                f"the bwd rule to return a tuple of cotangents, for {', '.join(names())}",
                described(result),
                where=place_of(bwd),
                fix="Return a tuple also for one argument: `return (g,)`.",
            )
        what = "the bwd rule to return cotangents"
        given = tuple(result)
        return checked_leaves(name, bwd, what, given, args_tree, in_avals, names, rounded=True)

    return Rules(forward, backward, custom.mode == "transpose", custom.optimize_remat)
