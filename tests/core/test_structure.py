"""What structures tell without a tree, and without putting stand-ins through users' classes."""

import collections

import pytest

from functrax.core import structure, tree

Pair = collections.namedtuple("Pair", "x y")


class Sized:
    """A class that looks at its child, which so has to be an array."""

    def __init__(self, array):
        self.array = array
        self.shape = array.shape


class Keyed:
    """A class that names its children."""

    def __init__(self, left, right):
        self.left, self.right = left, right


tree.register_node(Sized, lambda s: ((s.array,), None), lambda _, children: Sized(*children))
tree.register_node(
    Keyed,
    lambda k: ((k.left, k.right), None),
    lambda _, children: Keyed(*children),
    lambda k: (((tree.GetAttrKey("left"), k.left), (tree.GetAttrKey("right"), k.right)), None),
)


class Shape:
    shape = ()


TREES = [
    0,
    None,
    [],
    [1, (2, None)],
    {"b": [1], "a": Pair(2, {"c": 3})},
    collections.OrderedDict(z=1, y=(2, 3)),
    collections.defaultdict(list, {1: [2, 3]}),
    Keyed([1, 2], {"a": 3}),
]


@pytest.mark.parametrize("value", TREES, ids=lambda value: str(tree.structure(value)))
def test_paths_are_those_of_the_tree(value):
    pairs, treedef = tree.flatten_with_path(value)
    assert structure.paths_of(treedef) == [path for path, _ in pairs]
    assert [structure.path_to(treedef, i) for i in range(treedef.num_leaves)] == [
        path for path, _ in pairs
    ]


def test_paths_through_a_class_that_looks_at_its_children():
    treedef = tree.structure({"a": [Sized(Shape()), Keyed(1, Sized(Shape()))]})
    paths = [tree.keystr(path) for path in structure.paths_of(treedef)]
    assert paths == [
        "['a'][0][<flat index 0>]",
        "['a'][1].left",
        "['a'][1].right[<flat index 0>]",
    ]
    assert [tree.keystr(structure.path_to(treedef, i)) for i in range(3)] == paths
    with pytest.raises(IndexError):
        structure.path_to(treedef, 3)


@pytest.mark.parametrize(
    ("prefix", "full", "expected"),
    [
        (0, [1, 2], [0, 0]),
        ((0, 1), (Sized(Shape()), [2, 3]), [0, 1, 1]),
        ({"a": None, "b": 1}, {"a": [2, 3], "b": 4}, [None, None, 1]),
        ([], [], []),
    ],
)
def test_prefixes_of_results(prefix, full, expected):
    whole = tree.results_of(tree.structure(full))
    assert tree.broadcast_prefix(prefix, whole, tree.is_none) == expected


@pytest.mark.parametrize(
    ("prefix", "full"),
    [
        ((0,), [1]),
        ((0, 1), (1,)),
        ({"a": [0]}, {"a": 1}),
        ({"a": 0}, {"b": 0}),
        ([0, (1, 2)], [Sized(Shape()), Pair(1, 2)]),
    ],
)
def test_what_is_no_prefix_of_a_result_is_told_as_of_a_tree(prefix, full):
    with pytest.raises(tree.TreeError) as wanted:
        tree.broadcast_prefix(prefix, full, call="vmap", name="out_axes")
    with pytest.raises(tree.TreeError) as caught:
        tree.broadcast_prefix(
            prefix, tree.results_of(tree.structure(full)), call="vmap", name="out_axes"
        )
    expected = wanted.value.expected.replace("a leaf of type int", "a leaf, for a result that is "
                                             "one array")  # fmt: skip
    assert (caught.value.expected, caught.value.got) == (expected, wanted.value.got)
