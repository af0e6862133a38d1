"""Marks on values that the backward pass may keep: a name, and a place in another memory.

Neither changes a value. Policies of `checkpoint` ask for the name; the place is where a kept value
waits for the backward pass.
"""

from collections.abc import Sequence
from typing import Any

from functrax import errors
from functrax.core import tree
from functrax.core.primitive import BatchAxis, declare, registry
from functrax.core.trace import Value, as_value, bind
from functrax.core.types import ShapedArray
from functrax.primitives.rules import Dim, Tangent

# name ---------------------------------------------------------------------------------------------


def checkpoint_name(x: Any, name: str) -> Any:
    """Name values, for policies of `checkpoint` to save them or not; the values do not change.

    Args:
        x: pytree of arrays.
        name: what `checkpoint_policies.save_only_these_names` and its like call them.

    Returns:
        The same tree of equal arrays.

    Raises:
        ArgumentError: if the name is not a string.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> policy = functrax.checkpoint_policies.save_only_these_names("wave")
        >>> f = functrax.checkpoint(
        ...     lambda x: jnp.sin(checkpoint_name(jnp.sin(x), "wave")), policy=policy
        ... )
        >>> float(functrax.grad(f)(0.0))
        1.0
    """
    if not isinstance(name, str):
        raise errors.ArgumentError("checkpoint_name", "a name as a str", repr(name))
    return tree.map(lambda leaf: bind(name_p, as_value(leaf, "checkpoint_name"), name=name)[0], x)


def _same_type(x: ShapedArray, **_: Any) -> tuple[ShapedArray]:
    return (x,)


def _named_type(x: ShapedArray, *, name: str) -> tuple[ShapedArray]:
    return (x,)


def _tangents_pass(name: str) -> Any:
    """D name(x) = dx: what is kept is the value, never a tangent."""

    def jvp(primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any) -> Any:
        return bind(registry[name], *primals, **params), tangents

    return jvp


def _pass_back(cotangents: Sequence[Tangent], x: Any, **_: Any) -> Sequence[Tangent]:
    """The cotangent as it is."""
    return cotangents


def _same_axis(name: str) -> Any:
    def batch(
        axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any
    ) -> Any:
        return bind(registry[name], *operands, **params), dims

    return batch


def _name_lower(b: Any, x: Any, **_: Any) -> Any:
    return x


name_p = declare(
    "name",
    abstract_eval=_named_type,
    jvp=_tangents_pass("name"),
    transpose=_pass_back,
    batch=_same_axis("name"),
    lower=_name_lower,
    lowers_keys=True,
)

# to_memory ----------------------------------------------------------------------------------------


def _to_memory_lower(b: Any, x: Any, *, kind: str) -> Any:
    """On the CPU every kind of memory is the host's: the value is there already."""
    if b.platform == "cpu":
        return x
    context = b.context
    attributes = {
        "call_target_name": context.string("annotate_device_placement"),
        "has_side_effect": context.bool_attr(True),
        "mhlo.frontend_attributes": context.dictionary(
            {"_xla_buffer_placement": context.string(kind)}
        ),
    }
    return b.op("stablehlo.custom_call", (x,), b.out_types[0], attributes)


to_memory_p = declare(
    "to_memory",
    abstract_eval=_same_type,
    jvp=_tangents_pass("to_memory"),
    transpose=_pass_back,
    batch=_same_axis("to_memory"),
    lower=_to_memory_lower,
    lowers_keys=True,
)
