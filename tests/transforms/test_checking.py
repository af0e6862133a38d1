"""`debug_nans`, `debug_infs`, `debug_index`, and `functrax.checking`: what fails first, and where."""

import linecache
import re

import jax
import jax.numpy
import numpy as np
import pytest
from jax.experimental import checkify as jax_checkify

import functrax as fx
import functrax.numpy as jnp
from functrax import checking, errors, lax

FILE = "test_checking.py"
NAN_FIX = (
    "Look at what this line computes on, or keep such values from it with `jnp.where` before it."
)
INF_FIX = "Look at what this line computes on: is it too large, or a division by zero?"
INDEX_FIX = "Mend the index, or say with `mode=` what happens outside of the array."


def line(marker):
    """Return ``file:line`` of the line of this file that ends with a marker."""
    for number, text in enumerate(linecache.getlines(__file__), 1):
        if text.rstrip().endswith(f"# {marker}"):
            return f"{FILE}:{number}"
    raise LookupError(marker)


def failure(f, *args):
    """Return the class and the message of what a call raises."""
    with pytest.raises(errors.FunctraxError) as caught:
        jax.block_until_ready(f(*args))  # raises
    return type(caught.value), str(caught.value)


# ---- programs that make a NaN in one known place


def plain(x):
    return jnp.log(x)  # plain


def in_scan(x):
    def body(c, step):
        return c - step, jnp.log(c)  # scan

    return lax.scan(body, x, jnp.ones(4))[1].sum()


def in_reverse_scan(x):
    def body(c, step):
        return c, jnp.log(step + x)  # reverse scan

    return lax.scan(body, x, jnp.array([1.0, 2.0, -3.0, 4.0]), reverse=True)[1].sum()


def in_while(x):
    def body(state):
        i, c, _ = state
        return i + 1, c - 1.0, jnp.sqrt(c)  # while

    return lax.while_loop(lambda state: state[0] < 5, body, (0, x, 0.0))[2]


def in_condition(x):
    def test(state):
        i, c = state
        return (i < 5) & (jnp.log(c) < 100.0)  # condition

    return lax.while_loop(test, lambda state: (state[0] + 1, state[1] - 1.0), (0, x))[1]


def in_fori(x):
    return lax.fori_loop(0, 6, lambda i, c: c + jnp.log(x - i), 0.0)  # fori


def in_branch(x):
    return lax.cond(x > 0, lambda y: jnp.log(y - 2.0), lambda y: y, x)  # branch


def in_switch(x):
    branches = [lambda y: y, lambda y: jnp.sqrt(-y), jnp.exp]  # switch
    return lax.switch(1, branches, x)


def in_nested(x):
    def inner(c, j):
        return c, jnp.log(x + 2.0 - c * 2.0 - j)  # nested

    def outer(c, i):
        return c, lax.scan(inner, i, jnp.arange(3.0))[1].sum()

    return lax.scan(outer, 0.0, jnp.arange(3.0))[1].sum()


def in_call(x):
    return fx.jit(lambda y: jnp.sqrt(y - 2.0))(x)  # call


def in_checkpoint(x):
    return fx.checkpoint(lambda y: jnp.sqrt(y - 2.0))(x)  # checkpoint


@fx.custom_jvp
def with_jvp(x):
    return jnp.sqrt(x - 2.0)  # custom_jvp


with_jvp.defjvps(lambda t, out, x: t)


@fx.custom_vjp
def with_vjp(x):
    return jnp.sqrt(x - 2.0)  # custom_vjp


with_vjp.defvjp(lambda x: (x, x), lambda x, g: (g,))

# program, argument, primitive, iterations, line
PLACES = {
    "plain": (plain, -1.0, "log", ""),
    "scan": (in_scan, 1.5, "log", "at iteration 2 "),
    "reverse scan": (in_reverse_scan, 1.0, "log", "at iteration 2 "),
    "while": (in_while, 1.5, "sqrt", "at iteration 2 "),
    "condition": (in_condition, 1.5, "log", "at iteration 2 "),
    "fori": (in_fori, 2.5, "log", "at iteration 3 "),
    "branch": (in_branch, 1.0, "log", ""),
    "switch": (in_switch, 1.0, "sqrt", ""),
    "nested": (in_nested, 1.5, "log", "at iterations 1, 2 (the outermost loop first) "),
    "call": (in_call, 1.0, "sqrt", ""),
    "checkpoint": (in_checkpoint, 1.0, "sqrt", ""),
    "custom_jvp": (with_jvp, 1.0, "sqrt", ""),
    "custom_vjp": (with_vjp, 1.0, "sqrt", ""),
}


@pytest.mark.parametrize("marker", PLACES)
def test_the_equation_line_and_iteration_are_named(marker):
    f, x, primitive, steps = PLACES[marker]
    name = getattr(f, "__name__", None)
    with fx.debug_nans(True):
        kind, text = failure(fx.jit(f), x)
    assert kind is errors.NonFiniteError
    assert issubclass(kind, FloatingPointError)
    assert text == (
        f"[{name}] expected no NaN; got one from {primitive!r} {steps}in the forward pass "
        f"({line(marker)}). {NAN_FIX}"
    )


