"""Pytrees, compared with JAX tree by tree; classes adopted from JAX; errors that name the path."""

import collections
import dataclasses
import functools
import pickle
import re
import subprocess
import sys
from typing import Any, NamedTuple

import jax
import jax.tree_util
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import functrax.tree
import functrax.tree_util as tree_util
from functrax.core import tree
from functrax.errors import ArgumentError, TreeError


class Point(NamedTuple):
    x: Any
    y: Any


class Pair:
    """Registered without keys, in both systems."""

    def __init__(self, *items):
        self.items = items

    def __eq__(self, other):
        return type(other) is Pair and self.items == other.items


class Named(Pair):
    """Registered with keys, in both systems."""

    def __eq__(self, other):
        return type(other) is Named and self.items == other.items


@dataclasses.dataclass
class Layer:
    weight: Any
    bias: Any
    name: str = functrax.tree.static(default="dense")
    cache: Any = dataclasses.field(default=None, init=False)


@dataclasses.dataclass(frozen=True)
class Mode:
    value: str


for module in (jax.tree_util, tree_util):
    module.register_pytree_node(Pair, lambda p: (p.items, None), lambda _, items: Pair(*items))
    module.register_pytree_with_keys(
        Named,
        lambda n: ([(tree.GetAttrKey("first"), n.items[0]), ("raw", n.items[1])], "data"),
        lambda _, items: Named(*items),
    )
    module.register_dataclass(Layer, data_fields=["weight", "bias"], meta_fields=["name"])
    module.register_static(Mode)

default = collections.defaultdict(list, b=1, a=[2])
TREES = [
    1, None, [], (), {}, [1, None], (1, [2, {"b": 3, "a": (4,)}]), {3: 1, 1: 2}, Point(1, [2, 3]),
    collections.OrderedDict([("b", 1), ("a", 2)]), default, Pair(1, (2, None)), Named(1, [2]),
    Layer(1, {"w": 2}, "conv"), [Mode("train"), 5], collections.deque([1, 2]), {"a": np.ones(2)},
    tree_util.Partial(max, 1, key=abs), [[[[[1]]]]], {"x": Point(Point(1, 2), None)}, "text", True,
    [default, Layer(None, Pair(1, 2))], {(1, 2): 3, (0, 5): 4}, {"a": {}}, [None, (None,)],
]  # fmt: skip
IDS = [f"{place}-{type(t).__name__}" for place, t in enumerate(TREES)]


def of_jax(value):
    """The same tree for JAX: each system has its own Partial."""
    if isinstance(value, tree_util.Partial):
        return jax.tree_util.Partial(value.func, *value.args, **value.keywords)
    return value


def paths(module, *args, **kwargs):
    return [
        (module.keystr(path), leaf) for path, leaf in module.tree_leaves_with_path(*args, **kwargs)
    ]


def message(error):
    return re.sub(r"\(test_tree\.py:\d+\)", "(here)", str(error.value))


trees = pytest.mark.parametrize("value", TREES, ids=IDS)

# ---- the same as JAX


@trees
def test_flatten_as_in_jax(value):
    leaves, treedef = tree.flatten(value)
    theirs, their_treedef = jax.tree.flatten(of_jax(value))
    assert len(leaves) == len(theirs)
    assert all(ours is other for ours, other in zip(leaves, theirs, strict=True))
    assert str(treedef) == str(their_treedef)
    assert treedef.num_leaves == len(leaves)
    assert tree.leaves(value) == leaves or any(isinstance(x, np.ndarray) for x in leaves)
    assert tree.structure(value) == treedef
    assert hash(tree.structure(value)) == hash(treedef)
    rebuilt = tree.unflatten(treedef, leaves)
    assert tree.structure(rebuilt) == treedef
    assert type(rebuilt) is type(value)


