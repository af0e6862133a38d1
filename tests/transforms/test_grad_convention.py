"""The warning that a gradient through a sum is by JAX's convention."""

import warnings

import numpy as np
import pytest

import functrax
from functrax import errors, lax

D = np.arange(4, dtype=np.float32)


def warned(call):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    return [w for w in found if w.category is errors.GradConventionWarning]


@pytest.mark.parametrize("mapper", [functrax.pmap, functrax.vmap])
def test_once_for_each_line(mapper):
    namespace = {"lax": lax}
    path = f"user_{mapper.__name__}.py"
    exec(compile("loss = lambda w, d: lax.psum(w * w * d, 'i')", path, "exec"), namespace)
    run = lambda: mapper(functrax.grad(namespace["loss"]), axis_name="i", in_axes=(None, 0))(1.0, D)  # noqa: E731
    (found,) = warned(run)
    assert (found.filename, found.lineno) == (path, 1)
    assert str(found.message) == (
        "[grad] expected a gradient of this position's result through the sum over 'i'; got by "
        f"JAX's convention that of the sum of all positions' results ({path}:1). Pass "
        "grad_convention='exact' to the `pmap` or `vmap` around it for the gradient of the result "
        "itself, or silence this by `warnings.filterwarnings('ignore', "
        "category=functrax.errors.GradConventionWarning)`."
    )
    assert not warned(run)


QUIET = {
    "gradients averaged": lambda: functrax.pmap(
        lambda w, d: lax.pmean(functrax.grad(lambda w: w * w * d)(w), "i"), "i", in_axes=(None, 0)
    )(1.0, D),
    "exact": lambda: functrax.pmap(
        functrax.grad(lambda w, d: lax.psum(w * d, "i")),
        "i",
        in_axes=(None, 0),
        grad_convention="exact",
    )(1.0, D),
    "outside": lambda: functrax.grad(
        lambda w: functrax.pmap(lambda w, d: lax.psum(w * d, "i"), "i", in_axes=(None, 0))(
            w, D
        ).sum()
    )(1.0),
    "twice outside": lambda: functrax.grad(
        functrax.grad(
            lambda w: functrax.pmap(lambda w, d: lax.psum(w**3 * d, "i"), "i", in_axes=(None, 0))(
                w, D
            ).sum()
        )
    )(1.0),
    "forward": lambda: functrax.jvp(
        functrax.pmap(lambda d: lax.psum(d, "i"), "i"), (D,), (D,)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", QUIET)
def test_quiet(name):
    assert not warned(QUIET[name])
