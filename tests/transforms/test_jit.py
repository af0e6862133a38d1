"""`jit`: what is traced when, what runs, and what arguments mean. The primitive is ``jit``."""

import functools
import gc
import inspect
import threading
import weakref

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors
from functrax.core.jaxpr import _program_caches  # pyright: ignore[reportPrivateUsage]


def counted(function):
    """Count how often a function is traced (or called)."""

    @functools.wraps(function)
    def counting(*args, **kwargs):
        counting.calls += 1
        return function(*args, **kwargs)

    counting.calls = 0
    return counting


def primitives_of(jaxpr):
    return [eqn.primitive.name for eqn in jaxpr.eqns]


# Caching ------------------------------------------------------------------------------------------


def test_a_function_is_traced_once_per_type():
    f = counted(lambda x: x * 2)
    jitted = functrax.jit(f)
    for value in (jnp.ones(3), jnp.zeros(3), np.ones(3, np.float32), jnp.ones(3)):
        jitted(value)
    assert f.calls == 1
    jitted(jnp.ones(4))
    jitted(jnp.ones(3, "int32"))
    assert f.calls == 3


def test_weak_types_and_trees_are_part_of_the_signature():
    f = counted(lambda x: functrax.tree.leaves(x)[0] + 1)
    jitted = functrax.jit(f)
    jitted(1.0)
    jitted(2.0)
    assert f.calls == 1
    for value in (jnp.float32(1.0), {"a": 1.0}, {"b": 1.0}, [1.0], (1.0,), 1, True):
        jitted(value)
    assert f.calls == 8


def test_jits_of_one_function_share_traces():
    f = counted(lambda x: x * 2)
    functrax.jit(f)(1.0)
    functrax.jit(f)(2.0)
    assert f.calls == 1


def test_options_that_change_programs_trace_anew():
    f = counted(lambda x: x + 1)
    jitted = functrax.jit(f)
    assert jitted(1).dtype == np.int32
    with functrax.enable_x64(True):
        assert jitted(1).dtype == np.int64
    assert jitted(1).dtype == np.int32
    assert f.calls == 2


def test_clear_cache_traces_anew():
    f = counted(lambda x: x + 1)
    jitted = functrax.jit(f)
    jitted(1)
    jitted.clear_cache()
    jitted(1)
    assert f.calls == 2


def test_global_clear_caches_traces_anew():
    f = counted(lambda x: x + 1)
    jitted = functrax.jit(f)
    tree_jitted = functrax.jit(lambda t: {"y": f(t["x"])})
    for _ in range(2):
        jitted(jnp.int32(1)), jitted(1), tree_jitted({"x": 1})
    assert f.calls == 3
    functrax.clear_caches()
    assert jitted(jnp.int32(1)) == jitted(1) == tree_jitted({"x": 1})["y"] == 2
    assert f.calls == 6
    assert functrax.make_jaxpr(jitted)(1) is not None


def test_clear_caches_forgets_what_transforms_made_of_programs():
    """Programs of loops are kept by the rules of loops; what they hold must not outlive a clear."""
    f = functrax.jit(lambda x: functrax.lax.scan(lambda c, _: (jnp.sin(c), None), x, None, 3)[0])
    functrax.hessian(f)(1.0)
    assert any(cache.cache_info().currsize for cache in _program_caches)
    functrax.clear_caches()
    assert not any(cache.cache_info().currsize for cache in _program_caches)
    np.testing.assert_allclose(functrax.grad(f)(0.0), 1.0)


def test_a_jitted_function_is_freed_with_its_captured_arrays():
    array = jnp.ones(1000)
    alive = weakref.ref(array)

    def make(array):
        return functrax.jit(lambda x: x + array)

    jitted = make(array)
    jitted(1.0)
    del array, jitted
    gc.collect()
    assert alive() is None


def test_an_error_while_tracing_is_not_cached():
    state = {"fail": True}

    @functrax.jit
    def f(x):
        if state["fail"]:
            raise KeyError("not yet")
        return x + 1

    with pytest.raises(KeyError, match="not yet"):
        f(1.0)
    state["fail"] = False
    assert f(1.0) == 2


# Nesting ------------------------------------------------------------------------------------------