@trees
def test_paths_as_in_jax(value):
    ours = [path for path, _ in tree.leaves_with_path(value)]
    theirs = [path for path, _ in jax.tree.leaves_with_path(of_jax(value))]
    assert ours == theirs
    assert tree.flatten_with_path(value)[1] == tree.structure(value)
    for path in ours:
        assert tree.keystr(path) == jax.tree_util.keystr(path)
        simple = tree.keystr(path, simple=True, separator="/")
        assert simple == jax.tree_util.keystr(path, simple=True, separator="/")


@trees
def test_map_as_in_jax(value):
    ours = tree.map(lambda x, y: (x, y), value, value)
    theirs = jax.tree.map(lambda x, y: (x, y), of_jax(value), of_jax(value))
    for a, b in zip(tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a is b
    assert str(tree.structure(ours)) == str(jax.tree.structure(theirs))
    named = tree.map_with_path(lambda path, *xs: (tree.keystr(path), len(xs)), value, value)
    theirs = jax.tree.map_with_path(
        lambda path, *xs: (jax.tree_util.keystr(path), len(xs)), of_jax(value), of_jax(value)
    )
    assert tree.leaves(named) == jax.tree.leaves(theirs)


@trees
def test_structures_as_in_jax(value):
    ours, theirs = tree.structure(value), jax.tree.structure(of_jax(value))
    assert tree_util.treedef_is_leaf(ours) == jax.tree_util.treedef_is_leaf(theirs)
    children = tree_util.treedef_children(ours)
    assert list(map(str, children)) == list(map(str, jax.tree_util.treedef_children(theirs)))
    both = tree_util.treedef_tuple([ours, ours])
    assert both == tree.structure((value, value))
    assert tree_util.is_tree_node(type(value)) == jax.tree_util.is_tree_node(type(of_jax(value)))
    assert tree_util.all_leaves([value]) == jax.tree_util.all_leaves([of_jax(value)])
    assert tree_util.all_leaves([value], lambda x: True)


@trees
def test_one_level_as_in_jax(value):
    if not tree_util.is_tree_node(type(value)):
        with pytest.raises(TreeError) as error:
            tree_util.flatten_one_level(value)
        kind = type(value).__name__
        expected = f"[flatten_one_level] expected a container; got a leaf of type {kind} (here)."
        assert message(error) == expected
        return
    children, data = tree_util.flatten_one_level(value)
    theirs, their_data = jax.tree_util.flatten_one_level(of_jax(value))
    assert (children, data) == (list(theirs), their_data)
    pairs, data = tree_util.flatten_one_level_with_keys(value)
    assert ([child for _, child in pairs], data) == (children, their_data)
    if not isinstance(value, Point):  # jaxlib gives both fields the name of the first
        keys = [key for key, _ in jax.tree_util.flatten_one_level_with_keys(of_jax(value))[0]]
        assert [key for key, _ in pairs] == keys
    else:
        assert [str(key) for key, _ in pairs] == [".x", ".y"]


@trees
def test_leaf_predicates_as_in_jax(value):
    def stop(x):
        return x is None or isinstance(x, Point | dict)

    ours, theirs = tree.flatten(value, stop), jax.tree.flatten(of_jax(value), stop)
    assert len(ours[0]) == len(theirs[0])
    assert str(ours[1]) == str(theirs[1])
    names = [name for name, _ in paths(tree_util, value, stop)]
    assert names == [name for name, _ in paths(jax.tree_util, of_jax(value), stop)]

    def deep(path, x):
        return len(path) == 2

    names = [name for name, _ in paths(tree_util, value, deep, is_leaf_takes_path=True)]
    theirs = paths(jax.tree_util, of_jax(value), deep, is_leaf_takes_path=True)
    assert names == [name for name, _ in theirs]


@trees
def test_structures_pickle(value):
    if isinstance(value, tree_util.Partial):
        return  # its data is a built-in function, and jaxlib's pickle refuses these
    treedef = tree.structure(value)
    assert pickle.loads(pickle.dumps(treedef)) == treedef


numbers = st.recursive(
    st.integers(-9, 9) | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(collections.OrderedDict, st.dictionaries(st.sampled_from("ab"), inner))
        | st.builds(Pair, inner, inner)
        | st.builds(Layer, inner, inner, st.sampled_from("xy"))
    ),
    max_leaves=12,
)


