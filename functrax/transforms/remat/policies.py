"""Policies of `checkpoint`: which results of a function's operations are kept for the backward
pass.

A policy is called as ``policy(primitive, *types, **params)`` for each operation that does not
depend on a tangent, and returns True to keep its results, False to compute them again, or an
`Offloadable` to keep them in another memory.
"""

import types
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from functrax import errors
from functrax.core.params import param_type
from functrax.core.primitive import Primitive
from functrax.primitives.convolution import conv_general_dilated_p
from functrax.primitives.dot import dot_general_p
from functrax.primitives.residuals import name_p

Policy = Callable[..., Any]
Saveable = True
Recompute = False
MEMORY_KINDS = ("device", "pinned_host", "unpinned_host")


@param_type
class Offloadable(NamedTuple):
    """What a policy returns to keep a result in another memory until the backward pass.

    Attributes:
        src: the memory where it is computed and used: ``"device"``.
        dst: the memory where it waits: ``"pinned_host"`` or ``"unpinned_host"``.
    """

    src: str
    dst: str


def offloadable(call: str, src: str, dst: str) -> Offloadable:
    """Check the kinds of memory.

    Raises:
        ArgumentError: if there is no such kind.
    """
    for kind in (src, dst):
        if kind not in MEMORY_KINDS:
            names = ", ".join(map(repr, MEMORY_KINDS))
            raise errors.ArgumentError(call, f"kinds of memory among {names}", repr(kind))
    return Offloadable(src, dst)


@param_type
class Budget(NamedTuple):
    """What `checkpoint` has in place of a policy if it is to choose by itself.

    Attributes:
        size: how many bytes of values it may keep beside the function's inputs.
    """

    size: int


def everything_saveable(*_: Any, **__: Any) -> bool:
    """Keep every result, as if there were no `checkpoint`."""
    return True


def nothing_saveable(*_: Any, **__: Any) -> bool:
    """Keep no result, as `checkpoint` without a policy."""
    return False


def dots_saveable(prim: Primitive, *args: Any, **params: Any) -> bool:
    """Keep the results of products of matrices and of convolutions."""
    return prim in (dot_general_p, conv_general_dilated_p)


def dots_with_no_batch_dims_saveable(prim: Primitive, *args: Any, **params: Any) -> bool:
    """Keep the results of products without batch axes: those with weights, not of attention."""
    return prim is dot_general_p and not any(params["dimension_numbers"][1])


def _names(call: str, names: Iterable[Any]) -> frozenset[str]:
    found = tuple(names)
    for name in found:
        if not isinstance(name, str):
            raise errors.ArgumentError(
                call, "names as strings", repr(name), fix=f"Write `{call}('a', 'b')`."
            )
    return frozenset(found)


def save_anything_except_these_names(*names_not_to_save: str) -> Policy:
    """Keep every result, except those that `checkpoint_name` gave one of these names."""
    names = _names("save_anything_except_these_names", names_not_to_save)
    return lambda prim, *_, **params: not (prim is name_p and params["name"] in names)


def save_any_names_but_these(*names_not_to_save: str) -> Policy:
    """Keep the named values, except those with one of these names."""
    names = _names("save_any_names_but_these", names_not_to_save)
    return lambda prim, *_, **params: prim is name_p and params["name"] not in names


def save_only_these_names(*names_which_can_be_saved: str) -> Policy:
    """Keep the values with one of these names alone."""
    names = _names("save_only_these_names", names_which_can_be_saved)
    return lambda prim, *_, **params: prim is name_p and params["name"] in names


def save_from_both_policies(policy_1: Policy, policy_2: Policy) -> Policy:
    """Keep what one of two policies keeps.

    Args:
        policy_1: a policy that returns True or False.
        policy_2: likewise.
    """

    def policy(prim: Primitive, *args: Any, **params: Any) -> bool:
        both = policy_1(prim, *args, **params), policy_2(prim, *args, **params)
        for answer in both:
            if not isinstance(answer, bool):
                raise errors.ArgumentError(
                    "save_from_both_policies",
                    "policies that return True or False",
                    repr(answer),
                    fix="Write one policy that decides on both.",
                )
        return any(both)

    return policy


def offload_dot_with_no_batch_dims(offload_src: str, offload_dst: str) -> Policy:
    """Keep the results of products without batch axes, in another memory.

    Args:
        offload_src: the memory where they are computed: ``"device"``.
        offload_dst: the memory where they wait: ``"pinned_host"``.
    """
    place = offloadable("offload_dot_with_no_batch_dims", offload_src, offload_dst)
    keep = dots_with_no_batch_dims_saveable
    return lambda prim, *args, **params: place if keep(prim, *args, **params) else False


def save_and_offload_only_these_names(
    *,
    names_which_can_be_saved: Iterable[str],
    names_which_can_be_offloaded: Iterable[str],
    offload_src: str,
    offload_dst: str,
) -> Policy:
    """Keep named values alone: some where they are, others in another memory.

    Args:
        names_which_can_be_saved: the names of values that stay.
        names_which_can_be_offloaded: those of values that are moved.
        offload_src: the memory where these are computed: ``"device"``.
        offload_dst: the memory where they wait: ``"pinned_host"``.

    Raises:
        ArgumentError: if a name is in both, or there is no such kind of memory.
    """
    call = "save_and_offload_only_these_names"
    place = offloadable(call, offload_src, offload_dst)
    saved = _names(call, names_which_can_be_saved)
    moved = _names(call, names_which_can_be_offloaded)
    if saved & moved:
        both = ", ".join(map(repr, sorted(saved & moved)))
        raise errors.ArgumentError(call, "each name saved or offloaded, not both", both)

    def policy(prim: Primitive, *_: Any, **params: Any) -> Any:
        if prim is not name_p:
            return False
        return place if params["name"] in moved else params["name"] in saved

    return policy


checkpoint_policies = types.SimpleNamespace(
    everything_saveable=everything_saveable,
    nothing_saveable=nothing_saveable,
    dots_saveable=dots_saveable,
    checkpoint_dots=dots_saveable,
    dots_with_no_batch_dims_saveable=dots_with_no_batch_dims_saveable,
    checkpoint_dots_with_no_batch_dims=dots_with_no_batch_dims_saveable,
    offload_dot_with_no_batch_dims=offload_dot_with_no_batch_dims,
    save_anything_except_these_names=save_anything_except_these_names,
    save_any_names_but_these=save_any_names_but_these,
    save_only_these_names=save_only_these_names,
    save_from_both_policies=save_from_both_policies,
    save_and_offload_only_these_names=save_and_offload_only_these_names,
)