def test_a_nested_call_is_one_equation_with_its_own_program():
    inner = functrax.jit(lambda x: jnp.sin(x) * 2)
    jaxpr = functrax.make_jaxpr(lambda x: inner(x) + inner(2 * x) + inner(x[:2]).sum())(jnp.ones(3))
    calls = [eqn for eqn in jaxpr.eqns if eqn.primitive.name == "jit"]
    assert len(calls) == 3
    assert calls[0].params["jaxpr"] is calls[1].params["jaxpr"]
    assert calls[0].params["jaxpr"] is not calls[2].params["jaxpr"]


def test_a_nested_function_is_traced_once_per_signature():
    f = counted(lambda x: jnp.sin(x) * 2)
    inner = functrax.jit(f)
    outer = functrax.jit(lambda x: inner(x) + inner(2 * x))
    outer(1.0)
    inner(1.0)
    functrax.grad(outer)(1.0)
    functrax.vmap(outer)(jnp.ones(3))  # strong types: once more
    functrax.jit(functrax.grad(inner))(1.0)
    assert f.calls == 2


def test_derivatives_of_a_nested_call_stay_calls():
    inner = functrax.jit(lambda x: jnp.sin(x) * x)
    jaxpr = functrax.make_jaxpr(functrax.grad(lambda x: inner(x) * inner(2 * x)))(1.0)
    assert set(primitives_of(jaxpr)) <= {"jit", "mul", "add"}
    mapped = functrax.make_jaxpr(functrax.vmap(inner))(jnp.ones(3))
    assert primitives_of(mapped) == ["jit"]


def test_inline_writes_the_equations_themselves():
    inner = functrax.jit(lambda x: jnp.sin(x) * 2, inline=True)
    assert primitives_of(functrax.make_jaxpr(lambda x: inner(x))(1.0)) == ["sin", "mul"]
    assert inner(0.0) == 0


def test_a_function_that_captures_a_tracer_is_traced_for_each():
    def f(x):
        return functrax.jit(lambda y: x * y)(2.0)

    assert [float(functrax.grad(f)(v)) for v in (1.0, 2.0)] == [2.0, 2.0]
    captured = []

    @functrax.jit
    def inner(y):
        return captured[-1] * y

    def outer(x):
        captured.append(x)
        return inner(3.0)

    for value in (1.0, 5.0):
        assert functrax.jit(outer)(value) == 3 * value
        assert functrax.grad(outer)(value) == 3
        assert functrax.vmap(outer)(jnp.full(2, value)).tolist() == [3 * value] * 2


def test_deeply_nested_jits():
    f = lambda x: x + 1  # noqa: E731
    for _ in range(30):
        f = functrax.jit(functools.partial(lambda g, x: g(x) * 1.0, f))
    assert functrax.grad(f)(1.0) == 1
    assert f(1.0) == 2


# Arguments ----------------------------------------------------------------------------------------


def test_static_arguments_by_number_and_name():
    f = counted(lambda x, n, mode="a": x * n if mode == "a" else x + n)
    jitted = functrax.jit(f, static_argnums=1, static_argnames="mode")
    assert jitted(2.0, 3) == 6
    assert jitted(2.0, 3, mode="b") == 5
    assert jitted(2.0, 3, mode="a") == 6
    assert jitted(2.0, n=3) == 6
    assert jitted(2.0, 4) == 8
    assert f.calls == 5


def test_static_arguments_are_compared_by_value_and_type():
    f = counted(lambda x, n: x * n)
    jitted = functrax.jit(f, static_argnums=(1,))
    assert jitted(2.0, 1).dtype == jitted(2.0, 1.0).dtype == jitted(2.0, True).dtype
    assert f.calls == 3
    jitted(3.0, 1)
    assert f.calls == 3


@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x,)], ids=["number", "tuple"])
def test_static_numbers_that_are_equal_but_not_the_same(wrap):
    traced = []
    jitted = functrax.jit(lambda n: traced.append(repr(n)) or 1.0, static_argnums=0)
    numbers = [1, 1.0, True, 0.0, -0.0, float("nan"), complex(0.0, -0.0), complex(0.0, 0.0)]
    for _ in range(2):
        for number in numbers:
            jitted(wrap(number))
    jitted(wrap(-float("nan")))
    assert traced == [repr(wrap(number)) for number in numbers]