@given(numbers)
def test_any_tree_as_in_jax(value):
    leaves, treedef = tree.flatten(value)
    theirs, their_treedef = jax.tree.flatten(value)
    assert (leaves, str(treedef)) == (theirs, str(their_treedef))
    assert tree.unflatten(treedef, leaves) == value
    assert paths(tree_util, value) == paths(jax.tree_util, value)
    assert tree.map(lambda x: x, value) == value
    assert tree.all(value) == jax.tree.all(value)
    assert tree.reduce(lambda x, y: 2 * x + y, value, 1) == jax.tree.reduce(
        lambda x, y: 2 * x + y, value, 1
    )
    for combine in (tree_util.tree_reduce_associative, jax.tree_util.tree_reduce_associative):
        nested = combine(lambda x, y: f"({x}{y})", value, identity="none")
        assert isinstance(nested, int | str)
    assert functrax.tree.reduce_associative(
        lambda x, y: f"({x}{y})", value, identity=0
    ) == jax.tree.reduce_associative(lambda x, y: f"({x}{y})", value, identity=0)


@given(numbers, st.data())
def test_prefixes_as_in_jax(value, data):
    cut = data.draw(st.sampled_from([lambda x: False, lambda x: True, lambda x: type(x) is dict]))
    prefix = tree.map(lambda x: data.draw(st.integers()), value, is_leaf=cut)
    theirs = jax.tree.leaves(jax.tree.broadcast(prefix, value))
    assert tree.broadcast_prefix(prefix, value) == theirs
    assert tree.broadcast(prefix, value) == jax.tree.broadcast(prefix, value)
    assert len(theirs) == tree.structure(value).num_leaves


@given(numbers, numbers)
def test_what_is_no_prefix_is_an_error_as_in_jax(one, other):
    try:
        theirs = jax.tree.leaves(jax.tree.broadcast(one, other))
    except ValueError:
        with pytest.raises(TreeError):
            tree.broadcast_prefix(one, other)
    else:
        assert tree.broadcast_prefix(one, other) == theirs


@given(numbers)
def test_transpose_as_in_jax(inner):
    outer = {"a": inner, "b": (inner, inner)}
    arguments = tree.structure({"a": 0, "b": (0, 0)}), tree.structure(inner), outer
    theirs = jax.tree.transpose(
        jax.tree.structure({"a": 0, "b": (0, 0)}), jax.tree.structure(inner), outer
    )
    assert tree.transpose(*arguments) == theirs
    assert tree.transpose(arguments[0], None, outer) == theirs


def test_transpose_of_nothing():
    assert tree.transpose(tree.structure([]), tree.structure((0, 0)), []) == ([], [])
    assert tree.transpose(tree.structure([]), None, []) == []
    assert tree.transpose(tree.structure([0, 0]), tree.structure(()), [(), ()]) == ()


def test_every_name_of_jax_is_here():
    for name in dir(jax.tree):
        assert name.startswith("_") or hasattr(functrax.tree, name), name
    for name in dir(jax.tree_util):
        assert name.startswith("_") or hasattr(tree_util, name), name


