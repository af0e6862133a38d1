"""Arguments that must be integers, or sequences: what else arrives is one error that names them."""

import os
import re

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors, lax
from functrax.core.arguments import integer, integers, listed

X = jnp.ones((3, 3))
V = jnp.ones((1, 1, 5))

# (the function, the argument, a call of it with that argument)
INTEGERS = [
    ("broadcasted_iota", "dimension", lambda n: lax.broadcasted_iota("int32", (2, 2), n)),
    ("broadcast_to_rank", "rank", lambda n: lax.broadcast_to_rank(X, n)),
    ("collapse", "start_dimension", lambda n: lax.collapse(X, n)),
    ("concatenate", "dimension", lambda n: lax.concatenate([X, X], n)),
    ("slice_in_dim", "start_index", lambda n: lax.slice_in_dim(X, n, 2)),
    ("slice_in_dim", "limit_index", lambda n: lax.slice_in_dim(X, 0, n)),
    ("slice_in_dim", "stride", lambda n: lax.slice_in_dim(X, 0, 2, n)),
    ("index_in_dim", "index", lambda n: lax.index_in_dim(X, n)),
    ("dynamic_slice_in_dim", "slice_size", lambda n: lax.dynamic_slice_in_dim(X, 0, n)),
    ("integer_pow", "y", lambda n: lax.integer_pow(X, n)),
    ("round", "rounding_method", lambda n: lax.round(X, n)),
    ("reduce_precision", "exponent_bits", lambda n: lax.reduce_precision(X, n, 3)),
    ("sort", "num_keys", lambda n: lax.sort((X, X), num_keys=n)),
    ("top_k", "k", lambda n: lax.top_k(X, n)),
    ("fori_loop", "unroll", lambda n: lax.fori_loop(0, 3, lambda i, x: x, X, unroll=n)),
    ("diag_indices", "ndim", lambda n: jnp.diag_indices(2, n)),
    ("tril_indices", "k", lambda n: jnp.tril_indices(2, n)),
    ("triu_indices_from", "k", lambda n: jnp.triu_indices_from(X, n)),
    ("polyder", "m", lambda n: jnp.polyder(X[0], n)),
    ("bartlett", "M", jnp.bartlett),
    ("array", "ndmin", lambda n: jnp.array(X, ndmin=n)),
    ("matrix_power", "n", lambda n: jnp.linalg.matrix_power(X, n)),
]

SEQUENCES_OF_INTEGERS = [
    ("broadcast_in_dim", "shape", lambda s: lax.broadcast_in_dim(X, s, (0, 1))),
    ("broadcast_in_dim", "broadcast_dimensions", lambda s: lax.broadcast_in_dim(X, (3, 3), s)),
    ("broadcasted_iota", "shape", lambda s: lax.broadcasted_iota("int32", s, 0)),
    ("broadcast", "sizes", lambda s: lax.broadcast(X, s)),
    ("broadcast_shapes", "shapes", lambda s: lax.broadcast_shapes(s)),
    ("reshape", "new_sizes", lambda s: lax.reshape(X, s)),
    ("reshape", "dimensions", lambda s: lax.reshape(X, (9,), s)),
    ("expand_dims", "dimensions", lambda s: lax.expand_dims(X, s)),
    ("transpose", "permutation", lambda s: lax.transpose(X, s)),
    ("slice", "start_indices", lambda s: lax.slice(X, s, (1, 1))),
    ("slice", "limit_indices", lambda s: lax.slice(X, (0, 0), s)),
    ("slice", "strides", lambda s: lax.slice(X, (0, 0), (1, 1), s)),
    ("dynamic_slice", "slice_sizes", lambda s: lax.dynamic_slice(X, (0, 0), s)),
    ("split", "sizes", lambda s: lax.split(X, s)),
    ("pad", "padding_config", lambda s: lax.pad(X, 0.0, [s, s])),
    ("reduce_window", "window_dimensions", lambda s: lax.reduce_window(X, 0.0, lax.add, s, (1, 1), "VALID")),
    ("conv_general_dilated", "window_strides", lambda s: lax.conv_general_dilated(V, V, s, "VALID")),
    ("conv_transpose", "strides", lambda s: lax.conv_transpose(V, V, s, "VALID")),
    ("make_array_from_callback", "shape", lambda s: functrax.make_array_from_callback(s, X.sharding, X.__getitem__)),
]  # fmt: skip

