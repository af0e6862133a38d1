"""Pytrees: nested containers as a list of leaves and a structure, and functions over them.

The containers are dict (by sorted keys), list, tuple, namedtuple, OrderedDict, defaultdict, None
(which is empty) and registered classes, with JAX's meaning throughout.
"""

import builtins
import functools
from collections.abc import Callable
from typing import Any

from functrax.core.structure import LEAF, Leaf, first_difference, substructures
from functrax.errors import TreeError
from functrax.xla import pytree
from functrax.xla.pytree import (
    DictKey,
    FlattenedIndexKey,
    GetAttrKey,
    IsLeaf,
    KeyPath,
    PyTreeDef,
    SequenceKey,
    compare_keys,
    describe,
    first_mismatch,
    flatten,
    flatten_with_path,
    is_node_type,
    one_level,
    register_dataclass_node,
    register_node,
    treedef_tuple,
    type_registry,
    unflatten,
)

__all__ = [
    "LEAF",
    "UNSET",
    "DictKey",
    "FlattenedIndexKey",
    "GetAttrKey",
    "IsLeaf",
    "KeyPath",
    "Partial",
    "PyTreeDef",
    "SequenceKey",
    "all",
    "broadcast",
    "broadcast_prefix",
    "flatten",
    "flatten_up_to",
    "flatten_with_path",
    "is_node_type",
    "keystr",
    "leaves",
    "leaves_with_path",
    "map",
    "map_with_path",
    "one_level",
    "prefix_error",
    "reduce",
    "register_dataclass_node",
    "register_node",
    "structure",
    "transpose",
    "treedef_tuple",
    "type_registry",
    "unflatten",
]

#: Marks an argument that was not given.
UNSET: Any = object()

# ---- parts of a tree


def leaves(tree: Any, is_leaf: IsLeaf | None = None) -> list[Any]:
    """Return the leaves of a tree.

    Args:
        tree: any pytree.
        is_leaf: Callable that tells of a node whether to stop there.

    Returns:
        list of the leaves, from left to right.

    Raises:
        TreeError: if dict keys cannot be sorted, or the tree contains itself.

    Example:
        >>> leaves({"b": 2, "a": (1, None)})
        [1, 2]
    """
    return flatten(tree, is_leaf)[0]


def structure(tree: Any, is_leaf: IsLeaf | None = None) -> PyTreeDef:
    """Return the structure of a tree.

    Args:
        tree: any pytree.
        is_leaf: Callable that tells of a node whether to stop there.

    Returns:
        PyTreeDef: hashable, comparable and picklable.

    Raises:
        TreeError: if dict keys cannot be sorted, or the tree contains itself.

    Example:
        >>> structure({"b": 2, "a": (1, None)})
        PyTreeDef({'a': (*, None), 'b': *})
    """
    return flatten(tree, is_leaf)[1]


def leaves_with_path(
    tree: Any, is_leaf: Callable[..., bool] | None = None, is_leaf_takes_path: bool = False
) -> list[tuple[KeyPath, Any]]:
    """Return the leaves of a tree with the way to each.

    Args:
        tree: any pytree.
        is_leaf: Callable that tells of a node whether to stop there.
        is_leaf_takes_path: bool, whether it is called with (path, node), not (node).

    Returns:
        list of (path, leaf), a path being a tuple of keys.

    Raises:
        TreeError: if dict keys cannot be sorted, or the tree contains itself.

    Example:
        >>> [(keystr(path), leaf) for path, leaf in leaves_with_path({"a": [5, 6]})]
        [("['a'][0]", 5), ("['a'][1]", 6)]
    """
    return flatten_with_path(tree, is_leaf, is_leaf_takes_path)[0]