def test_keyword_arguments_of_jax_are_taken():
    treedef = functrax.tree.structure(tree=[1], is_leaf=None)
    assert functrax.tree.unflatten(treedef=treedef, leaves=[2]) == [2]
    assert functrax.tree.flatten(tree=[1], is_leaf=None)[0] == [1]
    assert functrax.tree.map(f=str, tree=[1], is_leaf=None) == ["1"]
    assert functrax.tree.reduce(function=max, tree=[1, 2], initializer=0, is_leaf=None) == 2
    assert functrax.tree.all(tree=[1], is_leaf=None)
    assert functrax.tree.broadcast(prefix_tree=1, full_tree=[2], is_leaf=None) == [1]
    assert functrax.tree.transpose(
        outer_treedef=treedef, inner_treedef=treedef, pytree_to_transpose=[[1]]
    ) == [[1]]
    for function in (functrax.tree.flatten_with_path, functrax.tree.leaves_with_path):
        function(tree=[1], is_leaf=None, is_leaf_takes_path=False)
    functrax.tree.map_with_path(f=max, tree=[], is_leaf=None, is_leaf_takes_path=False)


# ---- classes


def test_decorators_register():
    @tree_util.register_pytree_node_class
    class Box(Pair):
        def tree_flatten(self):
            return self.items, "data"

        @classmethod
        def tree_unflatten(cls, data, children):
            assert data == "data"
            return cls(*children)

    @tree_util.register_pytree_with_keys_class
    class Bag(Pair):
        def tree_flatten_with_keys(self):
            return [(tree_util.DictKey("it"), self.items[0])], None

        @classmethod
        def tree_unflatten(cls, data, children):
            return cls(*children)

    assert tree.map(str, Box(1, 2)).items == ("1", "2")
    assert paths(tree_util, Bag([7])) == [("['it'][0]", 7)]
    assert tree.map(str, Bag(1)).items == ("1",)


def test_dataclasses_infer_their_fields():
    @tree_util.register_dataclass
    @dataclasses.dataclass
    class Model:
        scale: Any
        kind: str = functrax.tree.static(default="linear", metadata={"help": "which"})
        axis: int = dataclasses.field(default=0, metadata={"static": True})

    assert tree.leaves(Model(2.5)) == [2.5]
    assert str(tree.structure(Model(2.5))).endswith("Model[('linear', 0)], [*]))")
    assert tree.map(lambda x: 2 * x, Model(2.5, "cubic", 1)) == Model(5.0, "cubic", 1)
    assert tree.structure(Model(1)) != tree.structure(Model(1, "cubic"))
    assert Model.__dataclass_fields__["kind"].metadata == {"help": "which", "static": True}


def test_dataclasses_drop_fields():
    @functools.partial(tree_util.register_dataclass, drop_fields=["cache"])
    @dataclasses.dataclass
    class Model:
        scale: Any
        cache: Any = None

    assert tree.map(lambda x: x, Model(1, "kept by the user")) == Model(1)


def test_partial_of_partial_keeps_its_own_arguments():
    inner = functools.partial(divmod, 7)
    outer = tree_util.Partial(inner, 2)
    assert outer() == (3, 1)
    assert tree.leaves(outer) == [2]
    assert tree.map(lambda x: x + 1, outer)() == (2, 1)
    assert tree.structure(outer) == tree.structure(tree_util.Partial(inner, 3))
    assert pickle.loads(pickle.dumps(tree_util.Partial(divmod, 7)))(2) == (3, 1)
    assert tree_util.Partial(dict, (), a=2)(b=3) == {"a": 2, "b": 3}


