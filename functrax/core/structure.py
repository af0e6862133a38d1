"""What the structure of a tree tells without a tree: the way to each leaf, and prefixes of it.

A user's class may look at its children when it is put together, so no stand-ins for arrays are put
through one where it can be helped.
"""

from typing import Any

from functrax.xla.pytree import (
    LEAF,
    FlattenedIndexKey,
    KeyPath,
    Node,
    PyTreeDef,
    SequenceKey,
    flatten_with_path,
    type_registry,
)


class Leaf:
    """Stands for any leaf, where there are none to ask for their type."""


def paths_of(structure: PyTreeDef) -> list[KeyPath]:
    """Return the way to each leaf.

    Keys that only an object of a class would tell, and that cannot be made of stand-ins for arrays,
    are numbers.

    Args:
        structure: PyTreeDef.

    Returns:
        list of key paths, from left to right.

    Example:
        >>> from functrax.core.tree import structure
        >>> paths_of(structure({"a": [1]}))
        [(DictKey(key='a'), SequenceKey(idx=0))]
    """
    if structure.node_data() is None:
        return [()]
    below = zip(_keys_of(structure), structure.children(), strict=True)
    return [(key, *path) for key, child in below for path in paths_of(child)]


def path_to(structure: PyTreeDef, index: int) -> KeyPath:
    """Return the way to one leaf; see `paths_of`.

    Args:
        structure: PyTreeDef.
        index: int, the leaf's place among all.

    Returns:
        The key path.

    Example:
        >>> from functrax.core.tree import structure
        >>> path_to(structure({"a": [1, 2]}), 1)
        (DictKey(key='a'), SequenceKey(idx=1))
    """
    path: list[Any] = []
    while structure.node_data() is not None:
        for place, child in enumerate(structure.children()):
            if index < child.num_leaves:
                path.append(_keys_of(structure)[place])
                structure = child
                break
            index -= child.num_leaves
        else:
            raise IndexError(f"leaf {index} behind the last")
    return tuple(path)


def substructures(prefix: PyTreeDef, whole: PyTreeDef) -> list[PyTreeDef] | None:
    """Return what a structure has where another one has its leaves.

    Args:
        prefix: PyTreeDef.
        whole: PyTreeDef.

    Returns:
        list of a structure for each leaf of the prefix; None if it is no prefix.

    Example:
        >>> from functrax.core.tree import structure
        >>> substructures(structure([1, 2]), structure([3, (4, 5)]))
        [PyTreeDef(*), PyTreeDef((*, *))]
    """
    node = prefix.node_data()
    if node is None:
        return [whole]
    children, others = prefix.children(), whole.children()
    if whole.node_data() != node or len(children) != len(others):
        return None
    found: list[PyTreeDef] = []
    for child, other in zip(children, others, strict=True):
        below = substructures(child, other)
        if below is None:
            return None
        found += below
    return found


def first_difference(
    prefix: PyTreeDef, whole: PyTreeDef, path: KeyPath = ()
) -> tuple[KeyPath, Node, Node | type] | None:
    """Find the first place, from left to right, where a structure is no prefix of another.

    Args:
        prefix: PyTreeDef.
        whole: PyTreeDef.
        path: tuple of keys, the way to both.

    Returns:
        The path, the node that the prefix has there, and the other's, or `Leaf` where it has a
        leaf; None if it is a prefix.

    Example:
        >>> from functrax.core.tree import structure
        >>> first_difference(structure([1, [2]]), structure([1, 2]))[0]
        (SequenceKey(idx=1),)
    """
    node, other = prefix.node_data(), whole.node_data()
    if node is None:
        return None
    children, others = prefix.children(), whole.children()
    if other != node or len(children) != len(others):
        return path, Node(*node, len(children)), Node(*other, len(others)) if other else Leaf
    for key, child, below in zip(_keys_of(prefix), children, others, strict=True):
        if (found := first_difference(child, below, (*path, key))) is not None:
            return found
    return None


def _keys_of(structure: PyTreeDef) -> list[Any]:
    """Return the keys of a root's children."""
    count = len(structure.children())
    kind, data = structure.node_data() or (None, None)
    if kind is list or kind is tuple:
        return list(map(SequenceKey, range(count)))
    make: Any = PyTreeDef.from_node_data_and_children  # pyright: ignore
    root: PyTreeDef = make(type_registry, (kind, data), [LEAF] * count)
    try:
        pairs, found = flatten_with_path(root.unflatten(range(count)))
        if found == root:
            return [path[0] for path, _ in pairs]
    except Exception:  # of a user's class, which may expect anything of its children
        pass
    return list(map(FlattenedIndexKey, range(count)))