def keystr(keys: KeyPath, *, simple: bool = False, separator: str = "") -> str:
    """Return a key path as text.

    Args:
        keys: tuple of keys, as `flatten_with_path` gives.
        simple: bool, whether to leave out brackets, dots and quotes.
        separator: str, put between the keys.

    Returns:
        str, as one would write it in Python after the tree's name.

    Example:
        >>> keystr((DictKey("a"), SequenceKey(0), GetAttrKey("x")))
        "['a'][0].x"
        >>> keystr((DictKey("a"), SequenceKey(0)), simple=True, separator="/")
        'a/0'
    """
    return separator.join(builtins.map(_simple_key if simple else str, keys))


def _simple_key(key: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


# ---- functions over trees


def map(f: Callable[..., Any], tree: Any, *rest: Any, is_leaf: IsLeaf | None = None) -> Any:
    """Apply a function to every leaf.

    Args:
        f: Callable, of one argument more than there are trees in rest.
        tree: any pytree, which gives the structure of the result.
        *rest: pytrees of the same structure, or with subtrees where tree has leaves.
        is_leaf: Callable that tells of a node of the first tree whether to stop there.

    Returns:
        A tree of what f returned.

    Raises:
        TreeError: if a tree in rest has another structure.

    Example:
        >>> map(lambda x, y: x + y, {"a": 1, "b": [2]}, {"a": 10, "b": [20]})
        {'a': 11, 'b': [22]}
    """
    flat, treedef = flatten(tree, is_leaf)
    if not rest:
        return treedef.unflatten(builtins.map(f, flat))
    columns = _columns("tree.map", treedef, rest)
    return treedef.unflatten(builtins.map(f, flat, *columns))


def map_with_path(
    f: Callable[..., Any],
    tree: Any,
    *rest: Any,
    is_leaf: Callable[..., bool] | None = None,
    is_leaf_takes_path: bool = False,
) -> Any:
    """Apply a function to every leaf and the way to it.

    Args:
        f: Callable, of the path, the leaf, and those of the trees in rest.
        tree: any pytree, which gives the structure of the result.
        *rest: pytrees of the same structure, or with subtrees where tree has leaves.
        is_leaf: Callable that tells of a node of the first tree whether to stop there.
        is_leaf_takes_path: bool, whether it is called with (path, node), not (node).

    Returns:
        A tree of what f returned.

    Raises:
        TreeError: if a tree in rest has another structure.

    Example:
        >>> map_with_path(lambda path, x: keystr(path), {"a": [1, 2]})
        {'a': ["['a'][0]", "['a'][1]"]}
    """
    pairs, treedef = flatten_with_path(tree, is_leaf, is_leaf_takes_path)
    columns = _columns("tree.map_with_path", treedef, rest)
    rows = zip(*zip(*pairs, strict=True), *columns, strict=True)
    return treedef.unflatten([f(*row) for row in rows])


def _columns(call: str, treedef: PyTreeDef, rest: tuple[Any, ...]) -> list[list[Any]]:
    return [
        flatten_up_to(treedef, other, call, f"rest[{place}]") for place, other in enumerate(rest)
    ]


def all(tree: Any, *, is_leaf: IsLeaf | None = None) -> bool:
    """Tell whether every leaf is true.

    Args:
        tree: any pytree.
        is_leaf: Callable that tells of a node whether to stop there.

    Returns:
        bool.

    Example:
        >>> all({"a": True, "b": [1, 0]})
        False
    """
    return builtins.all(leaves(tree, is_leaf))


def reduce(
    function: Callable[[Any, Any], Any],
    tree: Any,
    initializer: Any = UNSET,
    is_leaf: IsLeaf | None = None,
) -> Any:
    """Combine the leaves, from left to right.

    Args:
        function: Callable of (result so far, leaf).
        tree: any pytree.
        initializer: the first result so far; the first leaf when not given.
        is_leaf: Callable that tells of a node whether to stop there.

    Returns:
        The last result.

    Raises:
        TreeError: if there are neither leaves nor an initializer.

    Example:
        >>> reduce(lambda x, y: x + y, {"a": 1, "b": [2, 3]})
        6
    """
    flat = leaves(tree, is_leaf)
    if initializer is not UNSET:
        return functools.reduce(function, flat, initializer)
    if not flat:
        raise TreeError("tree.reduce", "a tree with leaves, or an initializer", "a tree without")
    return functools.reduce(function, flat)


def transpose(
    outer_treedef: PyTreeDef, inner_treedef: PyTreeDef | None, pytree_to_transpose: Any
) -> Any:
    """Turn a tree of trees inside out, as a list of pairs into a pair of lists.

    JAX only compares the number of leaves, and mixes them up if the structures are exchanged.

    Args:
        outer_treedef: PyTreeDef of the outside of the tree.
        inner_treedef: PyTreeDef of the trees inside; None takes the first one's.
        pytree_to_transpose: the tree.

    Returns:
        A tree with the inner structure outside.

    Raises:
        TreeError: if the tree is not the one structure inside the other.

    Example:
        >>> transpose(structure([0, 0]), structure(("x", "y")), [(1, 2), (3, 4)])
        ([1, 3], [2, 4])
    """
    call, name = "tree.transpose", "pytree_to_transpose"
    rows = flatten_up_to(outer_treedef, pytree_to_transpose, call, name)
    if inner_treedef is None:
        inner_treedef = structure(rows[0]) if rows else pytree.LEAF
    columns = [flatten_up_to(inner_treedef, row, call, "an inner tree") for row in rows]
    transposed = zip(*columns, strict=True) if columns else [()] * inner_treedef.num_leaves
    return inner_treedef.unflatten(builtins.map(outer_treedef.unflatten, transposed))


class Partial(functools.partial[Any]):
    """A ``functools.partial`` that is a pytree: the bound arguments are its children.

    So it can be passed to, and returned from, a transformed function.

    Args:
        func: Callable, which belongs to the structure; it must be hashable.
        *args: pytrees, the first arguments.
        **kw: pytrees, more arguments by name.

    Example:
        >>> f = Partial(max, 3)
        >>> f(5), leaves(f)
        (5, [3])
    """

    def __new__(cls, func: Callable[..., Any], *args: Any, **kw: Any) -> "Partial":
        """Bind the arguments."""
        if not isinstance(func, functools.partial):
            return super().__new__(cls, func, *args, **kw)
        # The constructor would take the inner partial apart and make its arguments children too.
        made = super().__new__(cls, _placeholder)
        made.__setstate__((func, args, kw, None))  # pyright: ignore
        return made


def _placeholder() -> None:
    """Stand in for the function while a Partial of a partial is made."""


register_node(
    Partial,
    lambda partial: ((partial.args, partial.keywords), partial.func),
    lambda func, children: Partial(func, *children[0], **children[1]),
)

# ---- trees that must agree


def flatten_up_to(
    treedef: PyTreeDef, tree: Any, call: str = "tree.flatten_up_to", name: str = "tree"
) -> list[Any]:
    """Return the subtrees of a tree that stand where a structure has leaves.

    Args:
        treedef: PyTreeDef.
        tree: a pytree that has this structure, or a larger one below its leaves.
        call: str, the function the user called.
        name: str, what the tree is called there.

    Returns:
        list of subtrees, one for each leaf of the structure.

    Raises:
        TreeError: if the tree has another structure.

    Example:
        >>> flatten_up_to(structure([0, 0]), [1, (2, 3)])
        [1, (2, 3)]
    """
    try:
        return treedef.flatten_up_to(tree)
    except (ValueError, TypeError):
        found = first_mismatch(treedef, tree, ())
        if found is None:
            raise  # an error of a flatten function of the user's
    path, wanted, given = found
    cure = compare_keys(wanted, given) or "It must have the same structure, down to the leaves."
    expected = f"{name}{keystr(path)} to be {describe(wanted)}"
    raise TreeError(call, expected, describe(given), fix=cure)


def is_none(x: Any) -> bool:
    """Tell whether a node is None, for prefixes in which None stands for a subtree."""
    return x is None


def broadcast_prefix(
    prefix: Any,
    full: Any,
    is_leaf: IsLeaf | None = None,
    call: str = "tree.broadcast",
    name: str = "prefix_tree",
) -> list[Any]:
    """Repeat each leaf of a tree for the leaves of the subtree that it stands for.

    Args:
        prefix: a pytree that has leaves where the other one may have subtrees.
        full: the other pytree.
        is_leaf: Callable that tells of a node of the prefix whether to stop there.
        call: str, the function the user called.
        name: str, what the prefix is called there.

    Returns:
        list of prefix leaves, one for each leaf of the full tree.

    Raises:
        TreeError: if it is not a prefix.

    Example:
        >>> broadcast_prefix((1, 2), ([5, 6], 7))
        [1, 1, 2]
    """
    flat, treedef = flatten(prefix, is_leaf)
    if isinstance(full, Results):
        parts = substructures(treedef, full.structure)
        if parts is None:
            raise prefix_error(prefix, full, call, name, is_leaf)
        return [leaf for leaf, x in zip(flat, parts, strict=True) for _ in range(x.num_leaves)]
    if treedef == LEAF:
        return flat * len(flatten(full)[0])
    try:
        subtrees = treedef.flatten_up_to(full)
    except (ValueError, TypeError):
        if first_mismatch(treedef, full, ()) is None:
            raise
        raise prefix_error(prefix, full, call, name, is_leaf) from None
    counts = [len(flatten(subtree)[0]) for subtree in subtrees]
    return [leaf for leaf, count in zip(flat, counts, strict=True) for _ in range(count)]


def broadcast(prefix_tree: Any, full_tree: Any, is_leaf: IsLeaf | None = None) -> Any:
    """Repeat each leaf of a tree over the subtree that it stands for.

    Args:
        prefix_tree: a pytree that has leaves where the other one may have subtrees.
        full_tree: the other pytree.
        is_leaf: Callable that tells of a node of the prefix whether to stop there.

    Returns:
        A tree of the full structure with the leaves of the prefix.

    Raises:
        TreeError: if it is not a prefix.

    Example:
        >>> broadcast((1, 2), ([5, 6], 7))
        ([1, 1], 2)
    """
    return structure(full_tree).unflatten(broadcast_prefix(prefix_tree, full_tree, is_leaf))


class Results:
    """Stands for a function's results where only their structure matters."""

    def __init__(self, structure: PyTreeDef) -> None:
        """Keep the structure."""
        self.structure = structure


def results_of(treedef: Any) -> Results:
    """Return what to hold the prefix against that a user gave for a result."""
    return Results(getattr(treedef, "whole", treedef))  # with the float0 leaves, if there are any


def prefix_error(
    prefix_tree: Any, full_tree: Any, call: str, name: str, is_leaf: IsLeaf | None = None
) -> TreeError:
    """Return the error that says where a tree first fails to be a prefix of another.

    Args:
        prefix_tree: the pytree that is no prefix.
        full_tree: the other pytree.
        call: str, the function the user called.
        name: str, what the prefix is called there, such as ``"in_axes"``.
        is_leaf: Callable that tells of a node of the prefix whether to stop there.

    Returns:
        TreeError, to be raised.

    Example:
        >>> print(prefix_error((0, [0]), (1, {"a": 2}), "vmap", "in_axes"))  # doctest: +ELLIPSIS
        [vmap] expected in_axes[1] to be a leaf or a dict with the keys 'a'; got a list of ...
    """
    is_result, treedef = isinstance(full_tree, Results), structure(prefix_tree, is_leaf)
    differ: Any = first_difference if is_result else first_mismatch
    found = differ(treedef, full_tree.structure if is_result else full_tree, ())
    if found is None:
        return TreeError(call, f"{name} to be a prefix of a tree", repr(structure(prefix_tree)))
    path, given, wanted = found
    if wanted is Leaf:
        allowed = "a leaf, for a result that is one array"
    else:
        allowed = describe(wanted) if isinstance(wanted, type) else f"a leaf or {describe(wanted)}"
    cure = compare_keys(wanted, given) or f"{name} must be a prefix of the tree it describes."
    return TreeError(call, f"{name}{keystr(path)} to be {allowed}", describe(given), fix=cure)