SEQUENCES = [
    ("reduce_sum", "axes", lambda s: lax.reduce_sum(X, s)),
    ("concatenate", "operands", lambda s: lax.concatenate(s, 0)),
    ("pad", "padding_config", lambda s: lax.pad(X, 0.0, s)),
    ("dynamic_slice", "start_indices", lambda s: lax.dynamic_slice(X, s, (1, 1))),
    ("switch", "branches", lambda s: lax.switch(0, s)),
    ("select", "condlist", lambda s: jnp.select(s, [X])),
    ("select", "choicelist", lambda s: jnp.select([X > 0], s)),
    ("lexsort", "keys", lambda s: jnp.lexsort(s)),
    ("piecewise", "funclist", lambda s: jnp.piecewise(X, [X > 0], s)),
    ("multi_dot", "arrays", lambda s: jnp.linalg.multi_dot(s)),
    ("tensordot", "axes", lambda s: jnp.tensordot(X, X, 2.5 if s == -7 else s)),
    ("scatter", "dimension_numbers", lambda s: lax.scatter(X, X.astype(int), X, s)),
]


def message(call, *args):
    with pytest.raises(errors.ArgumentError) as caught:
        call(*args)
    return re.sub(rf" \({os.path.basename(__file__)}:\d+\)", "", str(caught.value))


@pytest.mark.parametrize("value", [0.5, "zz", object, [1]])
@pytest.mark.parametrize(("name", "argument", "call"), INTEGERS)
def test_integers(name, argument, call, value):
    found = re.match(r"\[([\w.]+)\] expected an integer for '(\w+)'; got ", message(call, value))
    assert found is not None
    assert (found[1].rpartition(".")[2], found[2]) == (name, argument)


@pytest.mark.parametrize("value", [-7, 0.5, (0.5, 1), ("a", "b"), object, [None, None]])
@pytest.mark.parametrize(("name", "argument", "call"), SEQUENCES_OF_INTEGERS)
def test_sequences_of_integers(name, argument, call, value):
    expected = rf"\[[\w.]+\] expected a sequence of integers for '{argument}'; got "
    assert re.match(expected, message(call, value))


@pytest.mark.parametrize("value", [-7, object])
@pytest.mark.parametrize(("name", "argument", "call"), SEQUENCES)
def test_sequences(name, argument, call, value):
    assert re.match(rf"\[[\w.]+\] expected a sequence for '{argument}'; got ", message(call, value))


def test_whole_messages():
    assert message(lax.slice_in_dim, X, 0.5, 2) == (
        "[slice_in_dim] expected an integer for 'start_index'; got 0.5 of type float."
    )
    assert message(lax.reshape, X, (4.5, 2)) == (
        "[reshape] expected a sequence of integers for 'new_sizes'; got (4.5, 2) of type tuple."
    )
    assert message(jnp.histogram, X, 2.5) == (
        "[histogram] expected an integer for 'bins'; got 2.5 of type float."
    )
    assert message(lax.concatenate, 3, 0) == (
        "[concatenate] expected a sequence for 'operands'; got 3 of type int."
    )


def test_what_is_taken():
    assert integer("f", "n", np.int8(3)) == 3
    assert integer("f", "n", True) == 1
    assert integers("f", "s", np.arange(3)) == (0, 1, 2)
    assert integers("f", "s", (n for n in (1, 2))) == (1, 2)
    assert listed("f", "s", {"a": 1}) == ["a"]


def test_what_is_traced_is_another_error():
    with pytest.raises(errors.TracerIndexError):
        functrax.jit(lambda n: lax.reshape(X, (n, 1)))(9)
    with pytest.raises(errors.TracerIndexError):
        functrax.jit(lambda n: lax.top_k(X, n))(1)
