"""Evaluate an expression with functrax.numpy and with jax.numpy, and compare what comes out."""

import warnings
from typing import Any

import jax
import numpy as np
from ml_dtypes import bfloat16

import functrax
import functrax.nn
import functrax.scipy.special

f = np.array([[-1.5, 0.0, 2.5], [3.0, -0.25, 1.0]], np.float32)
ARRAYS: dict[str, np.ndarray[Any, Any]] = {
    "f": f,
    "g": np.array([2.0, -3.0, 0.5], np.float32),
    "h": f.astype(np.float16),
    "w": f.astype(bfloat16),
    "i": np.array([[3, -2, 5], [0, 7, -9]], np.int32),
    "j": np.array([1, -3, 2], np.int32),
    "n": np.array([3, 0, 2], np.int32),
    "u": np.array([1, 2, 250], np.uint8),
    "b": np.array([True, False, True]),
    "c": np.array([1 + 2j, -1j, 0.5], np.complex64),
    "s": np.float32(1.5),
    "z": np.zeros((0, 3), np.float32),
    "nan": np.array([1.0, np.nan, -2.0], np.float32),
    "inf": np.array([-np.inf, -1e30, -1, -0.0, 0, 1, 1e30, np.inf, np.nan], np.float32),
    "m": np.array([[True, False, True], [False, False, True]]),
    "t": np.array([[[1.0, 2], [3, 4]]] * 3, np.float32),
}
TOLERANCE = {2: 2e-2, 1: 2e-1}


def rows(table: str) -> list[str]:
    """Split a table of one expression per line."""
    return [line.strip() for line in table.splitlines() if line.strip()]


def evaluate(library: Any, expression: str) -> Any:
    """Evaluate an expression of ``jnp``, ``nn``, ``sp``, ``lib`` and the arrays."""
    jnp = library.numpy
    names = {name: jnp.asarray(value) for name, value in ARRAYS.items()}
    names |= {"jnp": jnp, "nn": library.nn, "sp": library.scipy.special, "lib": library, "np": np}
    names |= {"R": library.random, "key": library.random.key(7)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return eval(expression, names)


def check(expression: str, weak: bool = True) -> None:
    """Assert that both libraries give the same values, shapes, dtypes and weak types."""
    expected = evaluate(jax, expression)
    found = evaluate(functrax, expression)
    expected, found = (x if isinstance(x, tuple | list) else [x] for x in (expected, found))
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected):
        check_one(ours, theirs, weak)


def check_one(ours: Any, theirs: Any, weak: bool) -> None:
    if not isinstance(theirs, jax.Array):
        assert ours == theirs
        return
    assert isinstance(ours, functrax.Array)
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    if weak and theirs.dtype != bool:
        assert ours.weak_type == theirs.weak_type
    tolerance = TOLERANCE.get(ours.dtype.itemsize, 3e-6)
    x, y = (np.asarray(v) for v in (ours, theirs))
    if x.dtype.kind not in "biufc":
        x, y = x.astype(np.float32), y.astype(np.float32)
    np.testing.assert_allclose(x, y, rtol=tolerance, atol=1e-6)