REGISTRATION_ERRORS = [
    (
        lambda: tree_util.register_pytree_node(Pair, None, None),
        "[register_pytree_node] expected a class that is no pytree yet; got Pair (here). "
        "Register each class once, next to its definition.",
    ),
    (
        lambda: tree_util.register_pytree_node(list, None, None),
        "[register_pytree_node] expected a class that is no pytree yet; got list (here). "
        "Register each class once, next to its definition.",
    ),
    (
        lambda: tree_util.register_static("Mode"),
        "[register_static] expected a class; got 'Mode' (here).",
    ),
    (
        lambda: tree_util.register_pytree_node_class(int),
        "[register_pytree_node_class] expected a class with the methods tree_flatten and "
        "tree_unflatten; got <class 'int'> without tree_flatten and tree_unflatten (here).",
    ),
    (
        lambda: tree_util.register_dataclass(int),
        "[register_dataclass] expected a dataclass, or both data_fields and meta_fields; "
        "got <class 'int'> (here).",
    ),
    (
        lambda: tree_util.register_dataclass(Layer, data_fields=["weight"]),
        "[register_dataclass] expected data_fields and meta_fields together, or neither; "
        "got data_fields only (here).",
    ),
    (
        lambda: tree_util.register_dataclass(Layer, ["weight", "bias"], ["bias"]),
        "[register_dataclass] expected each field either in data_fields or in meta_fields; "
        "got bias in both (here).",
    ),
    (
        lambda: tree_util.register_dataclass(Layer, ["weight"], ["name"]),
        f"[register_dataclass] expected the fields bias, name, weight, which {Layer!r} takes; "
        "got name, weight (here). A field that has a default may stand in drop_fields.",
    ),
]


@pytest.mark.parametrize(("call", "expected"), REGISTRATION_ERRORS)
def test_registration_errors(call, expected):
    with pytest.raises(ArgumentError) as error:
        call()
    assert message(error) == expected


# ---- classes adopted from JAX


def test_classes_registered_with_jax_are_adopted():
    class Theirs(Pair):
        pass

    jax.tree_util.register_pytree_with_keys(
        Theirs,
        lambda t: ([(jax.tree_util.GetAttrKey("only"), t.items[0])], ("data", 1)),
        lambda data, items: Theirs(*items, data),
    )
    assert tree_util.is_tree_node(Theirs)
    value = {"a": [Theirs([1, 2])], "b": 3}
    assert tree.leaves(value) == [1, 2, 3]
    assert paths(tree_util, value) == paths(jax.tree_util, value)
    rebuilt = tree.map(lambda x: -x, value)["a"][0]
    assert rebuilt.items == ([-1, -2], ("data", 1))
    assert tree.structure(value) == tree.structure(value)


@pytest.mark.parametrize("first", ["leaves_with_path", "one_level", "flatten", "map"])
def test_adoption_works_through_every_door(first):
    class Theirs(Pair):
        pass

    jax.tree_util.register_pytree_node(Theirs, lambda t: (t.items, None), lambda _, c: Theirs(*c))
    value = Theirs(1, 2)
    if first == "leaves_with_path":
        assert [leaf for _, leaf in tree.leaves_with_path(value)] == [1, 2]
    elif first == "one_level":
        assert tree_util.flatten_one_level(value)[0] == [1, 2]
    elif first == "map":
        assert tree.map(str, value).items == ("1", "2")
    assert tree.leaves([value]) == [1, 2]


def test_dataclasses_registered_with_jax_are_adopted():
    @jax.tree_util.register_dataclass
    @dataclasses.dataclass
    class Theirs:
        x: Any
        name: str = dataclasses.field(metadata={"static": True}, default="n")

    value = Theirs({"k": 1}, "other")
    assert paths(tree_util, value) == paths(jax.tree_util, value) == [(".x['k']", 1)]
    assert tree.map(lambda x: x + 1, value) == Theirs({"k": 2}, "other")


def test_flax_structs_are_adopted():
    struct = pytest.importorskip("flax.struct")

    @struct.dataclass
    class State:
        params: Any
        step: int
        name: str = struct.field(pytree_node=False, default="s")

    value = State({"w": 1.5}, 3)
    assert paths(tree_util, value) == paths(jax.tree_util, value)
    assert tree.map(lambda x: 2 * x, value) == State({"w": 3.0}, 6)
    frozen = pytest.importorskip("flax.core").freeze({"a": {"b": 1}})
    assert tree.map(lambda x: x + 1, frozen) == type(frozen)({"a": {"b": 2}})


