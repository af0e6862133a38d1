"""Pytrees: registering classes, key paths, and the names of ``jax.tree_util``."""

import dataclasses
import operator
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

from functrax import tree
from functrax.core.tree import (
    DictKey,
    FlattenedIndexKey,
    GetAttrKey,
    IsLeaf,
    KeyPath,
    Partial,
    PyTreeDef,
    SequenceKey,
    broadcast_prefix,
    is_node_type,
    keystr,
    one_level,
    register_dataclass_node,
    register_node,
    treedef_tuple,
    type_registry,
)
from functrax.errors import ArgumentError, TreeError, type_name

__all__ = [
    "DictKey",
    "FlattenedIndexKey",
    "GetAttrKey",
    "KeyEntry",
    "KeyPath",
    "Partial",
    "PyTreeDef",
    "SequenceKey",
    "all_leaves",
    "broadcast_prefix",
    "default_registry",
    "flatten_one_level",
    "flatten_one_level_with_keys",
    "is_tree_node",
    "keystr",
    "register_dataclass",
    "register_pytree_node",
    "register_pytree_node_class",
    "register_pytree_with_keys",
    "register_pytree_with_keys_class",
    "register_static",
    "tree_all",
    "tree_broadcast",
    "tree_flatten",
    "tree_flatten_with_path",
    "tree_leaves",
    "tree_leaves_with_path",
    "tree_map",
    "tree_map_with_path",
    "tree_reduce",
    "tree_reduce_associative",
    "tree_structure",
    "tree_transpose",
    "tree_unflatten",
    "treedef_children",
    "treedef_is_leaf",
    "treedef_tuple",
]


def __dir__() -> list[str]:
    return __all__


C = TypeVar("C", bound=type[Any])
KeyEntry = TypeVar("KeyEntry", bound=Hashable)
_Flatten = Callable[[Any], tuple[Iterable[Any], Hashable]]
_FlattenWithKeys = Callable[[Any], tuple[Iterable[tuple[Any, Any]], Hashable]]

default_registry = type_registry
tree_all = tree.all
tree_broadcast = tree.broadcast
tree_flatten = tree.flatten
tree_flatten_with_path = tree.flatten_with_path
tree_leaves = tree.leaves
tree_leaves_with_path = tree.leaves_with_path
tree_map = tree.map
tree_map_with_path = tree.map_with_path
tree_reduce = tree.reduce
tree_reduce_associative = tree.reduce_associative
tree_structure = tree.structure
tree_transpose = tree.transpose
tree_unflatten = tree.unflatten

# ---- registering classes


def register_pytree_node(
    nodetype: type[Any],
    flatten_func: _Flatten,
    unflatten_func: Callable[[Any, Any], Any],
    flatten_with_keys_func: _FlattenWithKeys | None = None,
) -> None:
    """Have instances of a class taken apart as pytrees.

    Args:
        nodetype: type, the class.
        flatten_func: Callable, from an instance to ``(children, data)``; data must be hashable.
        unflatten_func: Callable, from ``(data, children)`` to an instance; it must take any objects
            as children.
        flatten_with_keys_func: Callable, from an instance to ``(pairs, data)``, the pairs being
            (key, child); children are numbered when not given.

    Raises:
        ArgumentError: if it is not a class, or a pytree already.

    Example:
        >>> class Point:
        ...     def __init__(self, x, y):
        ...         self.x, self.y = x, y
        >>> register_pytree_node(Point, lambda p: ((p.x, p.y), None), lambda _, xy: Point(*xy))
        >>> tree.map(lambda x: x + 1, Point(1, 2)).y
        3
    """
    register_node(nodetype, flatten_func, unflatten_func, flatten_with_keys_func)


def register_pytree_with_keys(
    nodetype: type[Any],
    flatten_with_keys: _FlattenWithKeys,
    unflatten_func: Callable[[Any, Any], Any],
    flatten_func: _Flatten | None = None,
) -> None:
    """Have instances of a class taken apart as pytrees, with a key for each child.

    Args:
        nodetype: type, the class.
        flatten_with_keys: Callable, from an instance to ``(pairs, data)``, the pairs being
            (key, child); data must be hashable.
        unflatten_func: Callable, from ``(data, children)`` to an instance.
        flatten_func: Callable, from an instance to ``(children, data)``, if there is a faster one.

    Raises:
        ArgumentError: if it is not a class, or a pytree already.

    Example:
        >>> class Box:
        ...     def __init__(self, item):
        ...         self.item = item
        >>> register_pytree_with_keys(
        ...     Box, lambda b: ([(GetAttrKey("item"), b.item)], None), lambda _, c: Box(*c)
        ... )
        >>> keystr(tree.leaves_with_path(Box(1))[0][0])
        '.item'
    """

    def flatten(node: Any) -> tuple[Iterable[Any], Hashable]:
        pairs, data = flatten_with_keys(node)
        return [child for _, child in pairs], data

    call = "register_pytree_with_keys"
    register_node(nodetype, flatten_func or flatten, unflatten_func, flatten_with_keys, call)


