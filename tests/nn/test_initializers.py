"""Initializers give JAX's numbers."""

import jax.nn.initializers
import numpy as np
import pytest

from functrax import errors, random
from functrax.nn import initializers

NAMED = ["glorot_normal", "glorot_uniform", "he_normal", "he_uniform", "lecun_normal",
         "lecun_uniform", "xavier_normal", "xavier_uniform", "kaiming_normal",
         "kaiming_uniform"]  # fmt: skip
KERNEL = (3, 3, 4, 5)


def compare(ours, theirs, shape=KERNEL, dtype=None):
    """Compare what two initializers make of one key; JAX's own numbers differ between versions."""
    got = np.asarray(ours(random.key(4), shape, dtype))
    wanted = np.asarray(theirs(jax.random.key(4), shape, dtype))
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    wide = np.complex128 if got.dtype.kind == "c" else np.float64
    rtol = {"float32": 3e-7, "complex64": 3e-6}.get(got.dtype.name, 2e-2)
    np.testing.assert_allclose(got.astype(wide), wanted.astype(wide), rtol=rtol, atol=1e-7)


@pytest.mark.parametrize("name", NAMED)
def test_named(name):
    compare(getattr(initializers, name)(), getattr(jax.nn.initializers, name)())


@pytest.mark.parametrize("name", ["uniform", "normal", "truncated_normal"])
@pytest.mark.parametrize("dtype", [None, "bfloat16"])
def test_distributions(name, dtype):
    compare(getattr(initializers, name)(), getattr(jax.nn.initializers, name)(), (20,), dtype)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg", "fan_geo_avg"])
@pytest.mark.parametrize("distribution", ["truncated_normal", "normal", "uniform"])
def test_variance_scaling(mode, distribution):
    arguments = (0.7, mode, distribution, 0, (1, 2), 3)
    ours, theirs = (
        module.variance_scaling(*arguments) for module in (initializers, jax.nn.initializers)
    )
    compare(ours, theirs)
    if mode == "fan_avg":
        compare(ours, theirs, dtype="complex64")


def test_variance_scaling_of_an_array():
    fixed, traced = (
        initializers.variance_scaling(scale, "fan_in", "uniform")(random.key(0), (4, 4))
        for scale in (2.0, np.float32(2.0))
    )
    np.testing.assert_allclose(np.asarray(fixed), np.asarray(traced), rtol=3e-7)


def test_constants():
    for ours, theirs in (
        (initializers.zeros, jax.nn.initializers.zeros),
        (initializers.ones, jax.nn.initializers.ones),
        (initializers.constant(2.5), jax.nn.initializers.constant(2.5)),
        (initializers.constant(np.arange(5)), jax.nn.initializers.constant(np.arange(5))),
    ):
        compare(ours, theirs)
        compare(ours, theirs, dtype="bfloat16")
    assert isinstance(initializers.zeros, initializers.Initializer)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: initializers.variance_scaling(1, "fan", "normal"), errors.ArgumentError,
         "[variance_scaling] expected mode 'fan_in' or 'fan_out' or 'fan_avg' or 'fan_geo_avg'; "
         "got "
         "'fan' (HERE)."),
        (lambda: initializers.variance_scaling(1, "fan_in", "cauchy"), errors.ArgumentError,
         "[variance_scaling] expected distribution 'truncated_normal' or 'normal' or 'uniform'; "
         "got "
         "'cauchy' (HERE)."),
        (lambda: initializers.he_normal()(random.key(0), (3,)), errors.ShapeError,
         "[variance_scaling] expected a shape of at least two axes, or in_axis and out_axis; got "
         "(3,) "
         "(HERE). Use `normal` for vectors, or say which axes are inputs and outputs."),
        (lambda: initializers.variance_scaling(1, ["fan_in"], "normal"), errors.ArgumentError,
         "[variance_scaling] expected mode 'fan_in' or 'fan_out' or 'fan_avg' or 'fan_geo_avg'; "
         "got "
         "['fan_in'] (HERE)."),
        (lambda: initializers.variance_scaling("a", "fan_in", "normal")(random.key(0), (3, 3)),
         errors.ArgumentError,
         "[variance_scaling] expected a number, or an array of numbers, for 'scale'; got 'a' of type "
         "str (HERE). Pass a number, or convert what you have with `jnp.asarray`."),
        (lambda: initializers.he_normal(in_axis="a")(random.key(0), (3, 3)), errors.ArgumentError,
         "[variance_scaling] expected a sequence of integers for 'in_axis'; got ('a',) of type tuple "
         "(HERE)."),
        (lambda: initializers.he_normal(out_axis=7)(random.key(0), (3, 3)), errors.BoundsError,
         "[variance_scaling] expected an axis of an array of 2 axes; got axis 7 (HERE)."),
        (lambda: initializers.uniform("a")(random.key(0), (3,)), errors.ArgumentError,
         "[uniform] expected a number, or an array of numbers, for 'scale'; got 'a' of type str "
         "(HERE). Pass a number, or convert what you have with `jnp.asarray`."),
        (lambda: initializers.normal(1j)(random.key(0), (3,)), errors.DtypeError,
         "[normal] expected real numbers for 'stddev'; got 1j of type complex (HERE). Take the real "
         "part, `.real`."),
        (lambda: initializers.truncated_normal(upper=[1])(random.key(0), (3,)), errors.ArgumentError,
         "[truncated_normal] expected a number, or an array of numbers, for 'upper'; got [1] of type "
         "list (HERE). Pass a number, or convert what you have with `jnp.asarray`."),
        (lambda: initializers.normal()(random.key(0), (3,), int), errors.DtypeError,
         "[normal] expected a floating or complex dtype; got i32 (HERE)."),
    ],
)  # fmt: skip
def test_refused(make, kind, message):
    with pytest.raises(kind) as caught:
        make()
    where = f"test_initializers.py:{make.__code__.co_firstlineno}"
    assert str(caught.value) == message.replace("HERE", where)