@pytest.mark.parametrize("marker", PLACES)
def test_mapped_programs_name_the_same_place(marker):
    f, x, primitive, steps = PLACES[marker]
    with fx.debug_nans(True):
        _, text = failure(fx.jit(fx.vmap(f)), jnp.array([100.0, x, x]))
    if marker == "switch":
        steps = ""  # all lanes fail, the first of them as well
    assert f"got one from {primitive!r} {steps}in the forward pass ({line(marker)})" in text


@pytest.mark.parametrize("marker", sorted(PLACES.keys() - {"custom_jvp", "custom_vjp"}))
def test_differentiated_programs_name_the_same_place(marker):
    f, x, primitive, steps = PLACES[marker]
    with fx.debug_nans(True):
        _, text = failure(fx.jit(fx.value_and_grad(f)), x)
    assert f"{steps}in the forward pass ({line(marker)})" in text
    assert repr(primitive) in text


@pytest.mark.parametrize("marker", PLACES)
def test_eager_programs_name_the_line(marker):
    f, x, primitive, _ = PLACES[marker]
    with fx.debug_nans(True):
        _, text = failure(f, x)
    assert f"got one from {primitive!r}" in text
    assert f"({line(marker)})" in text


@pytest.mark.parametrize("marker", PLACES)
def test_checkify_names_the_same_place(marker):
    f, x, primitive, steps = PLACES[marker]
    checked = checking.checkify(f, errors=checking.nan_checks)
    error, _ = checked(x)
    found = f"got one from {primitive!r} {steps}in the forward pass ({line(marker)})"
    assert found in error.get()
    error, _ = fx.vmap(checked)(jnp.array([100.0, x]))
    text = error.get()
    if marker != "switch":
        assert text.startswith("at mapped index 1: ")
        assert "index 0" not in text


@pytest.mark.parametrize("marker", sorted(PLACES.keys() - {"switch"}))
def test_what_is_right_passes(marker):
    f = PLACES[marker][0]
    plainly = f(100.0)
    with fx.config.scope(debug_nans=True, debug_infs=True, debug_index=True):
        np.testing.assert_allclose(fx.jit(f)(100.0), plainly, rtol=1e-6)
        np.testing.assert_allclose(fx.jit(fx.vmap(f))(jnp.array([100.0, 90.0]))[0], plainly, 1e-6)
    error, value = checking.checkify(f, errors=checking.all_checks)(100.0)
    assert error.get() is None
    np.testing.assert_allclose(value, plainly, rtol=1e-6)


# ---- forward and backward


def backward_place(x):
    y = jnp.sqrt(x)  # backward
    return jnp.where(x > 0, y, 0.0)


def backward_scan(x):
    def body(c, _):
        y = jnp.sqrt(c)  # backward scan
        return c - 1.0, jnp.where(c > 0, y, 0.0)

    return lax.scan(body, x, None, length=4)[1].sum()


@fx.custom_vjp
def bad_backward(x):
    return x


def bad_rule(_, g):
    return (jnp.log(g - 2.0),)  # bwd rule


bad_backward.defvjp(lambda x: (x, None), bad_rule)


@pytest.mark.parametrize(
    ("f", "marker", "steps"),
    [
        (backward_place, "backward", ""),
        (fx.checkpoint(backward_place), "backward", ""),
        (backward_scan, "backward scan", "at iteration 3 "),
        (bad_backward, "bwd rule", ""),
        (lambda x: fx.jit(bad_backward)(x), "bwd rule", ""),
    ],
)
def test_the_backward_pass_is_told_apart(f, marker, steps):
    x = 3.0 if "scan" in marker else 0.0
    with fx.debug_nans(True):
        assert not np.isnan(fx.jit(f)(x))
        _, text = failure(fx.jit(fx.grad(f)), x)
    assert f"{steps}in the backward pass ({line(marker)}). {NAN_FIX}" in text
    with fx.debug_nans(True):
        _, text = failure(fx.grad(f), x)
    assert f"{steps}in the backward pass ({line(marker)}). {NAN_FIX}" in text
    error, _ = checking.checkify(fx.grad(f), errors=checking.nan_checks)(x)
    assert f"{steps}in the backward pass ({line(marker)})" in str(error.get())


@pytest.mark.parametrize("max_steps", [None, 9])
def test_the_backward_pass_of_while_is_told_apart(max_steps):
    def f(x):
        def body(state):
            i, c, total = state
            y = jnp.sqrt(c)  # backward while
            return i + 1, jnp.where(i < 2, c - 1.0, 1.0), total + jnp.where(c > 0, y, 0.0)

        start = (0, x, 0.0)
        return lax.while_loop(lambda state: state[0] < 5, body, start, max_steps=max_steps)[2]

    with fx.debug_nans(True):
        _, text = failure(fx.jit(fx.grad(f)), 2.0)
    assert f"at iteration 2 in the backward pass ({line('backward while')})" in text