def register_pytree_node_class(cls: C) -> C:
    """Have instances of a class taken apart by its own methods; a decorator.

    Args:
        cls: type, with a method ``tree_flatten()`` that returns ``(children, data)``, and a class
            method ``tree_unflatten(data, children)``.

    Returns:
        The class.

    Raises:
        ArgumentError: if a method is missing, or it is a pytree already.

    Example:
        >>> @register_pytree_node_class
        ... class Box:
        ...     def __init__(self, item):
        ...         self.item = item
        ...     def tree_flatten(self):
        ...         return (self.item,), None
        ...     @classmethod
        ...     def tree_unflatten(cls, data, children):
        ...         return cls(*children)
        >>> tree.leaves(Box([1, 2]))
        [1, 2]
    """
    call = "register_pytree_node_class"
    _require_methods(cls, call, "tree_flatten", "tree_unflatten")
    flatten: Any = operator.methodcaller("tree_flatten")
    register_node(cls, flatten, cls.tree_unflatten, None, call)
    return cls


def register_pytree_with_keys_class(cls: C) -> C:
    """Have instances of a class taken apart by its own methods, with keys; a decorator.

    Args:
        cls: type, with a method ``tree_flatten_with_keys()`` that returns ``(pairs, data)``, the
            pairs being (key, child), a class method ``tree_unflatten(data, children)``, and, if it
            likes, ``tree_flatten()``.

    Returns:
        The class.

    Raises:
        ArgumentError: if a method is missing, or it is a pytree already.

    Example:
        >>> @register_pytree_with_keys_class
        ... class Box:
        ...     def __init__(self, item):
        ...         self.item = item
        ...     def tree_flatten_with_keys(self):
        ...         return ((GetAttrKey("item"), self.item),), None
        ...     @classmethod
        ...     def tree_unflatten(cls, data, children):
        ...         return cls(*children)
        >>> tree.map(str, Box(1)).item
        '1'
    """
    _require_methods(
        cls, "register_pytree_with_keys_class", "tree_flatten_with_keys", "tree_unflatten"
    )
    with_keys: Any = operator.methodcaller("tree_flatten_with_keys")
    flatten: Any = operator.methodcaller("tree_flatten") if hasattr(cls, "tree_flatten") else None
    register_pytree_with_keys(cls, with_keys, cls.tree_unflatten, flatten)
    return cls


def _require_methods(cls: Any, call: str, *names: str) -> None:
    missing = [name for name in names if not hasattr(cls, name)]
    if missing:
        expected = f"a class with the methods {' and '.join(names)}"
        raise ArgumentError(call, expected, f"{cls!r} without {' and '.join(missing)}")


def register_dataclass(
    nodetype: C,
    data_fields: Sequence[str] | None = None,
    meta_fields: Sequence[str] | None = None,
    drop_fields: Sequence[str] = (),
) -> C:
    """Have instances of a dataclass taken apart by their fields, in C++; a decorator.

    Args:
        nodetype: type, a dataclass, or a class whose constructor takes all fields by keyword.
        data_fields: sequence of str, the fields that are children. When neither these nor
            meta_fields are given, all fields but those declared with `functrax.tree.static`.
        meta_fields: sequence of str, the fields that belong to the structure; hashable.
        drop_fields: sequence of str, the fields that are left out, and so get their defaults.

    Returns:
        The class.

    Raises:
        ArgumentError: if the fields are not those of the constructor, or it is a pytree already.

    Example:
        >>> @register_dataclass
        ... @dataclasses.dataclass
        ... class Layer:
        ...     weight: float
        ...     name: str = tree.static(default="dense")
        >>> tree.structure(Layer(1.5))
        PyTreeDef(CustomNode(Layer[('dense',)], [*]))
    """
    if data_fields is None and meta_fields is None:
        data_fields, meta_fields = _split_fields(nodetype, drop_fields)
    if data_fields is None or meta_fields is None:
        given = "meta_fields" if data_fields is None else "data_fields"
        expected = "data_fields and meta_fields together, or neither"
        raise ArgumentError("register_dataclass", expected, f"{given} only")
    _check_fields(nodetype, data_fields, meta_fields, drop_fields)
    register_dataclass_node(nodetype, data_fields, meta_fields, "register_dataclass")
    return nodetype