def test_optax_states_are_adopted():
    optax = pytest.importorskip("optax")
    optimizer = optax.multi_transform(
        {"a": optax.adamw(1e-3), "b": optax.sgd(0.1, momentum=0.9)}, {"w": "a", "b": "b"}
    )
    state = optimizer.init({"w": np.ones(2, np.float32), "b": np.zeros(1, np.float32)})
    ours, theirs = tree.flatten(state), jax.tree.flatten(state)
    assert all(map(lambda a, b: a is b, ours[0], theirs[0]))
    assert str(ours[1]) == str(theirs[1])
    assert [name for name, _ in paths(tree_util, state)] == [
        name for name, _ in paths(jax.tree_util, state)
    ]
    assert type(tree.unflatten(*ours[::-1])) is type(state)


WITHOUT_JAX = """
import collections, sys
from functrax import tree, tree_util
assert tree.map(str, {"a": (1, None), "b": collections.OrderedDict(z=2)}) == {
    "a": ("1", None), "b": collections.OrderedDict(z="2")}
class Later: pass
later = Later()
assert tree.leaves([later]) == [later]
assert "jax" not in sys.modules, "functrax imported jax"
import jax
jax.tree_util.register_pytree_node(Later, lambda x: ((1, 2), None), lambda _, c: Later())
assert tree.leaves([later]) == [1, 2]
assert jax.tree.leaves(collections.OrderedDict(a=1)) == [1]
"""


def test_nothing_needs_jax_and_jax_may_come_later():
    subprocess.run([sys.executable, "-c", WITHOUT_JAX], check=True)


# ---- errors


def cyclic():
    value = [1]
    value.append({"a": value})
    return value


def unsorted_default():
    return collections.defaultdict(int, {1: 2, "a": 3})


FLATTEN_ERRORS = [
    *(
        (
            compare,
            f"[tree.flatten] expected dict keys that can be sorted; got keys 1, 'a'{place} (here). "
            "Use keys of one type, or an OrderedDict, which keeps its own order.",
        )
        for compare, place in (
            (lambda: tree.map(print, {"a": 1}, {1: 2, "a": 3}), ""),
            (lambda: tree.map(print, [0, {"a": 1}], [0, {1: 2, "a": 3}]), " at [1]"),
            (lambda: tree.map(print, {"x": [{"a": 1}]}, {"x": [{1: 2, "a": 3}]}), " at ['x'][0]"),
        )
    ),
    (
        lambda: tree.flatten({"x": [0, {1: 2, "a": 3}]}),
        "[tree.flatten] expected dict keys that can be sorted; got keys 1, 'a' at ['x'][1] (here). "
        "Use keys of one type, or an OrderedDict, which keeps its own order.",
    ),
    (
        lambda: tree.map(str, {1: 2, "a": 3}),
        "[tree.flatten] expected dict keys that can be sorted; got keys 1, 'a' (here). "
        "Use keys of one type, or an OrderedDict, which keeps its own order.",
    ),
    (
        lambda: tree.leaves_with_path([unsorted_default()]),
        "[tree.flatten_with_path] expected dict keys that can be sorted; got keys 1, 'a' at [0] "
        "(here). Use keys of one type, or an OrderedDict, which keeps its own order.",
    ),
    (
        lambda: tree.flatten(cyclic()),
        "[tree.flatten] expected a tree of finite depth; got one that contains itself, or is "
        "nested deeper than Python recurses (here). If it contains itself, take that reference "
        "out.",
    ),
    (
        lambda: tree.flatten_with_path(cyclic()),
        "[tree.flatten_with_path] expected a tree of finite depth; got one that contains itself, "
        "or is nested deeper than Python recurses (here). If it contains itself, take that "
        "reference out.",
    ),
    (
        lambda: tree.unflatten(tree.structure([0, (1, 2)]), [1, 2]),
        "[tree.unflatten] expected 3 leaves for PyTreeDef([*, (*, *)]); got 2 (here).",
    ),
    (
        lambda: tree.unflatten(tree.structure([0]), [1, 2]),
        "[tree.unflatten] expected 1 leaves for PyTreeDef([*]); got 2 (here).",
    ),
    (
        lambda: tree.unflatten(tree.structure([0, 0]), iter([1])),
        "[tree.unflatten] expected 2 leaves for PyTreeDef([*, *]); got fewer (here).",
    ),
    (
        lambda: tree.unflatten(tree.structure([0, 0]), iter([1] * 3)),
        "[tree.unflatten] expected 2 leaves for PyTreeDef([*, *]); got more (here).",
    ),
    (
        lambda: tree.reduce(max, [None]),
        "[tree.reduce] expected a tree with leaves, or an initializer; got a tree without (here).",
    ),
    (
        lambda: functrax.tree.reduce_associative(max, {}),
        "[tree.reduce_associative] expected a tree with leaves, or an identity; "
        "got a tree without (here).",
    ),
]