def test_derivatives_that_stand_for_programs():
    def steps(x):
        def body(state):
            i, c = state
            return i + 1, c * jnp.sqrt(3.0 - c)  # linear while

        return lax.while_loop(lambda state: state[0] < 3, body, (0, x))[1]

    @fx.custom_vjp
    def f(x):
        return jnp.where(x > 0, jnp.sqrt(x), 0.0)  # tangent of custom_vjp

    f.defvjp(lambda x: (f(x), None), lambda _, g: (g,))
    with fx.debug_infs(True):
        push = fx.jit(lambda x: fx.linearize(steps, x)[1](1.0))
        assert np.isfinite(push(1.0))
        _, text = failure(push, 3.0)
        assert f"'div' at iteration 0 in the forward pass ({line('linear while')})" in text
        _, text = failure(fx.jit(lambda x: fx.jvp(f, (x,), (1.0,))), 0.0)
        assert f"'div' in the forward pass ({line('tangent of custom_vjp')})" in text
    tangent = checking.checkify(lambda x: fx.jvp(f, (x,), (1.0,))[1], errors=checking.nan_checks)
    error, _ = tangent(-1.0)
    assert f"'sqrt' in the forward pass ({line('tangent of custom_vjp')})" in error.get()


def test_backward_equations_are_marked_in_metadata():
    with_scope = fx.named_scope("layer")(lambda x: jnp.sin(x) * jnp.exp(x))
    text = fx.jit(fx.grad(with_scope)).lower(1.0).as_text(debug_info=True)
    assert "transpose(layer)/mul" in text
    assert '"layer/cos"' in text


def test_the_line_of_a_jvp_rule_is_named():
    @fx.custom_jvp
    def f(x):
        return x

    @f.defjvp
    def rule(primals, tangents):
        return f(*primals), tangents[0] * jnp.log(primals[0])  # jvp rule

    with fx.debug_nans(True):
        _, text = failure(fx.jit(fx.grad(f)), -1.0)
    assert f"got one from 'log' in the forward pass ({line('jvp rule')})" in text


# ---- infinities


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64"])
def test_infinities_and_nans_of_each_dtype(dtype):
    f = fx.jit(lambda x, y: x / y)
    one, zero = jnp.ones(3, dtype), jnp.zeros(3, dtype)
    with fx.debug_infs(True):
        if dtype != "complex64":  # there it is NaN, by XLA's formula
            _, text = failure(f, one, zero)
            assert "expected no infinity; got one from 'div' in the forward pass" in text
            assert text.endswith(INF_FIX)
        f(one, one)
    with fx.debug_nans(True):
        _, text = failure(f, zero, zero)
        assert "expected no NaN; got one from 'div' in the forward pass" in text
        f(one, one)


def test_only_what_is_asked_for_is_checked():
    with fx.debug_nans(True):
        assert np.isinf(fx.jit(jnp.log)(0.0))
    with fx.debug_infs(True):
        assert np.isnan(fx.jit(jnp.log)(-1.0))
    assert np.isnan(fx.jit(jnp.log)(-1.0))


def test_values_that_are_only_moved_are_not_made():
    """NaN as a mark for what is missing stays one."""
    with fx.debug_nans(True):
        marked = fx.jit(lambda x: jnp.where(x > 0, x, jnp.nan)[::-1])(jnp.array([-1.0, 2.0]))
        assert np.isnan(marked[1])
        assert fx.jit(lambda x: jnp.where(jnp.isnan(x), 0.0, x).sum())(marked) == 2.0
        _, text = failure(fx.jit(lambda x: x + 1.0), marked)
    assert "got one from 'add'" in text


def test_the_first_is_named_not_the_last():
    def f(x):
        y = jnp.log(x)  # first
        z = jnp.sqrt(y)
        return jnp.sin(z).sum()

    with fx.debug_nans(True):
        _, text = failure(fx.jit(f), -jnp.ones(3))
    assert f"'log' in the forward pass ({line('first')})" in text


def test_a_loop_that_would_not_end_does():
    def f(x):
        return lax.while_loop(lambda c: ~(c > 1e9), lambda c: jnp.log(c - 2.0), x)

    with fx.debug_nans(True):
        _, text = failure(fx.jit(f), 1.0)
    assert "at iteration 0" in text


def test_donated_arguments_are_taken_all_the_same():
    x = -jnp.ones(3)
    with fx.debug_nans(True):
        failure(fx.jit(jnp.log, donate_argnums=0), x)
    assert x.is_deleted()


def test_compiled_ahead_of_time():
    with fx.debug_nans(True):
        compiled = fx.jit(plain).lower(1.0).compile()
    assert compiled(1.0) == 0.0
    _, text = failure(compiled, -1.0)
    assert f"({line('plain')})" in text
    with fx.debug_nans(True):
        assert np.isnan(lowered_before(-1.0))


