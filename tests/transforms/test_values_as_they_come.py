"""What reaches a transformed function, and what comes back: Python values, pytrees, copies."""

import copy
import enum
import pickle

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors, lax


class Grade(enum.IntEnum):
    ONE = 1
    TWO = 2


class Metres(float):
    pass


# ---- pullbacks and linear functions are pytrees


@pytest.mark.parametrize("jit", [functrax.jit, lambda f: f])
def test_vjp_returns_a_pytree(jit):
    x = jnp.arange(3.0)
    y, pull = jit(lambda x: functrax.vjp(jnp.sin, x))(x)
    np.testing.assert_allclose(y, np.sin(x), rtol=1e-6)
    assert isinstance(pull, functrax.tree_util.Partial)
    (found,) = jit(lambda pull, ct: pull(ct))(pull, jnp.ones(3))
    np.testing.assert_allclose(found, np.cos(x), rtol=1e-6)
    assert "<pullback of sin>" in repr(pull)


@pytest.mark.parametrize("jit", [functrax.jit, lambda f: f])
def test_linearize_returns_a_pytree(jit):
    x = jnp.arange(3.0)
    _, push = jit(lambda x: functrax.linearize(lambda x: {"y": jnp.sin(x)}, x))(x)
    found = jit(lambda push, t: push(t))(push, jnp.ones(3))
    np.testing.assert_allclose(found["y"], np.cos(x), rtol=1e-6)
    assert isinstance(push, functrax.tree_util.Partial)


def test_pullbacks_are_mapped_and_carried():
    xs = jnp.arange(3.0)
    pulls = functrax.vmap(lambda x: functrax.vjp(jnp.sin, x)[1])(xs)
    found = functrax.vmap(lambda pull: pull(1.0)[0])(pulls)
    np.testing.assert_allclose(found, np.cos(xs), rtol=1e-6)
    _, (ys, _) = lax.scan(lambda c, x: (c, functrax.vjp(jnp.sin, x)), 0.0, xs)
    np.testing.assert_allclose(ys, np.sin(xs), rtol=1e-6)


def test_a_pullback_as_residual_of_a_custom_rule():
    sin = functrax.custom_vjp(jnp.sin)
    sin.defvjp(lambda x: functrax.vjp(jnp.sin, x), lambda pull, ct: pull(2 * ct))
    for grad in (functrax.grad(sin), functrax.jit(functrax.grad(sin))):
        np.testing.assert_allclose(grad(1.0), 2 * np.cos(1.0), rtol=1e-6)


def test_a_pullback_of_a_pullback():
    def f(a):
        return functrax.vjp(lambda x: x * a * x, 2.0)[1](1.0)[0]

    np.testing.assert_allclose(functrax.grad(f)(3.0), 4.0)


# ---- keys beside numbers


def test_keys_beside_numbers():
    params = {"x": 2.0, "key": functrax.random.key(0)}
    got = functrax.device_get(params)
    assert got["key"] is params["key"]
    found = functrax.grad(
        lambda p: p["x"] ** 2 + 0 * functrax.random.normal(p["key"]), allow_int=True
    )(params)
    assert found["x"] == 4.0
    assert found["key"].dtype == functrax.dtypes.float0


# ---- weak types


@pytest.mark.parametrize("transform", ["jacfwd", "jacrev", "hessian"])
def test_jacobians_are_weak_where_values_are(transform):
    take = getattr(functrax, transform)
    assert take(lambda x: x**3)(2.0).weak_type
    assert not take(lambda x: x**3)(jnp.float32(2)).weak_type
    assert (take(lambda x: x**3)(2.0) * jnp.ones(2, "float16")).dtype == jnp.float16
    mixed = take(lambda x: x * jnp.ones(2, "float32"))(2.0)
    assert mixed.weak_type is (transform != "jacfwd")  # of the result's type, or the argument's


# ---- what vmap does not map


def test_vmap_leaves_what_it_does_not_map_as_it_is():
    xs = jnp.arange(3.0)
    none = {"in_axes": (None, 0)}
    np.testing.assert_allclose(
        functrax.vmap(lambda f, x: f(x), **none)(jnp.sin, xs), np.sin(xs), rtol=1e-6
    )
    scaled = functrax.vmap(lambda c, x: x * 2 if c["mode"] == "double" else x, **none)
    np.testing.assert_array_equal(scaled({"mode": "double"}, xs), 2 * xs)
    static = functrax.jit(lambda k, x: x * k, static_argnums=0)
    np.testing.assert_array_equal(functrax.vmap(static, **none)(3, xs), 3 * xs)
    kept = functrax.vmap(lambda k, x: x * isinstance(k, int) + k % 7, **none)(2**40, xs)
    np.testing.assert_array_equal(kept, xs + 2**40 % 7)
    rows = functrax.vmap(lambda table, i: table[i], **none)(np.arange(4.0), jnp.array([2, 1]))
    np.testing.assert_array_equal(rows, [2, 1])
    both = functrax.vmap(lambda k, x: (k, x), in_axes=(None, 0), out_axes=(None, 0))
    assert both(3, xs)[0] == 3


