"""Functions over pytrees, with the names of ``jax.tree``.

A pytree is a nested container: dict, list, tuple, namedtuple, OrderedDict, defaultdict, None (which
is empty) and registered classes; anything else is a leaf.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from functrax.core.tree import (
    UNSET,
    IsLeaf,
    all,
    broadcast,
    flatten,
    flatten_with_path,
    leaves,
    leaves_with_path,
    map,
    map_with_path,
    reduce,
    structure,
    transpose,
    unflatten,
)
from functrax.errors import TreeError

__all__ = [
    "all",
    "broadcast",
    "flatten",
    "flatten_with_path",
    "leaves",
    "leaves_with_path",
    "map",
    "map_with_path",
    "reduce",
    "reduce_associative",
    "static",
    "structure",
    "transpose",
    "unflatten",
]


def __dir__() -> list[str]:
    return __all__


def reduce_associative(
    operation: Callable[[Any, Any], Any],
    tree: Any,
    *,
    identity: Any = UNSET,
    is_leaf: IsLeaf | None = None,
) -> Any:
    """Combine the leaves in pairs, pairs of pairs and so on: rounding errors stay small.

    Args:
        operation: Callable of two results, associative.
        tree: any pytree.
        identity: the result for a tree without leaves.
        is_leaf: Callable that tells of a node whether to stop there.

    Returns:
        The last result.

    Raises:
        TreeError: if there are neither leaves nor an identity.

    Example:
        >>> reduce_associative(lambda x, y: f"({x}{y})", list("abcd"))
        '((ab)(cd))'
    """
    flat = leaves(tree, is_leaf)
    if flat:
        return _halves(operation, flat)
    if identity is UNSET:
        expected = "a tree with leaves, or an identity"
        raise TreeError("tree.reduce_associative", expected, "a tree without")
    return identity


def _halves(operation: Callable[[Any, Any], Any], flat: list[Any]) -> Any:
    if len(flat) == 1:
        return flat[0]
    middle = len(flat) // 2
    return operation(_halves(operation, flat[:middle]), _halves(operation, flat[middle:]))


def static(**kwargs: Any) -> Any:
    """Declare a dataclass field that belongs to the structure of a pytree, not to its leaves.

    Args:
        **kwargs: what ``dataclasses.field`` takes.

    Returns:
        A ``dataclasses.field`` with ``static=True`` in its metadata, for `register_dataclass`.

    Example:
        >>> static(default="add").metadata["static"]
        True
    """
    metadata = {**(kwargs.pop("metadata", None) or {}), "static": True}
    return dataclasses.field(metadata=metadata, **kwargs)