def test_negative_static_argnums():
    jitted = functrax.jit(lambda x, y, n: x * y * n, static_argnums=-1)
    assert jitted(2.0, 3.0, 4) == 24


def test_static_argnums_of_variadic_functions():
    jitted = functrax.jit(lambda *args: sum(args), static_argnums=(0, 2))
    assert jitted(1, 2.0, 3, 4.0) == 10


def test_static_keyword_of_a_function_that_takes_any():
    jitted = functrax.jit(lambda x, **how: x * how["n"], static_argnames=("n",))
    assert jitted(2.0, n=3) == 6


def test_arguments_by_keyword():
    f = counted(lambda x, y=2.0, *, z: x * y + z)
    jitted = functrax.jit(f)
    assert jitted(1.0, z=3.0) == 5
    assert jitted(1.0, y=4.0, z=3.0) == 7
    assert jitted(z=3.0, x=1.0, y=4.0) == 7
    assert jitted(z=5.0, y=4.0, x=1.0) == 9
    assert f.calls == 3


def test_methods_partials_and_callable_objects():
    class Scale:
        def __init__(self, factor):
            self.factor = factor

        def __call__(self, x):
            return self.factor * x

        @functools.partial(functrax.jit, static_argnums=0)
        def method(self, x):
            return self.factor * x

        @staticmethod
        @functrax.jit
        def static(x):
            return x + 1

        @classmethod
        def make(cls, x):
            return functrax.jit(cls(3.0))(x)

    scale = Scale(2.0)
    assert functrax.jit(scale)(3.0) == 6
    assert functrax.jit(scale.__call__)(3.0) == 6
    assert scale.method(3.0) == 6
    assert Scale(5.0).method(3.0) == 15
    assert Scale.static(1.0) == 2
    assert Scale.make(2.0) == 6
    assert functrax.jit(functools.partial(jnp.add, 1.0))(2.0) == 3


def test_two_bound_methods_do_not_share_traces():
    class Model:
        def __init__(self, factor):
            self.factor = factor

        def apply(self, x):
            return self.factor * x

    first, second = Model(2.0), Model(3.0)
    assert functrax.jit(first.apply)(1.0) == 2
    assert functrax.jit(second.apply)(1.0) == 3
    first.factor = 5.0
    assert functrax.jit(first.apply)(jnp.ones(1)).tolist() == [5.0]


def test_the_signature_and_name_stay():
    def train(params: dict, *, rate: float = 0.1) -> dict:
        """Train."""
        return params

    jitted = functrax.jit(train)
    assert jitted.__name__ == "train"
    assert jitted.__doc__ == "Train."
    assert jitted.__wrapped__ is train
    assert inspect.signature(jitted) == inspect.signature(train)
    assert repr(jitted) == "<jit of train>"


def test_results_that_are_arguments_or_constants():
    x, captured = jnp.ones(3), jnp.arange(3.0)
    out = functrax.jit(lambda x, y: (x, y, x, captured, 3.0, None))(x, 2.0)
    assert [v.tolist() for v in out[:3]] == [[1.0] * 3, 2.0, [1.0] * 3]
    assert out[3].tolist() == [0.0, 1.0, 2.0]
    assert out[4] == 3.0
    assert out[5] is None


def test_no_arguments_and_no_results():
    calls = []
    assert functrax.jit(lambda: calls.append(1))() is None
    assert calls == [1]
    assert functrax.jit(lambda: ())() == ()
    assert functrax.jit(lambda x: {})(1.0) == {}


def test_captured_values_are_read_while_tracing():
    table = {"scale": jnp.float32(2.0)}
    jitted = functrax.jit(lambda x: x * table["scale"])
    assert jitted(3.0) == 6
    table["scale"] = jnp.float32(5.0)
    assert jitted(3.0) == 6


def test_mutated_numpy_arrays_are_copied_in():
    host = np.ones(3, np.float32)
    jitted = functrax.jit(lambda x: x + host)
    assert jitted(0.0).tolist() == [1.0] * 3
    passed = np.zeros(3, np.float32)
    out = functrax.jit(lambda x: x)(passed)
    passed[:] = 7
    assert out.tolist() == [0.0] * 3