lowered_before = fx.jit(plain).lower(1.0).compile()


def test_unused_and_empty_arrays():
    with fx.debug_nans(True):
        assert fx.jit(lambda x: (jnp.log(x), x)[1])(-1.0) == -1.0
        assert fx.jit(lambda x: jnp.log(x))(jnp.zeros((0, 3))).shape == (0, 3)


def test_a_library_function_names_the_line_of_its_caller():
    with fx.debug_nans(True):
        failure(jnp.std, jnp.array([jnp.inf, 1.0]))
        _, text = failure(lambda x: jnp.std(x), jnp.array([jnp.inf, 1.0]))  # second caller
    assert f"({line('second caller')})" in text


@pytest.mark.parametrize("marker", ["plain", "nested", "while", "branch", "checkpoint"])
@pytest.mark.parametrize("transform", [lambda f: f, fx.grad, fx.vmap])
def test_off_the_program_is_the_same(marker, transform):
    f, x, _, _ = PLACES[marker]
    argument = jnp.array([x]) if transform is fx.vmap else x

    def text():
        return fx.jit(lambda y: transform(f)(y)).lower(argument).as_text()

    before = text()
    with fx.config.scope(debug_nans=True, debug_infs=True, debug_index=True):
        assert text() != before
    assert text() == before
    assert "i32" not in text() or marker != "plain"


# ---- indices

ARRAY = np.arange(5.0, dtype="float32")

# expression | call | what is expected | the index that is named
INDICES = """
x[i] | getitem | an index within axis 0 of size 5 | 7
x[-i] | getitem | an index within axis 0 of size 5 | -7
x[jnp.stack([0 * i, i])] | getitem | an index within axis 0 of size 5 | 7
x.reshape(1, 5)[:, i] | getitem | an index within axis 1 of size 5 | 7
x.reshape(1, 5)[0 * i, i] | getitem | an index within axis 1 of size 5 | 7
x.at[i].get() | getitem | an index within axis 0 of size 5 | 7
x.at[i].get(mode="promise_in_bounds") | getitem | an index within axis 0 of size 5 | 7
x.at[i].set(0.0) | at[].set | an index within axis 0 of size 5 | 7
x.at[jnp.stack([i])].add(1.0) | at[].add | an index within axis 0 of size 5 | 7
jnp.take(x, i) | take | an index within axis 0 of size 5 | 7
jnp.take_along_axis(x, -i[None], 0) | take_along_axis | an index within axis 0 of size 5 | -7
lax.dynamic_slice(x, (i,), (2,)) | dynamic_slice | the start of 2 elements within axis 0 of size 5 | 7
lax.dynamic_slice(x, (i - 3,), (2,)) | dynamic_slice | the start of 2 elements within axis 0 of size 5 | 4
lax.dynamic_slice(x, (6 - i,), (2,)) | dynamic_slice | the start of 2 elements within axis 0 of size 5 | -1
lax.dynamic_index_in_dim(x, i) | dynamic_slice | an index within axis 0 of size 5 | 7
lax.dynamic_update_slice(x, x[:2], (i,)) | dynamic_update_slice | the start of 2 elements within axis 0 of size 5 | 7
lax.gather(x, i[None], GATHER, (1,)) | gather | an index within axis 0 of size 5 | 7
lax.scatter(x, i[None], x[0], SCATTER) | scatter | an index within axis 0 of size 5 | 7
"""
NAMES = {
    "jnp": jnp,
    "lax": lax,
    "GATHER": lax.GatherDimensionNumbers((), (0,), (0,)),
    "SCATTER": lax.ScatterDimensionNumbers((), (0,), (0,)),
}
ROWS = [[part.strip() for part in row.split("|")] for row in INDICES.strip().splitlines()]


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_indices_out_of_bounds(row):
    expression, call, expected, index = row
    f = eval(f"lambda x, i: {expression}", NAMES)
    x = jnp.asarray(ARRAY)
    here = (
        f"[{call}] expected {expected}; got {index} in the forward pass (<string>:1). {INDEX_FIX}"
    )
    with fx.debug_index(True):
        kind, text = failure(fx.jit(f), x, jnp.int32(7))
        assert (kind, text) == (errors.BoundsError, here)
        assert isinstance(kind("", ""), IndexError)
        _, text = failure(fx.jit(fx.vmap(f, in_axes=(None, 0))), x, jnp.array([7, 6, 9]))
        assert text == here
        _, text = failure(fx.jit(fx.grad(lambda x, i: f(x, i).sum())), x, jnp.int32(7))
        assert text == here
        kind, text = failure(f, x, jnp.int32(7))
        assert kind is errors.BoundsError
        assert text.startswith(f"[{call}] expected {expected}; got {index} ")
    error, _ = fx.jit(checking.checkify(f, errors=checking.index_checks))(x, jnp.int32(7))
    assert error.get() == here
    fx.jit(f)(x, 7)  # off: as ever