def _split_fields(nodetype: Any, dropped: Sequence[str]) -> tuple[list[str], list[str]]:
    if not dataclasses.is_dataclass(nodetype):
        expected = "a dataclass, or both data_fields and meta_fields"
        raise ArgumentError("register_dataclass", expected, repr(nodetype))
    fields = [field for field in dataclasses.fields(nodetype) if field.name not in dropped]
    statics = [field.name for field in fields if field.metadata.get("static", False)]
    return [field.name for field in fields if field.name not in statics], statics


def _check_fields(
    nodetype: Any, data: Sequence[str], meta: Sequence[str], dropped: Sequence[str]
) -> None:
    both = sorted(set(data) & set(meta))
    if both:
        expected = "each field either in data_fields or in meta_fields"
        raise ArgumentError("register_dataclass", expected, f"{', '.join(both)} in both")
    if not dataclasses.is_dataclass(nodetype):
        return
    wanted = {field.name for field in dataclasses.fields(nodetype) if field.init} - set(dropped)
    given = {*data, *meta}
    if given != wanted:
        expected = f"the fields {', '.join(sorted(wanted))}, which {nodetype!r} takes"
        cure = "A field that has a default may stand in drop_fields." if wanted - given else None
        got = ", ".join(sorted(given)) or "none"
        raise ArgumentError("register_dataclass", expected, got, fix=cure)


def register_static(cls: C) -> C:
    """Have instances of a class count as structure, without leaves; a decorator.

    Args:
        cls: type, whose instances are hashable and compare by value.

    Returns:
        The class.

    Raises:
        ArgumentError: if it is not a class, or a pytree already.

    Example:
        >>> @register_static
        ... class Mode(str):
        ...     pass
        >>> tree.leaves([1, Mode("train")])
        [1]
    """
    register_node(cls, lambda node: ((), node), lambda node, _: node, None, "register_static")
    return cls


# ---- one level of a tree, and structures


def all_leaves(iterable: Iterable[Any], is_leaf: IsLeaf | None = None) -> bool:
    """Tell whether every item is a leaf.

    Args:
        iterable: of anything.
        is_leaf: Callable that tells of a node whether to stop there.

    Returns:
        bool.

    Example:
        >>> all_leaves([1, 2]), all_leaves([1, (2,)])
        (True, False)
    """
    for item in iterable:  # one by one: the predicate is not to see a list of them
        flat = tree.leaves(item, is_leaf)
        if len(flat) != 1 or flat[0] is not item:
            return False
    return True


def flatten_one_level(tree: Any) -> tuple[list[Any], Hashable]:
    """Take only the root of a tree apart.

    Args:
        tree: a container.

    Returns:
        ``(children, data)``, the data being what the structure remembers of the root.

    Raises:
        TreeError: if it is a leaf.

    Example:
        >>> flatten_one_level({"a": [1, 2]})
        ([[1, 2]], ('a',))
    """
    return [child for _, child in _pairs(tree, "flatten_one_level")], _data(tree)


def flatten_one_level_with_keys(tree: Any) -> tuple[list[tuple[Any, Any]], Hashable]:
    """Take only the root of a tree apart, with the key of each child.

    Args:
        tree: a container.

    Returns:
        ``(pairs, data)``, the pairs being (key, child).

    Raises:
        TreeError: if it is a leaf.

    Example:
        >>> flatten_one_level_with_keys([5])
        ([(SequenceKey(idx=0), 5)], None)
    """
    return _pairs(tree, "flatten_one_level_with_keys"), _data(tree)


def _pairs(tree: Any, call: str) -> list[tuple[Any, Any]]:
    level = one_level(tree)
    if level is None:
        raise TreeError(call, "a container", f"a leaf of type {type_name(tree)}")
    return level[0]


def _data(tree: Any) -> Hashable:
    return type_registry.flatten_one_level(tree)[1]


def is_tree_node(typ: type[Any]) -> bool:
    """Tell whether values of a type are taken apart.

    Args:
        typ: type.

    Returns:
        bool.

    Example:
        >>> is_tree_node(dict), is_tree_node(int)
        (True, False)
    """
    return is_node_type(typ)


def treedef_children(treedef: PyTreeDef) -> list[PyTreeDef]:
    """Return the structures directly below the root.

    Args:
        treedef: PyTreeDef.

    Returns:
        list of PyTreeDef.

    Example:
        >>> treedef_children(tree.structure([1, (2, 3)]))
        [PyTreeDef(*), PyTreeDef((*, *))]
    """
    return treedef.children()


def treedef_is_leaf(treedef: PyTreeDef) -> bool:
    """Tell whether a structure has a single node: that of a leaf, or of an empty container.

    Args:
        treedef: PyTreeDef.

    Returns:
        bool.

    Example:
        >>> treedef_is_leaf(tree.structure(1)), treedef_is_leaf(tree.structure([1]))
        (True, False)
    """
    return treedef.num_nodes == 1