def test_unused_arguments():
    f = functrax.jit(lambda x, y: x + 1)
    assert f(1.0, jnp.ones(3)) == 2
    assert len(f.lower(1.0, jnp.ones(3)).as_text().split("%arg")) < len(
        functrax.jit(lambda x, y: x + 1, keep_unused=True)
        .lower(1.0, jnp.ones(3))
        .as_text()
        .split("%arg")
    )
    assert functrax.jit(lambda x, y: x + 1, keep_unused=True)(1.0, jnp.ones(3)) == 2


def test_disable_jit_runs_python():
    seen = []

    @functrax.jit
    def f(x):
        seen.append(x)
        return x + 1 if x > 0 else x

    with functrax.disable_jit(True):
        assert f(jnp.float32(1.0)) == 2
        assert f(jnp.float32(-1.0)) == -1
        assert functrax.grad(f)(3.0) == 1
    assert not isinstance(seen[0], functrax.core.trace.Tracer)


# Donation -----------------------------------------------------------------------------------------


def test_a_donated_array_is_gone():
    step = functrax.jit(lambda x, y: x + y, donate_argnums=0)
    x, y = jnp.ones(3), jnp.ones(3)
    out = step(x, y)
    assert x.is_deleted()
    assert not y.is_deleted()
    assert out.tolist() == [2.0] * 3
    for _ in range(3):
        out = step(out, y)
    assert out.tolist() == [5.0] * 3


def test_donation_by_name_and_of_trees():
    step = functrax.jit(lambda state, x: {"w": state["w"] + x}, donate_argnames="state")
    state = {"w": jnp.ones(3)}
    new = step(state, 1.0)
    assert state["w"].is_deleted()
    newer = step(state=new, x=1.0)
    assert new["w"].is_deleted()
    assert newer["w"].tolist() == [3.0] * 3


def test_donated_numbers_and_numpy_arrays_stay_usable():
    step = functrax.jit(lambda x: x + 1, donate_argnums=0)
    host = np.ones(3, np.float32)
    assert [float(step(7.0)) for _ in range(3)] == [8.0] * 3
    assert step(host).tolist() == step(host).tolist() == [2.0] * 3
    assert functrax.jit(lambda x: x * 2)(7.0) == 14
    assert jnp.asarray(7.0) * 2 == 14


def test_scalars_do_not_share_their_memory():
    a, b = jnp.asarray(5.0), jnp.asarray(5.0)
    functrax.jit(lambda x: x + 1, donate_argnums=0)(a)
    assert b + 1 == 6
    gradient = functrax.grad(lambda x: 3.0)(1.0)
    gradient.delete()
    assert functrax.grad(lambda x: 3.0)(1.0) + 1 == 1


def test_an_array_that_cannot_be_donated_stays_usable(capfd):
    x = jnp.ones(3)
    twice = functrax.jit(lambda x, y: x + y, donate_argnums=(0, 1))
    captured = functrax.jit(lambda y: x + y, donate_argnums=0)
    for _ in range(2):
        for call in (lambda: twice(x, x), lambda: captured(x)):
            with pytest.raises(errors.DonatedError):
                call()
            assert x.tolist() == [1.0] * 3
        assert twice(jnp.ones(3), jnp.ones(3)).tolist() == captured(jnp.ones(3)).tolist()
    assert capfd.readouterr().err == ""


def test_a_donated_argument_that_is_a_result():
    x = jnp.ones(3)
    out = functrax.jit(lambda x: (x, x, x + 1), donate_argnums=0)(x)
    assert [v.tolist() for v in out] == [[1.0] * 3, [1.0] * 3, [2.0] * 3]


def test_donated_inside_other_transforms_is_only_a_wish():
    step = functrax.jit(lambda x: x * 2, donate_argnums=0)
    x = jnp.ones(3)
    assert functrax.vmap(step)(x).tolist() == [2.0] * 3
    assert functrax.jit(lambda x: step(x) + x)(x).tolist() == [3.0] * 3
    assert functrax.grad(lambda x: step(x).sum())(x).tolist() == [2.0] * 3
    assert not x.is_deleted()


# Under transforms ---------------------------------------------------------------------------------