@pytest.mark.parametrize(
    "f",
    [
        lambda x, i: x.at[i].get(mode="clip"),
        lambda x, i: x.at[i].get(mode="fill"),
        lambda x, i: x.at[i].set(1.0, mode="drop"),
        lambda x, i: x.at[jnp.stack([i])].set(1.0, mode="drop"),
        lambda x, i: jnp.take(x, i, mode="clip"),
        lambda x, i: jnp.take(x, i, mode="wrap"),
        lambda x, i: jnp.nonzero(x > i, size=3)[0],
        lambda x, i: x[i - 7],
        lambda x, i: x[i - 12],
        lambda x, i: lax.dynamic_slice(x, (i - 9,), (2,)),
        lambda x, i: lax.gather(x, i[None], NAMES["GATHER"], (1,), mode="clip"),
        lambda x, i: jnp.sort(x)[::-1],
        lambda x, i: jnp.interp(i * 1.0, x, x),
    ],
)
def test_what_is_meant_is_no_error(f):
    x = jnp.asarray(ARRAY)
    index = jnp.int32(7)
    with fx.debug_index(True):
        checked = fx.jit(f)(x, index)
    np.testing.assert_array_equal(checked, fx.jit(f)(x, index))


def test_indices_in_loops_and_branches():
    x = jnp.asarray(ARRAY)

    def loop(n):
        return lax.fori_loop(0, n, lambda i, c: c + x[i], 0.0)  # index loop

    with fx.debug_index(True):
        assert fx.jit(loop)(5) == 10.0
        _, text = failure(fx.jit(loop), 8)
        assert f"got 5 at iteration 5 in the forward pass ({line('index loop')})" in text
        branch = fx.jit(lambda p: lax.cond(p, lambda: x[jnp.int32(9) * p], lambda: 0.0))
        assert branch(False) == 0.0
        _, text = failure(branch, True)
        assert "got 9 in the forward pass" in text


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "uint32", "int64", "uint64"])
def test_indices_of_each_dtype(dtype):
    with fx.debug_index(True):
        big = fx.jit(lambda x, i: x[i])
        assert big(jnp.arange(300), jnp.asarray(100, dtype)) == 100
        _, text = failure(big, jnp.arange(5), jnp.asarray(100, dtype))
        assert "got 100 in" in text


# ---- check and checkify


def positive(x):
    checking.check(x > 0, "x must be positive, not {:.1f} and {y}", x, y=2 * x)  # positive
    return jnp.log(x)


def test_check_outside_of_programs_raises():
    assert positive(1.0) == 0.0
    kind, text = failure(positive, -1.0)
    assert issubclass(kind, ValueError)
    assert (kind, text) == (
        errors.CheckError,
        f"x must be positive, not -1.0 and -2.0 (`check` failed at {line('positive')}, "
        "in the forward pass)",
    )
    assert failure(fx.grad(positive), -1.0)[0] is errors.CheckError
    assert "not -3.0 and" in failure(fx.vmap(positive), jnp.array([1.0, -3.0, -4.0]))[1]


def test_a_check_that_nothing_handles_is_refused():
    kind, text = failure(fx.jit(positive), 1.0)
    assert (kind, text) == (
        errors.UnhandledCheckError,
        "[check] expected a program that is compiled to hand its checks on; got the check "
        "'x must be positive, not {:.1f} and {y}', which nothing handles "
        f"({line('raises')}). Call `jit(checking.checkify(f))` and look "
        "at the error that it returns, or use `debug_check`, which counts only there.",
    )
    other = checking.checkify(positive, errors=checking.nan_checks)
    assert failure(other, 1.0)[0] is errors.UnhandledCheckError
    assert failure(fx.jit(lambda x: (positive(x), x)[1]), 1.0)[0] is errors.UnhandledCheckError


def test_checkify_returns_the_error():
    checked = checking.checkify(positive)
    for f in (checked, fx.jit(checked)):
        error, value = f(-1.0)
        assert np.isnan(value)
        assert error.get().startswith("x must be positive, not -1.0 and -2.0 (")
        assert repr(error) == f"Error({error.get()})"
        assert isinstance(error.get_exception(), errors.CheckError)
        with pytest.raises(errors.CheckError, match="x must be positive"):
            error.throw()
        error, value = f(1.0)
        assert (error.get(), error.get_exception(), float(value)) == (None, None, 0.0)
        assert repr(error) == "Error(None)"
        error.throw()


ONE = "x must be positive, not -3.0 and -6.0"
LANES = jnp.array([1.0, -3.0, 2.0, -4.0])


