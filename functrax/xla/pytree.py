"""Pytrees over jaxlib's C++ registry: taking nested containers apart and putting them together.

functrax keeps a registry of its own, for a common type registered in jaxlib's default one breaks a
later ``import jax``. Classes that flax, optax or a user registered with JAX are *adopted* when one
first turns up as a leaf: looking for them costs nothing while jax is not loaded, and one test of
the leaves' types after that.
"""

import collections
import sys
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from functrax.errors import ArgumentError, FunctraxError, TreeError, a_value, type_name
from functrax.xla import _native

if TYPE_CHECKING:

    class PyTreeDef:
        """The structure of a tree, without its leaves; hashable, comparable and picklable."""

        num_leaves: int
        num_nodes: int

        def unflatten(self, leaves: Iterable[Any], /) -> Any:
            """Put leaves into the structure."""

        def flatten_up_to(self, tree: Any, /) -> list[Any]:
            """Return the subtrees that stand where this structure has leaves."""
            ...

        def children(self) -> list["PyTreeDef"]:
            """Return the structures directly below the root."""
            ...

        def node_data(self) -> tuple[type, Any] | None:
            """Return the root's type and data, or None for a leaf."""

        def compose(self, inner: "PyTreeDef", /) -> "PyTreeDef":
            """Return this structure with another one in place of each leaf."""
            ...

    class DictKey:
        """The step into a dict; ``key`` is the dict's key."""

        key: Any

        def __init__(self, key: Any) -> None: ...

    class SequenceKey:
        """The step into a list or tuple; ``idx`` is the position."""

        idx: int

        def __init__(self, idx: int) -> None: ...

    class GetAttrKey:
        """The step into an attribute; ``name`` is its name."""

        name: str

        def __init__(self, name: str) -> None: ...

    class FlattenedIndexKey:
        """The step into a class without named children; ``key`` is the child's number."""

        key: int

        def __init__(self, key: int) -> None: ...

else:
    PyTreeDef = _native.jax.pytree.PyTreeDef
    DictKey = _native.jax.pytree.DictKey
    SequenceKey = _native.jax.pytree.SequenceKey
    GetAttrKey = _native.jax.pytree.GetAttrKey
    FlattenedIndexKey = _native.jax.pytree.FlattenedIndexKey

KeyPath: TypeAlias = tuple[Any, ...]
IsLeaf: TypeAlias = Callable[[Any], bool]

_pytree: Any = _native.jax.pytree
type_registry: Any = _pytree.PyTreeRegistry()
# A treedef pickles its registry by name, which pickle looks up in the module.
type_registry.__name__ = "type_registry"
type_registry.__module__ = __name__

_flatten = type_registry.flatten
_flatten_with_path = type_registry.flatten_with_path
_modules = sys.modules
_known_leaves: set[type] = {int, float, complex, bool, str}

LEAF: PyTreeDef = _flatten(0)[1]

# ---- apart and together


def flatten(tree: Any, is_leaf: IsLeaf | None = None) -> tuple[list[Any], PyTreeDef]:
    """Take a tree apart into its leaves and its structure.

    Args:
        tree: any pytree.
        is_leaf: Callable that tells of a node whether to stop there.

    Returns:
        ``(leaves, treedef)``, the leaves from left to right.

    Raises:
        TreeError: if dict keys cannot be sorted, or the tree contains itself.

    Example:
        >>> flatten({"b": 2, "a": [1, None]})
        ([1, 2], PyTreeDef({'a': [*, None], 'b': *}))
    """
    try:
        flat = _flatten(tree, is_leaf)
    except (ValueError, TypeError, SystemError) as error:
        _explain_flatten("tree.flatten", tree, is_leaf, error)
        raise
    if "jax" in _modules and not _known_leaves.issuperset(map(type, flat[0])) and _adopt(flat[0]):
        return flatten(tree, is_leaf)
    return flat