@pytest.mark.parametrize(("call", "expected"), FLATTEN_ERRORS)
def test_flatten_errors(call, expected):
    with pytest.raises(TreeError) as error:
        call()
    assert message(error) == expected


def test_unflatten_with_arguments_exchanged():
    with pytest.raises(ArgumentError) as error:
        tree.unflatten([1], tree.structure([0]))
    assert message(error) == (
        "[tree.unflatten] expected a PyTreeDef first, then the leaves; got a value of type list "
        "first (here). tree.structure(tree) gives the PyTreeDef of a tree."
    )


def test_errors_of_the_users_functions_pass():
    class Broken(Pair):
        pass

    def fail(*args):
        raise ValueError("mine") from KeyError("cause")

    def flatten(broken):
        return fail() if broken.items else ((0,), None)

    tree_util.register_pytree_node(Broken, flatten, fail)
    with pytest.raises(ValueError) as error:
        tree.flatten([Broken(1)])
    assert (type(error.value), str(error.value)) == (ValueError, "mine")
    assert isinstance(error.value.__cause__, KeyError)
    treedef = tree.structure(Broken())
    with pytest.raises(ValueError, match="mine"):
        tree.unflatten(treedef, [1])
    with pytest.raises(ValueError, match="mine"):
        tree.flatten_up_to(treedef, Broken(1))
    with pytest.raises(ValueError, match="mine"):
        tree.map(fail, [1])


SAME = "It must have the same structure, down to the leaves."
many = {f"k{i}": 0 for i in range(12)}
MAP_ERRORS = [
    ([1, 2], [1, 2, 3], "rest[0] to be a list of length 2", "a list of length 3", SAME),
    ([1, (2,)], [1, [2]], "rest[0][1] to be a tuple of length 1", "a list of length 1", SAME),
    ({"a": [1]}, {"a": 5}, "rest[0]['a'] to be a list of length 1", "a leaf of type int", SAME),
    ({"a": None}, {"a": 5}, "rest[0]['a'] to be None", "a leaf of type int", SAME),
    (
        {"a": 1, "b": 2},
        {"a": 1, "c": 2},
        "rest[0] to be a dict with the keys 'a', 'b'",
        "a dict with the keys 'a', 'c'",
        "It lacks 'b' and adds 'c'.",
    ),
    ({"a": 1}, {}, "rest[0] to be a dict with the keys 'a'", "a dict without keys", SAME),
    (
        Point(1, [2]),
        Point(1, 2),
        "rest[0].y to be a list of length 1",
        "a leaf of type int",
        SAME,
    ),
    (Point(1, 2), (1, 2), "rest[0] to be a Point of length 2", "a tuple of length 2", SAME),
    (
        collections.OrderedDict(a=1, b=2),
        collections.OrderedDict(b=1, a=2),
        "rest[0] to be an OrderedDict with the keys 'a', 'b'",
        "an OrderedDict with the keys 'b', 'a'",
        SAME,
    ),
    (
        collections.defaultdict(int, a=1),
        {"a": 1, "b": 2},
        "rest[0] to be a defaultdict with the keys 'a'",
        "a dict with the keys 'a', 'b'",
        "It adds 'b'.",
    ),
    (
        Layer(1, 2, "x"),
        Layer(1, 2, "y"),
        "rest[0] to be a Layer with 2 children and data ('x',)",
        "a Layer with 2 children and data ('y',)",
        SAME,
    ),
    (
        many,
        {},
        "rest[0] to be a dict with the keys 'k0', 'k1', 'k10', 'k11', 'k2', 'k3', 'k4', 'k5', "
        "and 4 more",
        "a dict without keys",
        SAME,
    ),
]