def test_checkify_in_any_order():
    with_error = lambda f: lambda x: f(x)[::-1]  # noqa: E731  (grad wants the value first)
    grad_of = fx.grad(with_error(checking.checkify(positive)), has_aux=True)
    for f in (grad_of, fx.jit(grad_of)):
        slope, error = f(-3.0)
        assert float(slope) == pytest.approx(-1 / 3)
        assert error.get().startswith(ONE)
    for f in (fx.grad(positive), fx.jit(fx.grad(fx.jit(positive))), fx.jacfwd(positive)):
        error, slope = checking.checkify(f)(-3.0)
        assert float(slope) == pytest.approx(-1 / 3)
        assert error.get().startswith(ONE)
    for f in (fx.vmap(positive), fx.jit(fx.vmap(positive)), fx.vmap(fx.grad(positive))):
        error, _ = fx.jit(checking.checkify(f))(LANES)
        assert error.get().startswith(ONE)
    checked = checking.checkify(positive)
    for f in (fx.vmap(checked), fx.jit(fx.vmap(checked)), fx.vmap(fx.jit(checked))):
        error, _ = f(LANES)
        first, second = error.get().splitlines()
        assert first.startswith(f"at mapped index 1: {ONE}")
        assert second.startswith("at mapped index 3: x must be positive, not -4.0")
        with pytest.raises(errors.CheckError, match="at mapped index 1"):
            raise error.get_exception()
        error, _ = f(jnp.ones(3))
        assert error.get() is None
    slopes, error = fx.vmap(grad_of)(LANES)
    np.testing.assert_allclose(slopes, 1 / np.asarray(LANES), rtol=1e-6)
    assert "at mapped index 1, " not in error.get()
    error, _ = fx.vmap(fx.vmap(checked))(LANES.reshape(2, 2))
    assert error.get().startswith(f"at mapped index 0, 1: {ONE}")


def checked_loop(x):
    def body(c, y):
        checking.check(y > 0, "y is {}", y)
        return c * y, c

    return lax.scan(body, x, LANES)[0]


def checked_while(x):
    def body(c):
        checking.check(c > -1, "c is {}", c)
        return c - 1

    return lax.while_loop(lambda c: c > -3, body, x)


@fx.custom_vjp
def checked_vjp(x):
    checking.check(x > 10, "x is {}", x)
    return 2.0 * x


checked_vjp.defvjp(lambda x: (checked_vjp(x), None), lambda _, g: (3.0 * g,))


@fx.custom_jvp
def checked_jvp(x):
    checking.check(x > 10, "x is {}", x)
    return 2.0 * x


checked_jvp.defjvp(lambda p, t: (checked_jvp(*p), 3.0 * t[0]))
CHECKED = {
    "scan": (checked_loop, "y is -3.0", "at iteration 1 in"),
    "while": (checked_while, "c is -1.0", "at iteration 3 in"),
    "custom_vjp": (checked_vjp, "x is 2.0", "in"),
    "custom_jvp": (checked_jvp, "x is 2.0", "in"),
    "checkpoint": (fx.checkpoint(checked_loop), "y is -3.0", "at iteration 1 in"),
    "cond": (
        lambda x: lax.cond(x > 0, checked_vjp, lambda y: y, x),
        "x is 2.0",
        "in",
    ),
}


@pytest.mark.parametrize("name", CHECKED)
def test_checks_in_programs_under_transforms(name):
    f, text, place = CHECKED[name]
    checked = checking.checkify(f)
    second_first = lambda x: checked(x)[::-1]  # noqa: E731
    found = [
        checked(2.0)[0],
        fx.jit(checked)(2.0)[0],
        checking.checkify(fx.grad(f))(2.0)[0],
        checking.checkify(lambda x: fx.jvp(f, (x,), (1.0,)))(2.0)[0],
        checking.checkify(fx.vmap(f))(jnp.full(2, 2.0))[0],
        fx.grad(second_first, has_aux=True)(2.0)[1],
        fx.jit(fx.grad(second_first, has_aux=True))(2.0)[1],
        checking.checkify(fx.jit(fx.vmap(fx.grad(f))))(jnp.full(2, 2.0))[0],
    ]
    for error in found:
        assert error.get().startswith(text)
        assert error.get().endswith(f"{place} the forward pass)")
    error, _ = fx.vmap(checked)(jnp.array([2.0]))
    assert error.get().startswith(f"at mapped index 0: {text}")
    with pytest.raises(errors.CheckError):
        checking.check_error(error)
    slope = float(fx.grad(lambda x: checked(x)[1])(20.0))
    assert slope == {"custom_vjp": 3.0, "custom_jvp": 3.0, "cond": 3.0, "while": 1.0}.get(name, 24)


def test_the_branch_that_is_not_taken_has_no_error():
    f = checking.checkify(lambda x: lax.cond(x > 0, positive, lambda y: y, x))
    assert f(-1.0)[0].get() is None
    assert fx.vmap(f)(LANES)[0].get() is None
    assert checking.checkify(fx.vmap(lambda x: f(x)[1]))(LANES)[0].get() is None