def flatten_with_path(
    tree: Any, is_leaf: Callable[..., bool] | None = None, is_leaf_takes_path: bool = False
) -> tuple[list[tuple[KeyPath, Any]], PyTreeDef]:
    """Take a tree apart, with the way to each leaf.

    Args:
        tree: any pytree.
        is_leaf: Callable that tells of a node whether to stop there.
        is_leaf_takes_path: bool, whether it is called with (path, node), not (node).

    Returns:
        ``(pairs, treedef)``, the pairs being (path, leaf) and a path a tuple of keys.

    Raises:
        TreeError: if dict keys cannot be sorted, or the tree contains itself.

    Example:
        >>> flatten_with_path({"a": [1]})[0]
        [((DictKey(key='a'), SequenceKey(idx=0)), 1)]
    """
    ask = is_leaf
    if is_leaf is not None and not is_leaf_takes_path:
        ask = lambda path, node: is_leaf(node)  # noqa: E731
    try:
        flat = _flatten_with_path(tree, ask)
    except (ValueError, TypeError, SystemError) as error:
        _explain_flatten("tree.flatten_with_path", tree, is_leaf, error)
        raise
    if "jax" in _modules and _adopt([leaf for _, leaf in flat[0]]):
        return flatten_with_path(tree, is_leaf, is_leaf_takes_path)
    return flat


def unflatten(treedef: PyTreeDef, leaves: Iterable[Any]) -> Any:
    """Put leaves into a structure.

    Args:
        treedef: PyTreeDef, as `flatten` returns it.
        leaves: iterable of as many leaves as it has, of any type.

    Returns:
        The tree.

    Raises:
        TreeError: if there are more or fewer leaves.

    Example:
        >>> unflatten(flatten([0, (0, 0)])[1], "abc")
        ['a', ('b', 'c')]
    """
    try:
        return treedef.unflatten(leaves)
    except (ValueError, AttributeError) as error:
        _explain_unflatten(treedef, leaves, error)
        raise


def one_level(tree: Any) -> tuple[list[tuple[Any, Any]], tuple[type, Any]] | None:
    """Take only the root of a tree apart.

    Args:
        tree: any pytree.

    Returns:
        ``([(key, child), ...], node_data)``, or None for a leaf.

    Example:
        >>> one_level({"a": [1]})
        ([(DictKey(key='a'), [1])], (<class 'dict'>, ['a']))
    """
    if "jax" in _modules:
        _adopt([tree])
    # Not the registry's flatten_one_level_with_keys: it gives all fields of a namedtuple one name.
    pairs, treedef = _flatten_with_path(tree, lambda path, node: bool(path))
    node = treedef.node_data()
    return None if node is None else ([(path[0], child) for path, child in pairs], node)


def treedef_tuple(treedefs: Iterable[PyTreeDef]) -> PyTreeDef:
    """Return the structure of a tuple, given those of its items.

    Args:
        treedefs: iterable of PyTreeDef.

    Returns:
        PyTreeDef.

    Example:
        >>> treedef_tuple([LEAF, flatten([1, 2])[1]])
        PyTreeDef((*, [*, *]))
    """
    return _pytree.treedef_tuple(type_registry, list(treedefs))


# ---- what counts as a container


def is_node_type(kind: type) -> bool:
    """Tell whether values of a type are taken apart.

    Args:
        kind: type.

    Returns:
        True for the built-in containers, the type of None, and registered classes.

    Example:
        >>> is_node_type(dict), is_node_type(int)
        (True, False)
    """
    own = type_registry.is_node(kind)
    return own or ("jax" in _modules and _pytree.default_registry().is_node(kind))


def register_node(
    kind: type,
    flatten_node: Callable[[Any], tuple[Iterable[Any], Hashable]],
    unflatten_node: Callable[[Any, Any], Any],
    flatten_with_keys: Callable[[Any], tuple[Iterable[tuple[Any, Any]], Hashable]] | None = None,
    call: str = "register_pytree_node",
) -> None:
    """Have instances of a class taken apart.

    Args:
        kind: type, the class.
        flatten_node: from an instance to (children, data).
        unflatten_node: from (data, children) to an instance.
        flatten_with_keys: from an instance to ((key, child) pairs, data); None numbers the keys.
        call: str, the function the user called.

    Raises:
        ArgumentError: if it is not a class, or registered already.
    """
    _check_new(kind, call)
    type_registry.register_node(kind, flatten_node, unflatten_node, flatten_with_keys)
    _known_leaves.discard(kind)


