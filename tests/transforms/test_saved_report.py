"""`saved_report`: its total is the bytes of the residuals, and its rows say where they come from."""

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax.ad_checkpoint import checkpoint_name, print_saved_residuals
from functrax.core import tree
from functrax.lowering.passes import optimize
from functrax.transforms.differentiate import Pullback
from functrax.transforms.remat.cost import nbytes

W = np.linspace(1, -0.7, 25, dtype=np.float32).reshape(5, 5)


def layer(x, w):
    return jnp.tanh(checkpoint_name(jnp.sin(x @ w), "h"))


def three(x, w):
    return layer(layer(layer(x, w), w), w)


def scanned(x, w):
    return functrax.lax.scan(lambda c, _: (layer(c, w), c), x, None, length=4)


checkpoint, policies = functrax.checkpoint, functrax.checkpoint_policies
FUNCTIONS = {
    "plain": three,
    "jit": functrax.jit(three),
    "checkpoint": checkpoint(three),
    "dots": checkpoint(three, policy=policies.dots_saveable),
    "names": checkpoint(three, policy=policies.save_only_these_names("h")),
    "everything": checkpoint(three, policy=policies.everything_saveable),
    "budget": checkpoint(three, budget_bytes=200),
    "nested": checkpoint(lambda x, w: checkpoint(three)(jnp.sin(x), w)),
    "in-jit": functrax.jit(lambda x, w: checkpoint(three)(jnp.exp(x), w)),
    "constant": lambda x, w: x * jnp.asarray(W) + W,
    "scan": scanned,
    "scan-checkpoint": checkpoint(scanned),
    "vmap": lambda x, w: functrax.vmap(three, (0, None))(x, w),
    "custom": lambda x, w: functrax.nn.relu(x @ w),
    "integers": lambda x, w: (x * jnp.arange(5), x[0, 0] > 0),
    "linear": lambda x, w: x + 1.0,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_total_is_that_of_the_residuals(name, capsys):
    f, args = FUNCTIONS[name], (jnp.asarray(W), jnp.asarray(W + 1))
    report = functrax.saved_report(f)(*args)
    assert capsys.readouterr().out == f"{report}\n"
    residuals = Pullback("vjp", f, args, tree.structure((args, {})), False).residuals
    assert report.total_bytes == sum(nbytes(x.aval) for x in residuals)
    saved = [row for row in report.rows if row.status == "saved"]
    assert sorted(row.type for row in saved) == sorted(repr(x.aval) for x in residuals)
    assert report.total_flops == sum(row.flops for row in report.rows)


def test_rows():
    f = checkpoint(three, policy=policies.save_only_these_names("h"))
    report = functrax.saved_report(f)(W, W)
    saved = [(r.value, r.type, r.bytes, r.flops) for r in report.rows if r.status == "saved"]
    assert saved.count(("'h'", "f32[5,5]", 100, 0)) == 3
    assert saved.count(("argument x", "f32[5,5]", 100, 0)) == 1
    again = [(r.value, r.flops) for r in report.rows if r.status == "recomputed"]
    assert ("dot_general", 250) in again
    assert ("tanh", 25) in again
    lines = {r.source for r in report.rows if r.value in ("'h'", "tanh", "dot_general")}
    number = layer.__code__.co_firstlineno + 1
    assert all(line.endswith(f"test_saved_report.py:{number}") for line in lines), lines
    assert not [r for r in functrax.saved_report(three)(W, W).rows if r.status == "recomputed"]


@pytest.mark.parametrize("policy", [None, policies.save_only_these_names("h")])
def test_a_name_is_no_row_of_its_own(policy):
    f = checkpoint(lambda x: jnp.sin(checkpoint_name(jnp.tanh(x), "h")), policy=policy)
    rows = [(r.value, r.status) for r in functrax.saved_report(f)(W).rows]
    first = (
        [("argument x", "saved"), ("'h'", "recomputed")] if policy is None else [("'h'", "saved")]
    )
    assert rows == [*first, *((again, "recomputed") for again in ("square", "sub", "cos"))]


def test_the_table():
    f = checkpoint(lambda x: jnp.sin(jnp.sin(x)) * 2)
    text = repr(functrax.saved_report(f)(functrax.ShapeDtypeStruct((3,), "float32")))
    head, first, *rest, total = text.splitlines()
    assert head.split() == ["value", "type", "bytes", "source", "status", "flops"]
    assert first.split() == ["argument", "x", "f32[3]", "12", "saved", "0"]
    assert {line.split()[0] for line in rest} == {"sin", "cos"}
    assert total == "<lambda>: 12 bytes saved, 9 operations computed again"


def test_keyword_arguments_and_jax_s_printer(capsys):
    functrax.saved_report(lambda x, *, scale: x * scale)(2.0, scale=jnp.ones(3))
    assert "argument scale" in capsys.readouterr().out
    print_saved_residuals(lambda x, y: jnp.sin(x) * y, 1.0, jnp.ones(3))
    out = capsys.readouterr().out
    assert "f32[3] from the argument y" in out
    assert "~f32[] cos from " in out


@pytest.mark.parametrize(
    ("f", "kept"),
    [
        (lambda x: jnp.exp(x) / jnp.exp(x).sum(-1, keepdims=True), 3),  # softmax: exp twice, result
        (lambda x: functrax.nn.softmax(x), 2),  # exp, and the result
        (lambda x: x / jnp.sqrt((x * x).sum(-1, keepdims=True)), 2),  # x, and the result
        (lambda x: 1 / x, 1),
        (lambda x: jnp.square(x), 1),
    ],
)
def test_quotients_and_squares_keep_what_there_is(f, kept, capsys):
    """No array of the full size beside operands and results, which are needed anyway."""
    report = functrax.saved_report(f)(jnp.ones((20, 30)))
    rows = [row for row in report.rows if row.type == "f32[20,30]" and row.status == "saved"]
    assert len(rows) == kept


def test_a_norm_centers_once():
    f = functrax.grad(lambda x: ((x - jnp.mean(x, 0)) / jnp.sqrt(jnp.var(x, 0) + 1)).sum())
    jaxpr = optimize(functrax.make_jaxpr(f)(jnp.ones((20, 30))).jaxpr)
    assert [eqn.primitive.name for eqn in jaxpr.eqns].count("sub") == 1