def test_a_check_in_a_condition():
    def test(c):
        checking.check(c > 0, "c is {}", c)
        return c > -2

    f = checking.checkify(lambda x: lax.while_loop(test, lambda c: c - 1, x))
    assert "c is 0.0 (`check`" in f(3.0)[0].get()
    assert "at iteration 3 in" in f(3.0)[0].get()
    assert "at iteration 0 in" in f(-1.0)[0].get()
    assert float(f(3.0)[1]) == -2.0


def test_kinds_of_checks():
    divided = checking.checkify(lambda x, y: x / y, errors=checking.div_checks)
    error, value = divided(1.0, 0.0)
    assert np.isinf(value)
    assert error.get().startswith(
        "[<lambda>] expected a divisor that is not zero; got zero in 'div' in the forward pass ("
    )
    with pytest.raises(ZeroDivisionError):
        error.throw()
    assert divided(1.0, 2.0)[0].get() is None
    whole = checking.checkify(lambda x, y: (x // y, x % y), errors=checking.div_checks)
    assert "zero in" in whole(1, jnp.array([1, 0]))[0].get()
    assert checking.checkify(lambda x: x / 2, errors=checking.div_checks)(1.0)[0].get() is None
    assert checking.float_checks == checking.nan_checks | checking.div_checks
    assert checking.all_checks == checking.automatic_checks | checking.user_checks


def test_the_first_of_several_kinds_wins():
    def f(x, i):
        y = jnp.arange(3.0)[i]
        checking.check(y < 0, "y is {}", y)
        return jnp.log(x)

    def kind(errors, *args):
        return type(checking.checkify(f, errors=errors)(*args)[0].get_exception())

    assert kind(checking.all_checks, -1.0, 5) is errors.BoundsError
    assert kind(checking.all_checks, -1.0, 1) is errors.CheckError
    both = checking.user_checks | checking.nan_checks
    assert kind(both, -1.0, 5) is errors.CheckError


def test_nested_checkify_splits_the_kinds():
    inner = checking.checkify(positive, errors=checking.nan_checks)
    outer_error, (inner_error, _) = checking.checkify(inner)(-1.0)
    assert isinstance(outer_error.get_exception(), errors.CheckError)
    assert isinstance(inner_error.get_exception(), errors.NonFiniteError)


def test_check_error_hands_on():
    def f(x):
        error, value = checking.checkify(positive)(x)
        checking.check_error(error)
        return value

    with pytest.raises(errors.CheckError, match=r"x must be positive, not -3\.0"):
        f(-3.0)
    assert checking.checkify(f)(-3.0)[0].get().startswith(ONE)
    assert checking.checkify(f)(3.0)[0].get() is None
    with pytest.raises(errors.UnhandledCheckError):
        fx.jit(f)(-3.0)
    checking.check_error(checking.init_error)
    assert checking.init_error.get() is None

    def mapped(x):
        error, value = fx.vmap(checking.checkify(positive))(x)
        checking.check_error(error)
        return value

    assert checking.checkify(mapped)(LANES)[0].get().startswith(ONE)


def test_debug_check_counts_only_under_checkify():
    def f(x):
        checking.debug_check(x > 0, "x is {}", x)
        return x

    assert (f(-1.0), float(fx.jit(f)(-1.0))) == (-1.0, -1.0)
    assert float(fx.jit(fx.grad(f))(-1.0)) == 1.0
    assert checking.checkify(f)(-1.0)[0].get().startswith("x is -1.0 (")


def test_arguments_are_pytrees_and_keywords():
    def f(tree, *, scale=1.0):
        checking.check((tree["a"] > 0).all(), "{0[a]} {1}", tree, (scale,))
        return {"b": tree["a"] * scale}

    error, out = fx.jit(checking.checkify(f))({"a": jnp.array([1, -1])}, scale=3.0)
    assert error.get().startswith("[ 1 -1] (3.0,)") or error.get().startswith("[ 1 -1] (np.float32")
    assert out["b"].shape == (2,)


def test_values_of_each_kind_are_shown():
    def f(x):
        checking.check(x > 2, "{} {} {{}} {:d} {z[0]}", x > 1, x.astype(complex), x, z=[x * 0.5])
        return x

    for error, _ in (checking.checkify(f)(1), fx.vmap(checking.checkify(f))(jnp.array([1]))):
        assert "False (1+0j) {} 1 0.5 (" in error.get()


def test_jitted_functions_inside_are_checked_too():
    read = fx.jit(lambda x, i: x[i])
    x = jnp.arange(3)
    assert read(x, 7) == 2
    error, _ = checking.checkify(lambda i: read(x, i), errors=checking.index_checks)(7)
    assert "got 7 in the forward pass" in error.get()
    assert read(x, 7) == 2


def test_named_axes():
    def f(x):
        share = x / lax.psum(x, "i")
        checking.check(share < 0.5, "share {}", share)
        return share

    x = jnp.array([1.0, 1.0, 6.0])
    error, _ = fx.jit(fx.vmap(checking.checkify(f), axis_name="i"))(x)
    assert error.get().startswith("at mapped index 2: share 0.75 (")
    error, _ = checking.checkify(fx.vmap(f, axis_name="i"))(x)
    assert error.get().startswith("share 0.75 (")
    with fx.debug_nans(True):
        _, text = failure(fx.jit(fx.vmap(f_without_check, axis_name="i")), x * 0.0)
    assert "got one from 'div'" in text


def f_without_check(x):
    return x / lax.psum(x, "i")


def test_an_error_is_a_pytree():
    checked = fx.jit(checking.checkify(positive))
    error, _ = checked(-1.0)
    on_host = fx.tree.map(np.asarray, error)
    assert on_host.get() == error.get()
    with pytest.raises(errors.CheckError):
        on_host.throw()
    assert fx.tree.structure(error) == fx.tree.structure(checked(1.0)[0])
    start, _ = checked(jnp.float32(1.0))
    last, _ = lax.scan(lambda _, x: checked(x), start, jnp.array([1.0, -2.0]))
    assert last.get().startswith("x must be positive, not -2.0")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: checking.check(jnp.ones(2) > 0, "m"),
            "[check] expected a predicate that is a boolean scalar; got bool[2] ({}). Reduce it "
            "with `.all()`, or compare it with something.",
        ),
        (
            lambda: checking.check(1.0, "m"),
            "[check] expected a predicate that is a boolean scalar; got ~f32[] ({}). Reduce it "
            "with `.all()`, or compare it with something.",
        ),
        (
            lambda: checking.check(True, 3),
            "[check] expected a str as the message; got 3 of type int ({}).",
        ),
        (
            lambda: checking.check(True, "{}", "text"),
            "[check] expected argument '[0][0]' to be an array or a number; got 'text' of type str "
            "({}). Put what is no array into the message itself, with an f-string.",
        ),
        (
            lambda: checking.check(True, "{} {y} {", 1.0),
            "[check] expected a format string whose fields are among the arguments as the message; "
            "got '{{}} {{y}} {{' with 1 by position and none by name ({}). Write braces that are "
            "no fields as `{{{{` and `}}}}`.",
        ),
        (
            lambda: checking.check(True, "{}", fx.random.key(0)),
            "[check] expected numbers to show; got a PRNG key ({}). Pass `random.key_data(key)`.",
        ),
        (
            lambda: checking.checkify(jnp.sin, errors={"nans"}),
            "[checkify] expected a union of sets such as checking.user_checks and "
            "checking.nan_checks as errors; got {{'nans'}} of type set ({}).",
        ),
        (
            lambda: checking.check_error(3),
            "[check_error] expected an Error that checkify returned; got 3 of type int ({}).",
        ),
        (lambda: checking.checkify(3), "[checkify] expected a function; got 3 of type int ({}). "
         "Pass it as `checkify(f)(x)`."),
    ],
)  # fmt: skip
def test_messages_of_wrong_arguments(call, message):
    kind, text = failure(call)
    assert kind is errors.ArgumentError
    where = re.search(rf"{FILE}:\d+", text)
    assert text == message.format(where and where.group())