def test_a_mapped_argument_must_be_an_array():
    with pytest.raises(errors.ArgumentError) as caught:
        functrax.vmap(lambda f, x: f(x))(jnp.sin, jnp.ones(3))
    assert "argument 'f' to be an array or a number" in str(caught.value)


# ---- errors inside of vmap show one lane


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: lax.clamp(jnp.zeros(1), x, 1.0), "got f32[1], f32[3], f32[]"),
        (lambda x: x + jnp.ones(4), "got f32[3], f32[4]"),
        (lambda x: x.reshape(7), "a shape of 3 elements; got (7,)"),
        (lambda x: jnp.squeeze(x, 0), "axes (0,) of an array of shape (3,)"),
        (lambda x: lax.dynamic_slice(x, (0,), (5,)), "within the shape of f32[3]; got (5,)"),
    ],
)
def test_errors_inside_of_vmap_show_one_lane(function, text):
    with pytest.raises(errors.ShapeError) as caught:
        functrax.vmap(function)(jnp.ones((2, 3)))
    assert text in str(caught.value)
    with pytest.raises(errors.ShapeError) as caught:
        functrax.vmap(functrax.vmap(function, in_axes=1), in_axes=2)(jnp.ones((3, 2, 2)))
    assert text in str(caught.value)


# ---- calls outside of transformations take numbers as arrays

IDENTITIES = {
    "checkpoint": functrax.checkpoint,
    "custom_jvp": lambda f: _with_rule(functrax.custom_jvp(f)),
    "custom_vjp": lambda f: _with_rules(functrax.custom_vjp(f)),
    "linear_call": lambda f: (
        lambda x: functrax.custom_derivatives.linear_call(
            lambda r, x: f(x), lambda r, ct: ct, (), x
        )
    ),
}


def _with_rule(f):
    f.defjvps(lambda t, out, x: t)
    return f


def _with_rules(f):
    f.defvjp(lambda x: (f(x), None), lambda _, ct: (ct,))
    return f


@pytest.mark.parametrize("name", IDENTITIES)
def test_numbers_are_arrays_inside(name):
    wrap = IDENTITIES[name]
    assert wrap(lambda x: x.sum())(1.0) == 1.0
    assert wrap(lambda x: 1 / x)(0.0) == np.inf
    assert wrap(lambda x: x * x)(100_000) == np.int32(1410065408)
    assert wrap(lambda x: ~x)(True) == False  # noqa: E712
    found = wrap(lambda x: {"a": x, "b": 2})(1.0)
    assert all(isinstance(leaf, functrax.Array) for leaf in functrax.tree.leaves(found))


# ---- subclasses of Python's numbers


@pytest.mark.parametrize("number", [Grade.TWO, Metres(2.0)])
@pytest.mark.parametrize(
    "function",
    [
        jnp.asarray,
        lambda x: jnp.ones(2) + x,
        lambda x: x * jnp.ones(2, "int8"),
        functrax.jit(lambda x: x),
        lambda x: jnp.full(2, x),
        lambda x: jnp.maximum(x, jnp.ones(2)),
        lambda x: jnp.array([x, 3]),
        lambda x: jnp.where(True, x, 3),
        lambda x: lax.mul(jnp.ones(2), float(x) if isinstance(x, Metres) else x),
        functrax.grad(lambda x: x * 3.0, allow_int=True),
        lambda x: functrax.device_put(x),
    ],
)
def test_subclasses_of_numbers_are_numbers(number, function):
    plain = int(number) if isinstance(number, int) else float(number)
    found, wanted = function(number), function(plain)
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
    assert getattr(found, "weak_type", None) == getattr(wanted, "weak_type", None)
    if found.dtype != functrax.dtypes.float0:
        np.testing.assert_array_equal(found, wanted)


# ---- masked arrays


@pytest.mark.parametrize(
    "function",
    [
        jnp.mean,
        jnp.asarray,
        functrax.device_put,
        jnp.sin,
        lambda x: jnp.ones(2) + x,
        functrax.jit(jnp.sin),
        functrax.grad(jnp.sum),
    ],
)
def test_masked_arrays_are_refused(function):
    with pytest.raises(errors.ArgumentError):
        function(np.ma.array([1.0, 100.0], mask=[False, True]))


# ---- copies and pickles


def test_traced_values_and_jitted_functions_are_copied_as_they_are():
    copied = functrax.grad(lambda p: copy.deepcopy(p)["a"] * copy.copy(p["a"]))
    assert copied({"a": 3.0}) == {"a": 6.0}
    jitted = functrax.jit(jnp.sin)
    assert copy.deepcopy([jitted])[0] is copy.copy(jitted) is jitted


def test_a_traced_value_is_not_pickled():
    with pytest.raises(errors.TracerArrayError) as caught:
        functrax.jit(pickle.dumps)(1.0)
    assert "a concrete array to pickle" in str(caught.value)