def register_dataclass_node(
    kind: type, data_fields: Sequence[str], meta_fields: Sequence[str], call: str
) -> None:
    """Have instances of a class taken apart by attributes, in C++.

    Args:
        kind: type, the class; its constructor takes all fields by keyword.
        data_fields: sequence of str, the attributes that are children.
        meta_fields: sequence of str, the attributes that belong to the structure.
        call: str, the function the user called.

    Raises:
        ArgumentError: if it is not a class, or registered already.
    """
    _check_new(kind, call)
    type_registry.register_dataclass_node(kind, list(data_fields), list(meta_fields))
    _known_leaves.discard(kind)


def _check_new(kind: type, call: str) -> None:
    if not isinstance(kind, type):
        raise ArgumentError(call, "a class", repr(kind))
    if type_registry.is_node(kind):
        cure = "Register each class once, next to its definition."
        raise ArgumentError(call, "a class that is no pytree yet", kind.__name__, fix=cure)


def _adopt(leaves: Iterable[Any]) -> bool:
    """Register here the leaves' types that are nodes to JAX; tell whether there were any."""
    theirs = _pytree.default_registry()
    adopted = False
    for kind in set(map(type, leaves)) - _known_leaves:
        if type_registry.is_node(kind) or not theirs.is_node(kind):
            _known_leaves.add(kind)
        else:
            _adopt_type(kind, theirs)
            adopted = True
    return adopted


def _adopt_type(kind: type, theirs: Any) -> None:
    make: Any = _native.jax.pytree.PyTreeDef.from_node_data_and_children

    def rebuild(data: Hashable, children: Iterable[Any]) -> Any:
        children = tuple(children)
        return make(theirs, (kind, data), [LEAF] * len(children)).unflatten(children)

    register_node(kind, theirs.flatten_one_level, rebuild, theirs.flatten_one_level_with_keys)


def _flatten_ordered(
    tree: collections.OrderedDict[Any, Any],
) -> tuple[Iterable[tuple[Any, Any]], Hashable]:
    return [(DictKey(key), child) for key, child in tree.items()], tuple(tree)


def _flatten_default(
    tree: collections.defaultdict[Any, Any],
) -> tuple[Iterable[tuple[Any, Any]], Hashable]:
    keys = sorted(tree)
    return [(DictKey(key), tree[key]) for key in keys], (tree.default_factory, tuple(keys))


register_node(
    collections.OrderedDict,
    lambda tree: (tree.values(), tuple(tree)),
    lambda keys, children: collections.OrderedDict(zip(keys, children, strict=True)),
    _flatten_ordered,
)
register_node(
    collections.defaultdict,
    lambda tree: (
        [tree[key] for key in sorted(tree)],
        (tree.default_factory, tuple(sorted(tree))),
    ),
    lambda data, children: collections.defaultdict(data[0], zip(data[1], children, strict=True)),
    _flatten_default,
)

# ---- what went wrong


def _explain_flatten(
    call: str, tree: Any, is_leaf: Any, error: Exception, path: KeyPath = ()
) -> None:
    """Raise a better error for a tree that C++ could not take apart, if the fault is the tree's or
    that of `is_leaf`.
    """
    if is_leaf is not None and not callable(is_leaf):
        got = f"{is_leaf!r} of type {type_name(is_leaf)}"
        raise TreeError(call, "is_leaf as a function, or None", got) from None
    if isinstance(error, SystemError) and isinstance(error.__cause__, RecursionError):
        got = "one that contains itself, or is nested deeper than Python recurses"
        cure = "If it contains itself, take that reference out."
        raise TreeError(call, "a tree of finite depth", got, fix=cure) from None
    found = None if isinstance(error, FunctraxError) else _unsortable(tree, "".join(map(str, path)))
    if found is not None:
        place, keys = found
        got = f"keys {', '.join(map(repr, keys))}" + (f" at {place}" if place else "")
        cure = "Use keys of one type, or an OrderedDict, which keeps its own order."
        raise TreeError(call, "dict keys that can be sorted", got, fix=cure) from None


def _unsortable(tree: Any, path: str) -> tuple[str, list[Any]] | None:
    """Find the first dict with keys that do not compare: its path and its keys."""
    if type(tree) in (dict, collections.defaultdict):
        try:
            sorted(tree)
        except TypeError:
            return path, list(tree)
    for key, child in (one_level(tree) or ([],))[0]:
        if (found := _unsortable(child, path + str(key))) is not None:
            return found
    return None