@pytest.mark.parametrize(("one", "other", "expected", "got", "cure"), MAP_ERRORS)
def test_map_errors_name_the_path(one, other, expected, got, cure):
    with pytest.raises(TreeError) as error:
        tree.map(max, one, other)
    assert message(error) == f"[tree.map] expected {expected}; got {got} (here). {cure}"
    with pytest.raises(TreeError) as error:
        tree.map_with_path(max, one, one, other)
    expected = expected.replace("rest[0]", "rest[1]")
    assert message(error) == f"[tree.map_with_path] expected {expected}; got {got} (here). {cure}"
    with pytest.raises(ValueError):
        jax.tree.map(max, one, other)


PREFIX_ERRORS = [
    (
        (0, [0]),
        (1, {"a": 2}),
        "in_axes[1] to be a leaf or a dict with the keys 'a'; got a list of length 1",
        "in_axes must be a prefix of the tree it describes.",
    ),
    (
        {"w": 0, "c": 0},
        {"w": 1, "b": [2]},
        "in_axes to be a leaf or a dict with the keys 'b', 'w'; got a dict with the keys 'c', 'w'",
        "It lacks 'b' and adds 'c'.",
    ),
    (
        [(0, 0)],
        [1],
        "in_axes[0] to be a leaf of type int; got a tuple of length 2",
        "in_axes must be a prefix of the tree it describes.",
    ),
    (
        (None, 0),
        (1, 2),
        "in_axes[0] to be a leaf of type int; got None",
        "in_axes must be a prefix of the tree it describes.",
    ),
]


@pytest.mark.parametrize(("prefix", "full", "expected", "cure"), PREFIX_ERRORS)
def test_prefix_errors_name_the_path(prefix, full, expected, cure):
    with pytest.raises(TreeError) as error:
        tree.broadcast_prefix(prefix, full, call="vmap", name="in_axes")
    assert message(error) == f"[vmap] expected {expected} (here). {cure}"
    error = tree.prefix_error(prefix, full, "vmap", "in_axes")
    assert str(error).startswith(f"[vmap] expected {expected} (")
    none = (None, 0), (1, 2)
    assert tree.broadcast_prefix(*none, is_leaf=lambda x: x is None) == [None, 0]


def test_transposing_with_the_structures_exchanged():
    outer, inner = tree.structure((0, 0)), tree.structure([0, 0, 0])
    value = [(1, 2), (3, 4), (5, 6)]
    assert tree.transpose(inner, outer, value) == ([1, 3, 5], [2, 4, 6])
    with pytest.raises(TreeError) as error:
        tree.transpose(outer, inner, value)
    assert message(error) == (
        "[tree.transpose] expected pytree_to_transpose to be a tuple of length 2; "
        f"got a list of length 3 (here). {SAME}"
    )
    with pytest.raises(TreeError) as error:
        tree.transpose(inner, outer, [(1, 2), (3, 4), (5, 6, 7)])
    assert message(error) == (
        "[tree.transpose] expected an inner tree to be a tuple of length 2; "
        f"got a tuple of length 3 (here). {SAME}"
    )