@functrax.jit
def module_function(x):
    return x + 1


def test_jitted_functions_of_a_module_are_pickled_by_name(python):
    code = """
        import sys, types, pickle, functrax
        module = types.ModuleType("somewhere")
        sys.modules["somewhere"] = module
        exec("import functrax\\n@functrax.jit\\ndef f(x): return x + 1", module.__dict__)
        assert pickle.loads(pickle.dumps(module.f)) is module.f
        print(module.f(1))
    """
    assert python(code) == "2"


class Callable:
    def __init__(self):
        self._call, self.trace, self._one, self.options = 1, 2, {3: 4}, 5

    def __call__(self, x):
        return x * 2


@pytest.mark.parametrize(
    "transform", [functrax.jit, functrax.grad, functrax.checkpoint, functrax.pmap]
)
def test_callables_with_attributes_of_any_name(transform):
    def function(x):
        return x * 2

    function.note, function._call = "kept", 7
    x = jnp.ones((1, 1)) if transform is functrax.pmap else 3.0
    wanted = 2.0 if transform is functrax.grad else 2 * x
    for fun in (Callable(), function):
        transformed = transform(fun)
        for _ in range(2):
            np.testing.assert_array_equal(transformed(x), wanted)
    assert transformed.note == "kept"


# ---- static arguments that cannot be compared


class Odd:
    def __init__(self, value):
        self.value = np.array(value)

    def __hash__(self):
        return 1

    def __eq__(self, other):
        return self.value == other.value


def test_static_arguments_that_do_not_compare():
    f = functrax.jit(lambda s, x: x * s.value[0], static_argnums=0)
    assert f(Odd([2, 3]), 1.0) == 2
    for _ in range(2):
        with pytest.raises(errors.HashError) as caught:
            f(Odd([4, 5]), 1.0)
        assert "static arguments of '<lambda>' that `==` compares" in str(caught.value)


# ---- memory


def test_loops_made_anew_do_not_gather():
    from functrax.runtime.dispatch import MOST_CALLS

    device = functrax.devices()[0]
    for _ in range(MOST_CALLS + 20):
        lax.fori_loop(0, 2, lambda i, x: x, 1.0)
    assert len(device.calls) <= MOST_CALLS
    assert sum(key in device.programs for key in device.calls) == len(device.calls)


# ---- classes that look at their children


@functrax.tree_util.register_pytree_node_class
class Sized:
    """A pytree whose construction needs an array."""

    def __init__(self, x):
        self.x = x
        self.length = x.shape[0]

    def tree_flatten(self):
        return (self.x,), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)


@functrax.custom_gradient
def doubled(q):
    return {"q": Sized(q.x * 2), "n": 3}, lambda g: Sized(g["q"].x * 2)


@pytest.mark.parametrize(
    "call",
    [
        lambda q: functrax.jvp(lambda q: q.x.sum(), (q,), (q,))[1],
        lambda q: functrax.vjp(lambda q: Sized(q.x * 2), q)[1](q)[0].x.sum(),
        lambda q: functrax.linearize(lambda q: Sized(q.x * 2), q)[1](q).x.sum(),
        lambda q: functrax.linear_transpose(lambda q: Sized(q.x * 2), q)(q)[0].x.sum(),
        lambda q: functrax.grad(lambda q: (q.x**2).sum())(q).x.sum(),
        lambda q: functrax.jacfwd(lambda q: q.x.sum())(q).x.sum(),
        lambda q: functrax.jit(lambda q: Sized(q.x + 1))(q).x.sum(),
        lambda q: functrax.vmap(lambda x: Sized(x[None]))(q.x).x.sum(),
        lambda q: functrax.checkpoint(lambda q: Sized(q.x + 1))(q).x.sum(),
        lambda q: functrax.jit(lambda q: q.x.sum()).lower(q).compile()(q),
        lambda q: functrax.grad(lambda q: doubled(q)["q"].x.sum())(q).x.sum(),
        lambda q: functrax.eval_shape(lambda q: q.x.sum(), q).size,
        lambda q: lax.scan(lambda c, q: (c + q.x.sum(), q), 0.0, Sized(q.x[:, None]))[0],
    ],
)
def test_classes_that_look_at_their_children(call):
    assert np.isfinite(call(Sized(jnp.arange(1.0, 4.0))))


def test_a_second_trace_of_such_a_class():
    f = functrax.jit(lambda q: q.x.sum())
    f(Sized(jnp.ones(3))), f(Sized(jnp.ones(4)))
    assert [(row.cause, row.path) for row in f.retraces()] == [("shape", "q[<flat index 0>]")]
    with pytest.raises(errors.ArgumentError) as caught:
        functrax.grad(lambda q: q)(Sized(np.array(["a"])))
    assert "argument 'q" in str(caught.value)


@pytest.mark.parametrize("kind", ["jit", "pmap", "custom_jvp", "custom_vjp"])
def test_what_transformed_functions_print(kind):
    assert repr(getattr(functrax, kind)(module_function.function)) == f"<{kind} of module_function>"