def _explain_unflatten(treedef: Any, leaves: Any, error: Exception) -> None:
    """Raise a better error for leaves that do not fit, if that is what happened."""
    if not isinstance(treedef, PyTreeDef):
        expected = "a PyTreeDef first, then the leaves"
        got = f"{a_value(treedef)} first"
        cure = "tree.structure(tree) gives the PyTreeDef of a tree."
        raise ArgumentError("tree.unflatten", expected, got, fix=cure) from None
    few, many = (str(error).startswith(f"Too {word} leaves") for word in ("few", "many"))
    if few or many:
        expected = f"{treedef.num_leaves} leaves for {treedef}"
        got = str(len(leaves)) if hasattr(leaves, "__len__") else "fewer" if few else "more"
        raise TreeError("tree.unflatten", expected, got) from None


# ---- where two trees differ


class Node(NamedTuple):
    """The root of a tree: its type, the data that its structure has, the number of children."""

    kind: type
    data: Any
    size: int


def first_mismatch(
    treedef: PyTreeDef, tree: Any, path: KeyPath
) -> tuple[KeyPath, Node, Node | type] | None:
    """Find the first place, from left to right, where a tree leaves a structure.

    Args:
        treedef: PyTreeDef.
        tree: any pytree.
        path: tuple of keys, the way to both.

    Returns:
        The path, the node that the structure has there, and what the tree has: a leaf's type, or
        a node; None if the tree has the structure.
    """
    node = treedef.node_data()
    if node is None:
        return None
    children = treedef.children()
    try:
        level = one_level(tree)
    except (ValueError, TypeError, SystemError) as error:
        _explain_flatten("tree.flatten", tree, None, error, path)
        raise
    if level is None:
        return path, Node(*node, len(children)), type(tree)
    pairs, other = level
    if other != node or len(pairs) != len(children):
        return path, Node(*node, len(children)), Node(*other, len(pairs))
    for child, (key, subtree) in zip(children, pairs, strict=True):
        if (found := first_mismatch(child, subtree, (*path, key))) is not None:
            return found
    return None


def describe(node: Node | type) -> str:
    """Return what a message calls a node or a leaf.

    Args:
        node: Node, or the type of a leaf.

    Returns:
        str.

    Example:
        >>> describe(Node(tuple, None, 2)), describe(int)
        ('a tuple of length 2', 'a leaf of type int')
    """
    if isinstance(node, type):
        if hasattr(node, "aval"):
            return "an array"
        return f"a leaf of type {node.__name__}"
    if node.kind is type(None):
        return "None"
    name = node.kind.__name__
    name = f"an {name}" if name[0] in "AEIOUaeiou" else f"a {name}"
    if issubclass(node.kind, list | tuple):
        return f"{name} of length {node.size}"
    keys = _keys(node)
    if keys is not None:
        return f"{name} with the keys {_words(keys)}" if keys else f"{name} without keys"
    return f"{name} with {node.size} children and data {node.data!r}"


def _keys(node: Node | type) -> Sequence[Any] | None:
    """Return the keys of a dict, and None for anything else."""
    if isinstance(node, type):
        return None
    if node.kind is collections.defaultdict:
        return node.data[1]
    return node.data if node.kind in (dict, collections.OrderedDict) else None


def compare_keys(wanted: Node | type, given: Node | type) -> str | None:
    """Return a sentence on the keys that only one of two dicts has.

    Args:
        wanted: Node, or the type of a leaf.
        given: the same.

    Returns:
        str, or None if these are not two dicts with different keys.

    Example:
        >>> compare_keys(Node(dict, ["a"], 1), Node(dict, ["b"], 1))
        "It lacks 'a' and adds 'b'."
    """
    ours, theirs = _keys(wanted), _keys(given)
    if not ours or not theirs:
        return None
    missing = [key for key in ours if key not in theirs]
    added = [key for key in theirs if key not in ours]
    parts = [f"lacks {_words(missing)}"] * bool(missing) + [f"adds {_words(added)}"] * bool(added)
    return f"It {' and '.join(parts)}." if parts else None


def _words(keys: Sequence[Any]) -> str:
    shown = [repr(key) for key in keys[:8]]
    return ", ".join(shown + [f"and {len(keys) - 8} more"] * (len(keys) > 8))