def test_options():
    assert fx.config.debug_index is False
    with fx.debug_index(True):
        assert fx.config.debug_index
        assert repr(fx.config.trace_key()) == "TraceKey(debug_index=True)"


def test_printed_programs_show_checks():
    text = str(fx.make_jaxpr(positive)(1.0))
    assert "() = check[check=<UserCheck>]" in text


# ---- beside JAX

ORACLE = {
    "nan": (lambda np_, x: np_.log(x), "nan_checks", -1.0, 1.0),
    "div": (lambda np_, x: 1.0 / x, "div_checks", 0.0, 1.0),
    "index": (lambda np_, x: np_.arange(3.0)[x], "index_checks", 7, 1),
    "negative index": (lambda np_, x: np_.arange(3.0)[x], "index_checks", -7, -1),
    "nan of inf": (lambda np_, x: np_.sin(x), "float_checks", np.inf, 1.0),
    "integer division": (lambda np_, x: 5 // x, "div_checks", 0, 2),
}


@pytest.mark.parametrize("name", ORACLE)
def test_like_jax(name):
    f, kinds, bad, good = ORACLE[name]
    ours = checking.checkify(lambda x: f(jnp, x), errors=getattr(checking, kinds))
    theirs = jax_checkify.checkify(lambda x: f(jax.numpy, x), errors=getattr(jax_checkify, kinds))
    for x in (bad, good):
        (error, value), (jax_error, jax_value) = fx.jit(ours)(x), jax.jit(theirs)(x)
        assert (error.get() is None) == (jax_error.get() is None)
        if error.get() is None:
            np.testing.assert_allclose(value, jax_value)
    batch = np.array([good, bad])
    mapped, jax_mapped = fx.vmap(ours)(batch)[0].get(), jax.vmap(theirs)(batch)[0].get()
    assert mapped.partition(":")[0] == jax_mapped.partition(":")[0] == "at mapped index 1"