def test_every_order_of_jit_grad_and_vmap():
    def f(x, w):
        return jnp.tanh(x @ w).sum()

    x, w = jnp.arange(6.0).reshape(3, 2) / 5, jnp.array([0.5, -1.0])
    jit, grad, vmap = (
        functrax.jit,
        functrax.grad,
        functools.partial(functrax.vmap, in_axes=(0, None)),
    )
    expected = np.stack([grad(f)(row, w) for row in x])
    for g in (vmap(grad(f)), vmap(grad(jit(f))), vmap(jit(grad(f))), jit(vmap(grad(f))),
              jit(vmap(jit(grad(jit(f)))))):  # fmt: skip
        np.testing.assert_allclose(g(x, w), expected, rtol=1e-6)


def test_integer_outputs_of_a_nested_call_have_no_tangent():
    inner = functrax.jit(lambda x: (x * 2, jnp.argmax(x), x > 0))

    def f(x):
        y, place, positive = inner(x)
        return (y * positive).sum() + place

    assert functrax.grad(f)(jnp.array([1.0, -1.0, 3.0])).tolist() == [2.0, 0.0, 2.0]


def test_jit_of_vjp_functions():
    _, pull = functrax.vjp(functrax.jit(lambda x, y: x * y), 2.0, 3.0)
    assert [float(v) for v in functrax.jit(pull)(1.0)] == [3.0, 2.0]


def test_nothing_runs_while_tracing():
    jaxpr = functrax.make_jaxpr(lambda x: jnp.exp(x).sum() / x.size)(
        functrax.ShapeDtypeStruct((10**6, 10**6), "float32")
    )
    assert jaxpr.out_avals[0].shape == ()


def test_threads_share_a_jitted_function():
    f = counted(lambda x: jnp.sin(x) * 2)
    jitted = functrax.jit(f)
    results = []

    def work(number):
        results.extend(float(jitted(float(number))) for _ in range(20))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = sorted(2 * np.sin(np.float32(i)) for i in range(8) for _ in range(20))
    np.testing.assert_allclose(sorted(results), wanted, rtol=1e-6)


def test_a_generator_is_refused():
    def f(x):
        yield x

    with pytest.raises(errors.ArgumentError, match="generator"):
        functrax.jit(f)


# make_jaxpr and eval_shape ------------------------------------------------------------------------


def test_make_jaxpr_prints_a_program():
    jaxpr = functrax.make_jaxpr(lambda x, y: (x * 2 + y, 3))(jnp.ones(2), 1.0)
    assert str(jaxpr) == (
        "{ lambda ; a:f32[2] b:~f32[]. let c:f32[2] = mul a 2.0:f32[]; d:f32[2] = add c b"
        " in (d, 3:~i32[]) }"
    ) or "mul a" in str(jaxpr)


def test_make_jaxpr_of_static_arguments_axes_and_shapes():
    jaxpr, shape = functrax.make_jaxpr(
        lambda x, n: functrax.lax.psum(x * n, "i"),
        static_argnums=1,
        axis_env=[("i", 4)],
        return_shape=True,
    )(jnp.ones(2), 3)
    assert primitives_of(jaxpr) == ["mul", "psum"]
    assert shape == functrax.ShapeDtypeStruct((2,), "float32")


def test_captured_arrays_are_constants_of_the_program():
    big = jnp.ones((1000, 1000))
    closed = functrax.make_jaxpr(lambda x: (x * big).sum() + big[0, 0])(1.0)
    assert len(closed.consts) == 1
    assert closed.consts[0] is big
    assert len(functrax.jit(lambda x: (x * big).sum()).lower(1.0).as_text()) < 100_000


def test_eval_shape_of_methods_and_weak_types():
    found = functrax.eval_shape(lambda x, *, y: {"a": x + y, "n": 1}, 1.0, y=jnp.ones(3))
    assert found == {
        "a": functrax.ShapeDtypeStruct((3,), "float32"),
        "n": functrax.ShapeDtypeStruct((), "int32", weak_type=True),
    }
    jitted = functrax.jit(lambda x: x * 2)
    assert jitted.eval_shape(functrax.ShapeDtypeStruct((2,), "int8")).dtype == np.int8
