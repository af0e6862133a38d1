"""The whole message of each error that bad input causes, and the line of the user's code in it."""

import re
import types
from concurrent import futures

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import ad_checkpoint, errors, lax, random
from functrax.core.primitive import NOT_LINEAR, Refusal, declare, registry
from functrax.core.trace import bind

CASES = []


def raises(kind, message):
    """Test that a function raises an error with this message; HERE stands for a line of its own."""

    def register(function):
        CASES.append((kind, " ".join(message.split()), function))
        return function

    return register


def lines_of(code):
    """Return the numbers of all lines of a function and the functions in it."""
    inner = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    own = {line for *_, line in code.co_lines() if line}
    return own.union(*map(lines_of, inner))


half_p = declare(
    "half of test_errors",
    abstract_eval=lambda x: (x,),
    jvp=Refusal("not differentiable", "Halves have no derivative."),
    transpose=NOT_LINEAR,
    batch=Refusal("not mapped", "Halves are not mapped."),
    lower=lambda b, x: x,
)


def pulled(fwd, bwd):
    """Return a function of two arguments with these rules."""
    f = functrax.custom_vjp(lambda x, y: x)
    f.defvjp(fwd, bwd)
    return f


def pushed(rule, function=lambda x: x):
    """Return a function of one argument with this rule."""
    f = functrax.custom_jvp(function)
    f.defjvp(rule)
    return f


# Shapes and dtypes --------------------------------------------------------------------------------


@raises(
    errors.ShapeError,
    """
    [add] expected operands of one shape (or scalars); got f32[2,3], f32[3,4] (HERE).
    Reshape or `broadcast_to` a common shape.
    """,
)
def shapes_that_do_not_broadcast():
    jnp.ones((2, 3)) + jnp.ones((3, 4))


@raises(
    errors.ShapeError,
    """
    [mul] expected operands of one shape (or scalars); got f32[2,3], f32[3,4] (HERE).
    Reshape or `broadcast_to` a common shape.
    """,
)
def shapes_that_do_not_broadcast_in_jit():
    functrax.jit(lambda x, y: x * y)(jnp.ones((2, 3)), jnp.ones((3, 4)))


@raises(
    errors.ShapeError,
    """
    [add] expected operands of one shape (or scalars); got f32[3], f32[4] (HERE). Reshape or
    `broadcast_to` a common shape.
    """,
)
def shapes_of_lax():
    lax.add(jnp.ones(3), jnp.ones(4))


@raises(
    errors.ShapeError,
    """
    [matmul] expected the last axis of the first array to be as long as the last but one (of
    a vector: the only one) of the second; got f32[2,3], f32[4,5] (HERE). Transpose or
    reshape one of them.
    """,
)
def shapes_that_do_not_contract():
    jnp.ones((2, 3)) @ jnp.ones((4, 5))


@raises(
    errors.ShapeError,
    """
    [concatenate] expected arrays equal in all sizes but that of axis 0; got f32[2,3],
    f32[3,4] (HERE). Reshape or broadcast them to fit.
    """,
)
def shapes_that_do_not_join():
    jnp.concatenate([jnp.ones((2, 3)), jnp.ones((3, 4))])


@raises(
    errors.ShapeError,
    """
    [reshape] expected a shape of 6 elements; got (4,) for an array of shape (2, 3) (HERE).
    """,
)
def shapes_that_do_not_fit():
    jnp.ones((2, 3)).reshape(4)


@raises(
    errors.ShapeError,
    """
    [bool] expected an array of one element; got f32[3] (HERE). Index it, or use
    `.any()`/`.all()` for a truth value.
    """,
)
def truth_of_an_array():
    bool(jnp.ones(3))


@raises(
    errors.DtypeError,
    """
    [sin] expected an array of floating or complex dtype; got i32[3] (HERE). Convert it with
    `.astype(...)`.
    """,
)
def a_dtype_that_is_not_taken():
    lax.sin(jnp.arange(3))


@raises(
    errors.DtypeError,
    """
    [add] expected operands of one dtype; got i32[3], f32[3] (HERE). Convert one with
    `.astype(...)`.
    """,
)
def dtypes_that_differ():
    lax.add(jnp.arange(3), jnp.ones(3))


@raises(errors.DtypeError, "[zeros] expected a dtype; got 'float31' (HERE).")
def a_dtype_that_does_not_exist():
    jnp.zeros(3, dtype="float31")


@raises(
    errors.ShapeError,
    """
    [add] expected operands of one shape (or scalars); got f32[3], f32[4] (HERE).
    Reshape or `broadcast_to` a common shape.
    """,
)
def shapes_that_do_not_broadcast_in_grad():
    functrax.grad(lambda x: (x + jnp.ones(4)).sum())(jnp.ones(3))


@raises(
    errors.ShapeError,
    """
    [mul] expected operands of one shape (or scalars); got f32[3], f32[4] (HERE).
    Reshape or `broadcast_to` a common shape.
    """,
)
def shapes_that_do_not_broadcast_in_vmap():
    functrax.vmap(lambda x, y: x * y)(jnp.ones((2, 3)), jnp.ones((2, 4)))


@raises(
    errors.ShapeError,
    """
    [einsum] expected one size for each letter of 'ij,jk'; got 3 and 2 for 'j', in
    shapes (2, 3), (2, 3) (HERE).
    """,
)
def sizes_of_einsum():
    jnp.einsum("ij,jk", jnp.ones((2, 3)), jnp.ones((2, 3)))


@raises(
    errors.ArgumentError,
    """
    [einsum] expected letters of the arrays, each once, after the arrow; got 'ij->k'
    (HERE).
    """,
)
def a_wrong_einsum():
    jnp.einsum("ij->k", jnp.ones((2, 3)))


@raises(
    errors.ShapeError,
    """
    [conv] expected images of 5 features; got 3 in f32[1,3,8,8] along
    axis 1, with kernels f32[4,5,3,3] (HERE). Check dimension_numbers and
    feature_group_count.
    """,
)
def channels_that_differ():
    lax.conv(jnp.ones((1, 3, 8, 8)), jnp.ones((4, 5, 3, 3)), (1, 1), "SAME")


@raises(
    errors.ShapeError,
    """
    [iota] expected sizes >= 0; got i32[-1] (HERE).
    """,
)
def a_negative_size():
    lax.iota("int32", -1)


@raises(
    errors.ArgumentError,
    """
    [sum] expected distinct axes; got (0, -2) for an array of 2 axes (HERE).
    """,
)
def axes_twice():
    jnp.ones((2, 3)).sum(axis=(0, -2))


@raises(
    errors.ArgumentError,
    """
    [sort] expected an integer for 'axis'; got 'x' of type str (HERE).
    """,
)
def an_axis_that_is_no_integer():
    jnp.sort(jnp.ones(3), axis="x")


@raises(
    errors.ArgumentError,
    """
    [reshape] expected an integer for 'shape'; got 2.0 of type float (HERE).
    """,
)
def a_shape_of_floats():
    jnp.ones(6).reshape(2.0, 3)


@raises(
    errors.ArgumentError,
    """
    [setitem] expected no assignment to elements, for arrays are immutable; got `x[i] =
    y` (HERE). Write `x = x.at[i].set(y)`.
    """,
)
def an_element_that_is_assigned():
    jnp.ones(3)[0] = 1.0


# grad ---------------------------------------------------------------------------------------------


@raises(
    errors.ShapeError,
    """
    [grad] expected a scalar output from '<lambda>'; got f32[3] (HERE). Return a scalar (a
    sum or mean), or use `jacrev` or `vjp`.
    """,
)
def grad_of_a_vector():
    functrax.grad(lambda x: 2 * x)(jnp.ones(3))


@raises(
    errors.DtypeError,
    """
    [grad] expected inputs of floating dtype; got ~i32[] for 'y' (HERE). Convert it with
    `.astype(float)`, choose other `argnums`, or pass `allow_int=True`.
    """,
)
def grad_of_an_integer():
    functrax.grad(lambda x, y: x * y, argnums=1)(1.0, 2)


@raises(
    errors.DtypeError,
    """
    [grad] expected inputs of floating dtype; got ~i32[] for "p['w'][0]" (HERE). Convert it
    with `.astype(float)`, choose other `argnums`, or pass `allow_int=True`.
    """,
)
def grad_of_an_integer_in_a_tree():
    functrax.grad(lambda p: p["w"][0] * 2.0)({"w": [3]})


@raises(
    errors.DtypeError,
    """
    [grad] expected a real floating-point output from '<lambda>'; got i32[] (HERE). Return a
    float.
    """,
)
def grad_of_an_integer_output():
    functrax.grad(lambda x: x.astype(int))(jnp.float32(2.5))


@raises(
    errors.DtypeError,
    """
    [value_and_grad] expected a real floating-point output from '<lambda>'; got ~c64[]
    (HERE). Use `holomorphic=True`.
    """,
)
def grad_of_a_complex_output():
    functrax.value_and_grad(lambda x: x * 1j)(1.0)


@raises(
    errors.DtypeError,
    """
    [grad] expected complex inputs, because holomorphic=True; got ~f32[] for 'x' (HERE).
    """,
)
def holomorphic_grad_of_real_numbers():
    functrax.grad(lambda x: x, holomorphic=True)(1.0)


@raises(
    errors.ArgumentError,
    """
    [grad] expected a scalar output from '<lambda>'; got a pytree of 2 arrays (HERE). Return
    one scalar; use `has_aux=True` for further results.
    """,
)
def grad_of_several_outputs():
    functrax.grad(lambda x: (x, x))(1.0)


@raises(
    errors.ArgumentError,
    """
    [grad] expected a scalar output from '<lambda>'; got a pytree of 0 arrays (HERE). Return
    one scalar; use `has_aux=True` for further results.
    """,
)
def grad_of_no_output():
    functrax.grad(lambda x: None)(1.0)


@raises(
    errors.ArgumentError,
    """
    [grad] expected a scalar output from '<lambda>'; got PyTreeDef({'loss': *}) (HERE). Return one
    scalar; use `has_aux=True` for further results.
    """,
)
def grad_of_a_scalar_in_a_dict():
    functrax.grad(lambda x: {"loss": x})(1.0)


@raises(
    errors.ArgumentError,
    """
    [grad] expected '<lambda>' to return a pair (output, aux), because has_aux=True; got a
    traced ~f32[] made at the call of <lambda>, argument x (HERE).
    """,
)
def grad_without_the_pair():
    functrax.grad(lambda x: x, has_aux=True)(1.0)


@raises(
    errors.ArgumentError,
    """
    [grad] expected positional arguments for argnums=2; got 1 positional arguments for
    '<lambda>' (HERE). Pass the differentiated arguments by position.
    """,
)
def grad_of_an_argument_that_is_not_there():
    functrax.grad(lambda x: x, argnums=2)(1.0)


@raises(errors.ArgumentError, "[grad] expected distinct argnums; got (0, -2) (HERE).")
def grad_of_an_argument_twice():
    functrax.grad(lambda x, y: x * y, argnums=(0, -2))(1.0, 2.0)


@raises(
    errors.ArgumentError,
    """
    [grad] expected positional arguments for argnums=0; got 0 positional arguments for
    '<lambda>' (HERE). Pass the differentiated arguments by position.
    """,
)
def grad_by_keyword():
    functrax.grad(lambda x: x)(x=1.0)


@raises(
    errors.ArgumentError,
    """
    [grad] expected argument "p['a']" to be an array or a number; got 'text' of type str
    (HERE). Convert it with `jnp.asarray`, or close over it.
    """,
)
def grad_of_text():
    functrax.grad(lambda p: p["a"])({"a": "text"})


@raises(
    errors.DtypeError,
    """
    [jacfwd] expected inputs of real floating dtype; got ~c64[] for 'z' (HERE). Pass
    `holomorphic=True`, or use `jacrev`.
    """,
)
def jacfwd_of_complex_numbers():
    functrax.jacfwd(lambda z: z * 2)(1j)


@raises(
    errors.DtypeError,
    """
    [jacrev] expected real floating-point outputs from '<lambda>'; got ~c64[] (HERE).
    """,
)
def jacrev_of_complex_outputs():
    functrax.jacrev(lambda x: x * 1j)(1.0)


@raises(
    errors.MissingRuleError,
    """
    [linear_transpose] expected a function that is linear in its arguments; got a product or
    quotient of two values that depend on them (HERE). Use `vjp`, which linearizes first.
    """,
)
def linear_transpose_of_a_product():
    functrax.linear_transpose(lambda x: x * x, 1.0)(1.0)


@raises(
    errors.TracerArrayError,
    """
    [grad] expected a value without a derivative to make a Python float; got a traced ~f32[] made at
    HERE (HERE). Keep it an array, or cut the derivative off with `lax.stop_gradient(x)`.
    """,
)
def float_of_a_differentiated_value():
    functrax.grad(lambda x: x * float(jnp.sin(x)))(1.0)


@raises(
    errors.TracerArrayError,
    """
    [jvp] expected a value without a derivative for the format '.1f'; got a traced ~f32[]
    (HERE). Keep it an array, or cut the derivative off with `lax.stop_gradient(x)`.
    """,
)
def format_of_a_differentiated_value():
    functrax.jvp(lambda x: x * float(f"{jnp.sin(x):.1f}"), (1.0,), (1.0,))


@raises(
    errors.IntegerOverflowError,
    """
    [jit] expected integers from -2147483648 to 2147483647, which int32 holds; got 1099511627776
    (HERE). Ask for dtype="int64", which holds it.
    """,
)
def a_result_that_does_not_fit():
    functrax.jit(lambda: 2**40)()


@raises(
    errors.KeyTypeError,
    """
    [__dlpack__] expected an array of numbers; got the PRNG key key<fry>[] (HERE). Use
    `random.key_data(key)`.
    """,
)
def a_key_by_dlpack():
    np.from_dlpack(random.key(0))


@raises(
    errors.LeakedTracerError,
    """
    [jit] expected values made inside a transformed function to stay inside it; got a traced
    ~f32[] made at the call of append, argument object, used as an argument of device_put after
    the transform ended (HERE). Return it from the function instead of storing it outside (a
    global, a closure, an attribute, a list).
    """,
)
def a_leaked_value_that_is_placed():
    kept = []
    functrax.jit(kept.append)(1.0)
    functrax.device_put(kept)


@raises(
    errors.DtypeError,
    """
    [linear_transpose] expected arguments and results of floating or complex dtype, or integers
    alone; got (i32[3], f32[]) -> (i32[3]) (HERE).
    """,
)
def linear_transpose_of_integers_and_floats():
    functrax.linear_transpose(lambda x, y: 2 * x, jnp.arange(3), jnp.float32(1))


@raises(
    errors.DtypeError,
    """
    [linear_transpose] expected arguments and results of floating or complex dtype, or integers
    alone; got (f32[3]) -> (i32[3]) (HERE).
    """,
)
def linear_transpose_to_integers():
    functrax.linear_transpose(lambda x: x.astype(int), jnp.ones(3))


@raises(errors.DtypeError, "[gather] expected a number as fill_value; got 'a' (HERE).")
def a_fill_value_that_is_no_number():
    numbers = lax.GatherDimensionNumbers((), (0,), (0,))
    lax.gather(jnp.arange(3), jnp.array([[5]]), numbers, (1,), fill_value="a")


@raises(errors.DtypeError, "[issubdtype] expected dtypes or scalar types; got 'pixel' (HERE).")
def issubdtype_of_what_is_no_dtype():
    functrax.dtypes.issubdtype("pixel", "float32")


@raises(
    errors.TreeError,
    """
    [jvp] expected tangents[0] to be an array or a number; got a tuple of length 1
    (HERE).
    """,
)
def jvp_with_another_tree():
    functrax.jvp(lambda x: x, (1.0,), ((1.0,),))


@raises(
    errors.ShapeError,
    """
    [jvp] expected the tangent of 'x' to have shape (); got f32[2] (HERE).
    """,
)
def jvp_with_another_shape():
    functrax.jvp(lambda x: x, (1.0,), (jnp.ones(2),))


@raises(
    errors.DtypeError,
    """
    [jvp] expected the tangent of 'x' to be None (or float0), because ~i32[] has no
    derivative; got 1 of type int (HERE). Differentiate with respect to floating-point
    arguments only, or pass None.
    """,
)
def jvp_of_integers():
    functrax.jvp(lambda x: x * 2.0, (1,), (1,))


@raises(
    errors.TreeError,
    """
    [vjp] expected the cotangent to be a tuple of length 2; got a leaf of type float
    (HERE). It must have the same structure, down to the leaves.
    """,
)
def vjp_with_another_tree():
    functrax.vjp(lambda x: (x, x), 1.0)[1](1.0)


@raises(
    errors.ShapeError,
    """
    [vjp] expected the cotangent to have shape (); got f32[2] (HERE).
    """,
)
def vjp_with_another_shape():
    functrax.vjp(lambda x: x, 1.0)[1](jnp.ones(2))


@raises(
    errors.DtypeError,
    """
    [vjp] expected the cotangent to have dtype float32; got ~i32[] (HERE). Convert it
    with `jnp.asarray(..., "float32")`.
    """,
)
def vjp_with_another_dtype():
    functrax.vjp(lambda x: x, 1.0)[1](1)


@raises(
    errors.ArgumentError,
    """
    [vjp] expected one cotangent, of the structure of the output; got 2 arguments
    (HERE). Pass several cotangents as one tuple, if the output is one.
    """,
)
def vjp_with_several_cotangents():
    functrax.vjp(lambda x: (x, x), 1.0)[1](1.0, 1.0)


@raises(
    errors.TreeError,
    """
    [vjp] expected the cotangent to be a dict with the keys 'a'; got a dict with the
    keys 'b' (HERE). It lacks 'a' and adds 'b'.
    """,
)
def vjp_with_other_keys():
    functrax.vjp(lambda x: {"a": [x]}, 1.0)[1]({"b": [1.0]})


@raises(
    errors.ShapeError,
    """
    [vjp] expected the cotangent['a'][0] to have shape (); got f32[2] (HERE).
    """,
)
def vjp_with_another_shape_in_a_tree():
    functrax.vjp(lambda x: {"a": [x]}, 1.0)[1]({"a": [jnp.ones(2)]})


@raises(
    errors.ArgumentError,
    """
    [vjp] expected the cotangent['a'] to be an array or a number; got 'text' of type str
    (HERE).
    """,
)
def vjp_with_text():
    functrax.vjp(lambda x: {"a": x}, 1.0)[1]({"a": "text"})


@raises(
    errors.ShapeError,
    """
    [linear_transpose] expected the cotangent to have shape (); got f32[2] (HERE).
    """,
)
def linear_transpose_with_another_shape():
    functrax.linear_transpose(lambda x: 2 * x, 1.0)(jnp.ones(2))


@raises(
    errors.TreeError,
    """
    [linearize] expected tangents[0] to be a dict with the keys 'w'; got a dict with the
    keys 'b' (HERE). It lacks 'w' and adds 'b'.
    """,
)
def linearize_with_another_tree():
    functrax.linearize(lambda p: p["w"], {"w": 1.0})[1]({"b": 1.0})


@raises(
    errors.ShapeError,
    """
    [linearize] expected the tangent of "p['w']" to have shape (); got f32[2] (HERE).
    """,
)
def linearize_with_another_shape():
    functrax.linearize(lambda p: p["w"], {"w": 1.0})[1]({"w": jnp.ones(2)})


@raises(
    errors.DtypeError,
    """
    [linearize] expected the tangent of 'x' to have dtype float32; got ~i32[] (HERE).
    Convert it with `jnp.asarray(..., "float32")`.
    """,
)
def linearize_with_another_dtype():
    functrax.linearize(lambda x: x, 1.0)[1](1)


@raises(
    errors.TreeError,
    """
    [jvp] expected tangents to be a tuple of length 2; got a tuple of length 1 (HERE).
    It must have the same structure, down to the leaves.
    """,
)
def jvp_with_too_few_tangents():
    functrax.jvp(lambda x, y: x * y, (1.0, 2.0), (1.0,))


@raises(
    errors.ArgumentError,
    """
    [jvp] expected primals and tangents as tuples; got f32[3] and 1.0 of type float
    (HERE). Write `jvp(f, (x,), (t,))` for one argument.
    """,
)
def jvp_without_tuples():
    functrax.jvp(lambda x: x, jnp.ones(3), 1.0)


@raises(
    errors.ArgumentError,
    """
    [jacfwd] expected positional arguments for argnums=(0, 3); got 1 positional
    arguments for '<lambda>' (HERE). Pass the differentiated arguments by position.
    """,
)
def jacfwd_of_an_argument_that_is_not_there():
    functrax.jacfwd(lambda x: x, argnums=(0, 3))(1.0)


@raises(
    errors.ArgumentError,
    """
    [grad] expected argnums as an int or a sequence of ints; got 'x' (HERE).
    """,
)
def argnums_by_name():
    functrax.grad(lambda x: x, argnums="x")


# Tracers where Python needs values ----------------------------------------------------------------


@raises(
    errors.TracerBoolError,
    """
    [jit] expected a concrete value to decide Python control flow; got a traced bool[]
    made at HERE by gt (HERE). Use `jnp.where` or `lax.cond` for a
    choice, `lax.while_loop` for a loop, or mark the argument static (`static_argnums`).
    """,
)
def a_tracer_as_a_condition():
    functrax.jit(lambda x: 1 if x > 0 else 2)(1.0)


@raises(
    errors.TracerBoolError,
    """
    [vmap] expected a concrete value to decide Python control flow; got a traced bool[]
    made at HERE (HERE). Use `jnp.where` or `lax.cond` for a
    choice, `lax.while_loop` for a loop, or mark the argument static (`static_argnums`).
    """,
)
def a_mapped_value_as_a_condition():
    functrax.vmap(lambda x: x if x > 0 else -x)(jnp.ones(2))


@raises(
    errors.TracerBoolError,
    """
    [jit] expected a concrete value to decide Python control flow; got a traced bool[]
    made at HERE by eq (HERE). Use `jnp.where` or `lax.cond` for a
    choice, `lax.while_loop` for a loop, or mark the argument static (`static_argnums`).
    """,
)
def a_tracer_in_a_list():
    functrax.jit(lambda x: x in [1, 2])(1)


@raises(
    errors.TracerIndexError,
    """
    [jit] expected a concrete value as a Python integer; got a traced ~i32[] made at the
    call of <lambda>, argument i (HERE). Use
    `lax.fori_loop`, `x[i]` on a functrax array, or mark the argument static (`static_argnums`).
    """,
)
def a_tracer_as_an_index():
    functrax.jit(lambda i: [1, 2, 3][i])(0)


@raises(
    errors.TracerIndexError,
    """
    [jit] expected a concrete value as a Python integer; got a traced ~i32[] made at the
    call of <lambda>, argument n (HERE). Use
    `lax.fori_loop`, `x[i]` on a functrax array, or mark the argument static (`static_argnums`).
    """,
)
def a_tracer_as_a_loop_bound():
    functrax.jit(lambda n: sum(range(n)))(3)


@raises(
    errors.TracerIndexError,
    """
    [jit] expected a concrete value as a Python integer; got a traced ~i32[] made at the
    call of <lambda>, argument n (HERE). Use
    `lax.fori_loop`, `x[i]` on a functrax array, or mark the argument static (`static_argnums`).
    """,
)
def a_tracer_as_a_shape():
    functrax.jit(lambda n: jnp.zeros(n))(3)


@raises(
    errors.TracerIndexError,
    """
    [getitem] expected slices with fixed bounds, for the shape of the result depends on
    them; got a traced ~i32[] made at the call of <lambda>, argument n (HERE). Use
    `lax.dynamic_slice(x, starts, sizes)` for a fixed size at a traced place, or mark the
    bound static.
    """,
)
def a_tracer_as_a_slice_bound():
    functrax.jit(lambda n: jnp.arange(6)[:n])(3)


@raises(
    errors.TracerArrayError,
    """
    [jit] expected a concrete value to make a NumPy array; got a traced ~f32[] made at
    the call of <lambda>, argument x (HERE). Use functrax.numpy instead of numpy on
    traced values.
    """,
)
def a_tracer_as_a_numpy_array():
    functrax.jit(lambda x: np.sin(x))(1.0)


@raises(
    errors.TracerArrayError,
    """
    [jit] expected a concrete value to make a Python float; got a traced ~f32[] made at HERE
    by add (HERE). Keep it an array (`.astype(float)`), or compute it outside of the
    transform.
    """,
)
def a_tracer_as_a_python_number():
    functrax.jit(lambda x: float(x + 1))(1.0)


@raises(
    errors.TracerArrayError,
    """
    [jit] expected a concrete value for `.item()`; got a traced ~f32[] made at the call of
    <lambda>, argument x (HERE). Return the array, and take `.item()` outside of the
    transform.
    """,
)
def the_item_of_a_tracer():
    functrax.jit(lambda x: x.item())(1.0)


@raises(
    errors.HashError,
    """
    [jit] expected a hashable value as a dict key, set member or cache key; got a traced
    ~f32[] made at the call of <lambda>, argument x (HERE). Use a static argument, or a
    Python value, as the key.
    """,
)
def a_tracer_as_a_dict_key():
    functrax.jit(lambda x: {x: 1})(1.0)


@raises(
    errors.LeakedTracerError,
    """
    [jit] expected values made inside a transformed function to stay inside it; got a traced
    ~f32[] made at HERE by sin, used in a later computation after the transform ended
    (HERE). Return it from the function instead of storing it outside (a global, a closure,
    an attribute, a list).
    """,
)
def a_tracer_after_its_trace():
    kept = []
    functrax.jit(lambda x: kept.append(jnp.sin(x)))(1.0)
    kept[0] + 1


@raises(
    errors.LeakedTracerError,
    """
    [jit] expected values made inside a transformed function to stay inside it; got a traced
    ~f32[] made at the call of <lambda>, argument x, used in a later computation after the
    transform ended (HERE). Return it from the function instead of storing it outside (a
    global, a closure, an attribute, a list).
    """,
)
def an_argument_after_its_trace():
    kept = []
    functrax.jit(lambda x: kept.append(x))(1.0)
    functrax.jit(lambda: kept[0] * 2)()


@raises(
    errors.LeakedTracerError,
    """
    [grad] expected values made inside a transformed function to stay inside it; got a
    traced ~f32[] made at HERE, used in a later computation after the transform ended
    (HERE). Return it from the function instead of storing it outside (a global, a
    closure, an attribute, a list).
    """,
)
def a_differentiated_value_after_its_trace():
    kept = []
    functrax.grad(lambda x: [kept.append(x * 2), x][1])(1.0)
    kept[0] + 1


@raises(
    errors.LeakedTracerError,
    """
    [vmap] expected values made inside a transformed function to stay inside it; got a
    traced f32[] made at HERE, used in a later computation after the transform ended
    (HERE). Return it from the function instead of storing it outside (a global, a
    closure, an attribute, a list).
    """,
)
def a_mapped_value_after_its_trace():
    kept = []
    functrax.vmap(lambda x: [kept.append(x * 2), x][1])(jnp.ones(2))
    jnp.sin(kept[0])


@raises(
    errors.LeakedTracerError,
    """
    [jit] expected values made inside a transformed function to stay inside it; got a traced
    ~f32[] made at HERE by mul, used or kept after the transform ended (HERE). Return it
    from the function instead of storing it outside (a global, a closure, an attribute, a
    list).
    """,
)
def a_leak_that_is_looked_for():
    kept = []
    with functrax.checking_leaks():
        functrax.jit(lambda x: kept.append(x * 2))(1.0)


@raises(
    errors.TracerArrayError,
    """
    [grad] expected a concrete value to make a NumPy array; got a traced ~f32[] made at
    the call of <lambda>, argument x (HERE). Use functrax.numpy instead of numpy on traced values.
    """,
)
def a_differentiated_value_as_a_numpy_array():
    functrax.grad(lambda x: np.sin(x))(1.0)


@raises(
    errors.TracerArrayError,
    """
    [vmap] expected a concrete value to make a NumPy array; got a traced f32[] made at
    HERE (HERE). Use functrax.numpy instead of numpy on traced values.
    """,
)
def a_mapped_value_as_a_numpy_array():
    functrax.vmap(lambda x: np.sin(x))(jnp.ones(2))


@raises(
    errors.TracerIndexError,
    """
    [vmap] expected a concrete value as a Python integer; got a traced i32[] made at
    HERE (HERE). Use
    `lax.fori_loop`, `x[i]` on a functrax array, or mark the argument static (`static_argnums`).
    """,
)
def a_mapped_value_as_a_loop_bound():
    functrax.vmap(lambda n: sum(range(n)))(jnp.arange(2))


@raises(
    errors.HashError,
    """
    [vmap] expected a hashable value as a dict key, set member or cache key; got a
    traced f32[] made at HERE (HERE). Use a static argument, or a Python value, as the
    key.
    """,
)
def a_mapped_value_as_a_dict_key():
    functrax.vmap(lambda x: {x: 1})(jnp.ones(2))


@raises(
    errors.TracerArrayError,
    """
    [jit] expected a concrete value for the format '.3f'; got a traced ~f32[] made at
    the call of <lambda>, argument x (HERE). Return the array, and format it outside of
    the transform.
    """,
)
def a_tracer_with_a_format():
    functrax.jit(lambda x: f"{x:.3f}")(1.0)


@raises(
    errors.TracerArrayError,
    """
    [arange] expected a concrete 'stop'; got a traced ~i32[] made at the call of
    <lambda>, argument n (HERE). The shape would depend on a traced value.
    """,
)
def a_size_that_is_traced():
    functrax.jit(lambda n: jnp.arange(n))(3)


@raises(
    errors.TracerIndexError,
    """
    [getitem] expected boolean index arrays with known values, for the shape of the
    result depends on them; got a traced bool[3] made at HERE by gt (HERE). Use
    `jnp.where(mask, x, other)`, `x.at[mask].set(scalar)`, or `jnp.nonzero(mask,
    size=n)`.
    """,
)
def a_mask_as_an_index():
    functrax.jit(lambda x: x[x > 0])(jnp.ones(3))


@raises(
    errors.LeakedTracerError,
    """
    [jit] expected values made inside a transformed function to stay inside it; got a
    traced ~f32[] made at the call of <lambda>, argument x, used as an argument of grad
    after the transform ended (HERE). Return it from the function instead of storing it
    outside (a global, a closure, an attribute, a list).
    """,
)
def an_argument_of_grad_after_its_trace():
    kept = []
    functrax.jit(lambda x: kept.append(x))(1.0)
    functrax.grad(lambda x: x)(kept[0])


@raises(
    errors.LeakedTracerError,
    """
    [jit] expected traced values to stay where the transform follows them: not in what a
    custom_jvp or custom_vjp function or its rules close over, nor in other threads; got
    a traced ~f32[] made at the call of elsewhere, argument x, used elsewhere (HERE).
    Pass it to the function as an argument.
    """,
)
def a_tracer_in_another_thread():
    def elsewhere(x):
        with futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: x + 1).result()

    functrax.jit(elsewhere)(1.0)


# vmap ---------------------------------------------------------------------------------------------


@raises(
    errors.AxesError,
    """
    [vmap] expected in_axes with one entry for each of the 2 positional arguments of
    '<lambda>'; got 1 entries: (0,) (HERE).
    """,
)
def in_axes_of_another_length():
    functrax.vmap(lambda x, y: x, in_axes=(0,))(jnp.ones(2), jnp.ones(2))


@raises(
    errors.AxesError,
    """
    [vmap] expected in_axes to be a prefix of the arguments' trees; got ({'b': 0},):
    in_axes[0] must be an int, None or a dict with the keys 'a', not a dict with the
    keys 'b' (HERE).
    """,
)
def in_axes_of_another_tree():
    functrax.vmap(lambda x: x["a"], in_axes=({"b": 0},))({"a": jnp.ones(2)})


@raises(errors.AxesError, "[vmap] expected in_axes of ints and None; got 0.5 of type float (HERE).")
def in_axes_that_are_no_numbers():
    functrax.vmap(lambda x: x, in_axes=0.5)


@raises(errors.AxesError, "[vmap] expected in_axes by parameter name: x, y; got 'z' (HERE).")
def in_axes_by_a_wrong_name():
    functrax.vmap(lambda x, y: x, in_axes={"z": 0})(1.0, 2.0)


@raises(
    errors.AxesError,
    """
    [vmap] expected an axis of "p['w']" to map; got axis 1 of f32[3] (HERE). Give it `None`
    in in_axes if it is not to be mapped.
    """,
)
def in_axes_beyond_the_array():
    functrax.vmap(lambda p: p["w"], in_axes=1)({"w": jnp.ones(3)})


@raises(
    errors.AxesError,
    """
    [vmap] expected an axis of 'y' to map; got axis 0 of ~f32[] (HERE). Give it `None` in
    in_axes if it is not to be mapped.
    """,
)
def in_axes_of_a_number():
    functrax.vmap(lambda x, y: x)(jnp.ones(2), 1.0)


@raises(
    errors.AxesError,
    """
    [vmap] expected mapped axes of one size; got p['b']: 4 (axis 0 of f32[4]), p['w']: 2
    (axis 0 of f32[2,3]), x: 2 (axis 0 of f32[2]) (HERE). Map other axes, or give an
    argument `None` in in_axes.
    """,
)
def sizes_that_differ():
    functrax.vmap(lambda p, x: x)({"w": jnp.ones((2, 3)), "b": jnp.ones(4)}, jnp.ones(2))


@raises(
    errors.AxesError,
    """
    [vmap] expected mapped axes of size 4, the axis_size; got x: 2 (axis 0 of f32[2])
    (HERE). Map other axes, or give an argument `None` in in_axes.
    """,
)
def another_axis_size():
    functrax.vmap(lambda x: x, axis_size=4)(jnp.ones(2))


@raises(
    errors.AxesError,
    """
    [vmap] expected at least one mapped argument of '<lambda>'; got none (HERE). Pass
    `axis_size`, or an axis in in_axes.
    """,
)
def nothing_that_is_mapped():
    functrax.vmap(lambda x: x, in_axes=None)(jnp.ones(2))


@raises(
    errors.AxesError,
    """
    [vmap] expected out_axes to be a prefix of the tree that '<lambda>' returns; got
    {'b': 0}: out_axes must be an int, None or a dict with the keys 'a', not a dict with
    the keys 'b' (HERE).
    """,
)
def out_axes_of_another_tree():
    functrax.vmap(lambda x: {"a": x}, out_axes={"b": 0})(jnp.ones(2))


@raises(
    errors.AxesError,
    """
    [vmap] expected out_axes within the 1 axes of the result of '<lambda>', the mapped
    one included; got axis 2 (HERE).
    """,
)
def out_axes_beyond_the_result():
    functrax.vmap(lambda x: x, out_axes=2)(jnp.ones(2))


@raises(
    errors.AxesError,
    """
    [vmap] expected the result of '<lambda>' not to depend on the mapped axis, because
    its out_axes is None; got one that does (HERE). Give it an axis in out_axes.
    """,
)
def out_axes_none_of_a_mapped_result():
    functrax.vmap(lambda x: x, out_axes=None)(jnp.ones(2))


@raises(
    errors.AxisNameError,
    """
    [psum] expected an axis name bound by an enclosing vmap, pmap or shard_map; got 'j';
    axes in scope: 'i' (HERE). Call it inside `vmap(f, axis_name='j')`.
    """,
)
def an_axis_name_that_nobody_binds():
    functrax.vmap(lambda x: lax.psum(x, "j"), axis_name="i")(jnp.ones(2))


@raises(
    errors.AxesError,
    """
    [vmap] expected in_axes to be a prefix of the arguments' trees; got ({'x': [0,
    1]},): in_axes[0]['x'] must be an int, None or a list of length 1, not a list of
    length 2 (HERE).
    """,
)
def in_axes_of_a_list_within():
    functrax.vmap(lambda p: p, in_axes=({"x": [0, 1]},))({"x": [jnp.ones(2)]})


@raises(
    errors.AxesError,
    """
    [vmap] expected mapped axes of one size; got x: 2 (axis 0 of f32[2]), y: 3 (axis 0
    of f32[3]) (HERE). Map other axes, or give an argument `None` in in_axes.
    """,
)
def sizes_that_differ_in_jit():
    functrax.jit(functrax.vmap(lambda x, y: x * y))(jnp.ones(2), jnp.ones(3))


@raises(
    errors.AxesError,
    """
    [vmap] expected axis_size as an int of at least 0, or None; got -1 of type int
    (HERE).
    """,
)
def an_axis_size_that_is_no_number():
    functrax.vmap(lambda x: x, axis_size=-1)


@raises(
    errors.AxesError,
    """
    [vmap] expected out_axes to be a prefix of the tree that '<lambda>' returns; got (0,
    0): out_axes must be an int or None, not a tuple of length 2 (HERE).
    """,
)
def out_axes_of_several_results():
    functrax.vmap(lambda x: x, out_axes=(0, 0))(jnp.ones(2))


@raises(
    errors.AxesError,
    """
    [vmap] expected the result['a'] of '<lambda>' not to depend on the mapped axis,
    because its out_axes is None; got one that does (HERE). Give it an axis in out_axes.
    """,
)
def out_axes_none_in_a_tree():
    functrax.vmap(lambda x: {"a": x, "b": 1.0}, out_axes=None)(jnp.ones(2))


# Arguments and results ----------------------------------------------------------------------------


@raises(
    errors.HashError,
    """
    [jit] expected static argument 'sizes' of '<lambda>' to be hashable; got [2, 3] of type
    list (HERE). Pass a tuple instead of a list, or do not mark it static.
    """,
)
def an_unhashable_static_argument():
    functrax.jit(lambda x, sizes: x, static_argnums=1)(1.0, [2, 3])


@raises(
    errors.HashError,
    """
    [jit] expected static argument 'n' of '<lambda>' to be hashable; got an array,
    f32[3] (HERE). Do not mark it static.
    """,
)
def a_static_array():
    functrax.jit(lambda x, n: x, static_argnames="n")(1.0, n=jnp.ones(3))


@raises(
    errors.ArgumentError,
    """
    [jit] expected static_argnums within the 1 positional parameters of '<lambda>'; got 3
    (HERE).
    """,
)
def a_static_position_that_is_not_there():
    functrax.jit(lambda x: x, static_argnums=3)


@raises(
    errors.ArgumentError,
    """
    [jit] expected static_argnames among the parameters of '<lambda>': x, y; got 'z' (HERE).
    """,
)
def a_static_name_that_is_not_there():
    functrax.jit(lambda x, y: x, static_argnames="z")


@raises(
    errors.ArgumentError,
    """
    [jit] expected arguments that are static or donated, not both; got 'x' (HERE).
    """,
)
def static_and_donated():
    functrax.jit(lambda x: x, static_argnums=0, donate_argnums=0)


@raises(
    errors.ArgumentError,
    """
    [jit] expected the arguments of <lambda>(x, y); got 1 positional (missing a required
    argument: 'y') (HERE).
    """,
)
def too_few_arguments():
    functrax.jit(lambda x, y: x)(1.0)


@raises(
    errors.ArgumentError,
    """
    [vmap] expected the arguments of <lambda>(x); got 2 positional (too many positional
    arguments) (HERE).
    """,
)
def too_many_arguments():
    functrax.vmap(lambda x: x)(jnp.ones(2), jnp.ones(2))


@raises(
    errors.ArgumentError,
    """
    [grad] expected the arguments of <lambda>(x); got 1 positional and by keyword scale (got
    an unexpected keyword argument 'scale') (HERE).
    """,
)
def an_unknown_keyword():
    functrax.grad(lambda x: x)(1.0, scale=2.0)


@raises(
    errors.ArgumentError,
    """
    [jit] expected argument "p['a'][1]" of '<lambda>' to be an array or a number; got 'text'
    of type str (HERE). Mark it static (`static_argnums`/`static_argnames`), or close over
    it.
    """,
)
def an_argument_that_is_no_array():
    functrax.jit(lambda p: p)({"a": [1.0, "text"]})


@raises(
    errors.ArgumentError,
    """
    [vmap] expected argument "p['a']" to be an array or a number; got 'text' of type str
    (HERE). Convert it with `jnp.asarray`, or close over it.
    """,
)
def an_argument_of_vmap_that_is_no_array():
    functrax.vmap(lambda p: p)({"a": "text"})


@raises(
    errors.ArgumentError,
    """
    [grad] expected argument "p['a']" to be an array or a number; got <class 'object'> of
    type type (HERE). Convert it with `jnp.asarray`, or close over it.
    """,
)
def an_argument_of_grad_that_is_no_array():
    functrax.grad(lambda x, p: x, argnums=1)(1.0, {"a": object})


@raises(
    errors.ArgumentError,
    """
    [jit] expected '<lambda>' to return arrays, numbers, or pytrees of them; got 'text' of
    type str at result['a'][1] (HERE). Keep what is not an array outside of the function, or
    in its arguments.
    """,
)
def a_result_that_is_no_array():
    functrax.jit(lambda x: {"a": [x, "text"]})(1.0)


@raises(
    errors.ArgumentError,
    """
    [vmap] expected '<lambda>' to return arrays, numbers, or pytrees of them; got 'text' of
    type str (HERE). Keep what is not an array outside of the function, or in its arguments.
    """,
)
def a_result_of_vmap_that_is_no_array():
    functrax.vmap(lambda x: "text")(jnp.ones(2))


@raises(
    errors.ArgumentError,
    """
    [grad] expected '<lambda>' to return arrays, numbers, or pytrees of them; got 'text' of
    type str (HERE). Keep what is not an array outside of the function, or in its arguments.
    """,
)
def a_result_of_grad_that_is_no_array():
    functrax.grad(lambda x: "text")(1.0)


@raises(
    errors.ArgumentError,
    "[jit] expected a function; got f32[3] (HERE). Pass it as `jit(f)(x)`.",
)
def what_is_no_function():
    functrax.jit(jnp.ones(3))


@raises(
    errors.ArgumentError,
    """
    [jit] expected a function that returns arrays; got the generator function 'counting'
    (HERE).
    """,
)
def a_generator():
    def counting(x):
        yield x

    functrax.jit(counting)


@raises(
    errors.ArgumentError,
    """
    [checkpoint] expected a function of (primitive, *types, **params) as policy; got
    'dots_saveable' of type str (HERE).
    """,
)
def a_checkpoint_policy_by_name():
    functrax.checkpoint(lambda x: x, policy="dots_saveable")


class UnhashablePolicy:
    __hash__ = None

    def __call__(self, prim, *avals, **params):
        return True

    def __repr__(self):
        return "UnhashablePolicy()"


@raises(
    errors.HashError,
    """
    [checkpoint] expected a hashable policy; got UnhashablePolicy() of type
    UnhashablePolicy (HERE).
    """,
)
def a_checkpoint_policy_that_is_not_hashable():
    functrax.checkpoint(lambda x: x, policy=UnhashablePolicy())


@raises(
    errors.ArgumentError,
    """
    [checkpoint] expected a policy that returns True, False or an Offloadable; got None
    (HERE).
    """,
)
def a_checkpoint_policy_that_does_not_answer():
    functrax.grad(functrax.checkpoint(jnp.sin, policy=lambda *_, **__: None))(1.0)


@raises(
    errors.ArgumentError,
    """
    [checkpoint] expected budget_bytes as a number of bytes; got -1 of type int (HERE).
    """,
)
def a_negative_checkpoint_budget():
    functrax.checkpoint(lambda x: x, budget_bytes=-1)


@raises(
    errors.ArgumentError,
    """
    [checkpoint] expected a policy or budget_bytes, not both; got both (HERE).
    """,
)
def a_checkpoint_policy_and_budget():
    policy = functrax.checkpoint_policies.dots_saveable
    functrax.checkpoint(lambda x: x, policy=policy, budget_bytes=1)


@raises(
    errors.ArgumentError,
    """
    [checkpoint_name] expected a name as a str; got 3 (HERE).
    """,
)
def a_checkpoint_name_that_is_no_string():
    ad_checkpoint.checkpoint_name(1.0, 3)


@raises(
    errors.ArgumentError,
    """
    [save_only_these_names] expected names as strings; got ['a', 'b'] (HERE).
    Write `save_only_these_names('a', 'b')`.
    """,
)
def checkpoint_names_in_a_list():
    functrax.checkpoint_policies.save_only_these_names(["a", "b"])


@raises(
    errors.ArgumentError,
    """
    [save_and_offload_only_these_names] expected each name saved or offloaded, not both; got
    'a' (HERE).
    """,
)
def a_name_saved_and_offloaded():
    functrax.checkpoint_policies.save_and_offload_only_these_names(
        names_which_can_be_saved=["a"],
        names_which_can_be_offloaded=["a", "b"],
        offload_src="device",
        offload_dst="pinned_host",
    )


@raises(
    errors.ArgumentError,
    """
    [offload_dot_with_no_batch_dims] expected kinds of memory among 'device',
    'pinned_host', 'unpinned_host'; got 'host' (HERE).
    """,
)
def an_unknown_memory_to_offload_to():
    functrax.checkpoint_policies.offload_dot_with_no_batch_dims("device", "host")


@raises(
    errors.ArgumentError,
    """
    [save_from_both_policies] expected policies that return True or False; got
    Offloadable(src='device', dst='pinned_host') (HERE). Write one policy that decides on
    both.
    """,
)
def both_of_policies_that_offload():
    policies = functrax.checkpoint_policies
    offload = policies.offload_dot_with_no_batch_dims("device", "pinned_host")
    both = policies.save_from_both_policies(offload, policies.dots_saveable)
    x = jnp.ones((2, 2))
    functrax.grad(lambda x: functrax.checkpoint(jnp.dot, policy=both)(x, x).sum())(x)


@raises(
    errors.HashError,
    """
    [jit] expected static argument 'n' of '<lambda>' to be hashable; got an array,
    ~f32[] (HERE). Do not mark it static.
    """,
)
def an_unhashable_static_argument_of_a_nested_call():
    f = functrax.jit(lambda x, n: x, static_argnums=1)
    functrax.jit(lambda x: f(x, x))(1.0)


@raises(
    errors.ArgumentError,
    """
    [jit] expected static_argnums of ints; got 1.0 of type float (HERE).
    """,
)
def static_positions_that_are_no_integers():
    functrax.jit(lambda x: x, static_argnums=1.0)


@raises(
    errors.ArgumentError,
    """
    [jit] expected donate_argnums within the 1 positional parameters of '<lambda>'; got
    1 (HERE).
    """,
)
def a_donated_position_that_is_not_there():
    functrax.jit(lambda x: x, donate_argnums=1)


@raises(
    errors.ArgumentError,
    """
    [vjp] expected the arguments of <lambda>(x, y); got 1 positional (missing a required
    argument: 'y') (HERE).
    """,
)
def too_few_arguments_of_vjp():
    functrax.vjp(lambda x, y: x * y, 1.0)


@raises(
    errors.ArgumentError,
    """
    [jvp] expected the arguments of <lambda>(x); got 2 positional (too many positional
    arguments) (HERE).
    """,
)
def too_many_arguments_of_jvp():
    functrax.jvp(lambda x: x, (1.0, 2.0), (1.0, 2.0))


@raises(
    errors.ArgumentError,
    """
    [linearize] expected the arguments of <lambda>(x, y); got 1 positional (missing a
    required argument: 'y') (HERE).
    """,
)
def too_few_arguments_of_linearize():
    functrax.linearize(lambda x, y: x * y, 1.0)


@raises(
    errors.ArgumentError,
    """
    [checkpoint] expected the arguments of <lambda>(x, y); got 1 positional (missing a
    required argument: 'y') (HERE).
    """,
)
def too_few_arguments_of_checkpoint():
    functrax.checkpoint(lambda x, y: x * y)(1.0)


@raises(
    errors.ArgumentError,
    """
    [checkpoint] expected the arguments of <lambda>(x, y); got 1 positional (missing a
    required argument: 'y') (HERE).
    """,
)
def too_few_arguments_of_checkpoint_in_grad():
    functrax.grad(functrax.checkpoint(lambda x, y: x * y))(1.0)


@raises(
    errors.ArgumentError,
    """
    [<lambda>] expected the arguments of <lambda>(x, y); got 1 positional (missing a
    required argument: 'y') (HERE).
    """,
)
def too_few_arguments_of_a_custom_function():
    pulled(lambda x, y: (x, None), lambda _, g: (g, g))(1.0)


@raises(
    errors.ArgumentError,
    """
    [checkpoint] expected argument "p['a']" to be an array or a number; got 'text' of
    type str (HERE). Convert it with `jnp.asarray`, or close over it.
    """,
)
def an_argument_of_checkpoint_that_is_no_array():
    functrax.jit(lambda: functrax.checkpoint(lambda p: p["a"])({"a": "text"}))()


@raises(
    errors.ArgumentError,
    """
    [<lambda>] expected argument "x['a']" to be an array or a number; got 'text' of type
    str (HERE). Convert it with `jnp.asarray`, or close over it.
    """,
)
def an_argument_of_a_custom_function_that_is_no_array():
    functrax.jit(lambda: pushed(lambda p, t: (p, t))({"a": "text"}))()


@raises(
    errors.ArgumentError,
    """
    [eval_shape] expected argument "y['a']" to be an array or a number; got 'text' of
    type str (HERE). Convert it with `jnp.asarray`, or close over it.
    """,
)
def an_argument_of_eval_shape_that_is_no_array():
    functrax.eval_shape(lambda x, y: x, 1.0, {"a": "text"})


@raises(
    errors.ArgumentError,
    """
    [jit] expected argument 'y[0]' to be an array or a number; got 'text' of type str
    (HERE). Convert it with `jnp.asarray`, or close over it.
    """,
)
def an_argument_of_lower_that_is_no_array():
    functrax.jit(lambda x, y: x).lower(1.0, y=["text"])


@raises(
    errors.ArgumentError,
    """
    [vjp] expected '<lambda>' to return arrays, numbers, or pytrees of them; got 'text'
    of type str at result[1]['a'] (HERE). Keep what is not an array outside of the
    function, or in its arguments.
    """,
)
def a_result_of_vjp_that_is_no_array():
    functrax.vjp(lambda x: [x, {"a": "text"}], 1.0)


@raises(
    errors.ArgumentError,
    """
    [checkpoint] expected '<lambda>' to return arrays, numbers, or pytrees of them; got
    'text' of type str at result[1] (HERE). Keep what is not an array outside of the
    function, or in its arguments.
    """,
)
def a_result_of_checkpoint_that_is_no_array():
    functrax.grad(functrax.checkpoint(lambda x: [x, "text"]))(1.0)


@raises(
    errors.ArgumentError,
    """
    [<lambda>] expected 'x' to be f32[2], for which it was compiled; got i32[2] (HERE).
    Convert it, or call the jitted function, which compiles for any type.
    """,
)
def another_type_than_compiled_for():
    f = functrax.jit(lambda x: x).lower(jnp.ones(2)).compile()
    f(jnp.arange(2))


# Rules --------------------------------------------------------------------------------------------


@raises(
    errors.MissingRuleError,
    """
    [grad] expected a primitive with a rule for 'jvp'; got 'half of test_errors', which has
    none (HERE). Halves have no derivative. Add `jvp=` to its declaration at ITS PLACE.
    """,
)
def a_missing_rule():
    functrax.grad(lambda x: bind(half_p, x)[0])(1.0)


@raises(
    errors.ArgumentError,
    """
    [declare] expected a function or a Refusal as 'batch' of 'third'; got none (HERE). Write
    a `Refusal` with the reason if there can be no rule.
    """,
)
def a_rule_that_is_left_out():
    declare("third", abstract_eval=len, jvp=NOT_LINEAR, transpose=NOT_LINEAR, batch=None, lower=len)


@raises(
    errors.MissingRuleError,
    """
    [vmap] expected a primitive with a rule for 'batch'; got 'half of test_errors', which
    has none (HERE). Halves are not mapped. Add `batch=` to its declaration at ITS PLACE.
    """,
)
def a_missing_batch_rule():
    functrax.vmap(lambda x: bind(half_p, x)[0])(jnp.ones(2))


@raises(
    errors.MissingRuleError,
    """
    [linear_transpose] expected a primitive with a rule for 'transpose'; got 'half of
    test_errors', which has none (HERE). The operation is not linear in any operand. Add
    `transpose=` to its declaration at ITS PLACE.
    """,
)
def a_missing_transpose_rule():
    functrax.linear_transpose(lambda x: bind(half_p, x)[0], 1.0)(1.0)


@raises(
    errors.CustomRuleError,
    """
    [<lambda>] expected the bwd rule to return cotangents of the structure PyTreeDef((*,
    *)); got PyTreeDef((*,)) (HERE). Return a tuple with one entry for each differentiable
    argument; None stands for zero.
    """,
)
def bwd_with_too_few_cotangents():
    functrax.grad(pulled(lambda x, y: (x, None), lambda _, g: (g,)))(1.0, 2.0)


@raises(
    errors.CustomRuleError,
    """
    [<lambda>] expected the bwd rule to return a tuple of cotangents, for x, y; got ~f32[]
    (HERE). Return a tuple also for one argument: `return (g,)`.
    """,
)
def bwd_without_a_tuple():
    functrax.grad(pulled(lambda x, y: (x, None), lambda _, g: g))(1.0, 2.0)


@raises(
    errors.CustomRuleError,
    """
    [<lambda>] expected the bwd rule to return a tuple of cotangents, for x, y; got None
    (HERE). Return a tuple also for one argument: `return (g,)`.
    """,
)
def bwd_without_a_result():
    functrax.grad(pulled(lambda x, y: (x, None), lambda _, g: None))(1.0, 2.0)


@raises(
    errors.CustomRuleError,
    """
    [<lambda>] expected the bwd rule to return cotangents of type f32[] for 'y'; got f32[3]
    (HERE).
    """,
)
def bwd_with_another_shape():
    functrax.grad(pulled(lambda x, y: (x, None), lambda _, g: (g, jnp.ones(3))))(1.0, 2.0)


@raises(
    errors.CustomRuleError,
    """
    [<lambda>] expected the bwd rule to return cotangents of type f32[] for 'x'; got i32[]
    (HERE).
    """,
)
def bwd_with_another_dtype():
    functrax.grad(pulled(lambda x, y: (x, None), lambda _, g: (g.astype("int32"), g)))(1.0, 2.0)


@raises(
    errors.CustomRuleError,
    """
    [<lambda>] expected the bwd rule to return cotangents of the structure PyTreeDef((*,
    {'a': *})); got PyTreeDef((*, {'b': *})) (HERE). Return a tuple with one entry for each
    differentiable argument; None stands for zero.
    """,
)
def bwd_with_another_tree():
    f = pulled(lambda x, y: (x, None), lambda _, g: (g, {"b": g}))
    functrax.grad(f)(1.0, {"a": 2.0})


@raises(
    errors.CustomRuleError,
    """
    [<lambda>] expected the bwd rule to return arrays and numbers; got 'text' of type str
    (HERE).
    """,
)
def bwd_that_returns_text():
    functrax.grad(pulled(lambda x, y: (x, None), lambda _, g: (g, "text")))(1.0, 2.0)


@raises(
    errors.CustomRuleError,
    """
    [<lambda>] expected the fwd rule to return a pair (output, residuals); got ~f32[]
    (HERE).
    """,
)
def fwd_without_residuals():
    functrax.grad(pulled(lambda x, y: x, lambda _, g: (g, g)))(1.0, 2.0)


@raises(
    errors.CustomRuleError,
    """
    [<lambda>] expected the fwd rule (in its residuals) to return arrays and numbers; got
    'text' of type str (HERE).
    """,
)
def fwd_with_text_as_residuals():
    functrax.grad(pulled(lambda x, y: (x, "text"), lambda _, g: (g, g)))(1.0, 2.0)


@raises(
    errors.CustomRuleError,
    """
    [<lambda>] expected the fwd rule to return the function's output, f32[]; got f32[3]
    (HERE).
    """,
)
def fwd_with_another_output():
    f = pulled(lambda x, y: (jnp.ones(3), None), lambda _, g: (g, g))
    functrax.grad(functrax.jit(lambda x, y: f(x, y).sum()))(1.0, 2.0)


@raises(
    errors.ArgumentError,
    """
    [<lambda>] expected the arguments of <lambda>(x); got 2 positional (too many positional
    arguments) (HERE).
    """,
)
def fwd_with_other_arguments():
    functrax.grad(pulled(lambda x: (x, None), lambda _, g: (g, g)))(1.0, 2.0)


@raises(
    errors.ArgumentError,
    """
    [<lambda>] expected rules set by `defvjp`; got none (HERE). Call `<lambda>.defvjp(fwd,
    bwd)`.
    """,
)
def no_rules():
    functrax.custom_vjp(lambda x: x)(1.0)


@raises(
    errors.CustomRuleError,
    """
    [<lambda>] expected the jvp rule to return a pair (output, output tangent); got a traced
    ~f32[] made at the call of <lambda>, argument x (HERE).
    """,
)
def jvp_without_a_pair():
    functrax.grad(pushed(lambda primals, tangents: tangents[0]))(1.0)


@raises(
    errors.CustomRuleError,
    """
    [<lambda>] expected the jvp rule to return an output tangent of type f32[]; got f32[3]
    (HERE).
    """,
)
def jvp_with_another_tangent():
    functrax.grad(pushed(lambda primals, tangents: (primals[0], jnp.ones(3))))(1.0)


@raises(
    errors.CustomRuleError,
    """
    [<lambda>] expected the jvp rule to return an output tangent of the structure
    PyTreeDef(*); got PyTreeDef((*,)) (HERE). None stands for zero.
    """,
)
def jvp_with_another_tree_of_tangents():
    functrax.grad(pushed(lambda primals, tangents: (primals[0], tangents)))(1.0)


@raises(
    errors.LeakedTracerError,
    """
    [grad] expected traced values to stay where the transform follows them: not in what
    a custom_jvp or custom_vjp function or its rules close over, nor in other threads;
    got a traced ~f32[] made at the call of <lambda>, argument c, used elsewhere (HERE).
    Pass it to the function as an argument.
    """,
)
def a_custom_function_that_closes_over_a_differentiated_value():
    rule = lambda primals, tangents: (primals[0], tangents[0])  # noqa: E731
    functrax.grad(lambda c: pushed(rule, lambda x: c * x)(1.0))(2.0)


@raises(
    errors.LeakedTracerError,
    """
    [grad] expected traced values to stay where the transform follows them: not in what
    a custom_jvp or custom_vjp function or its rules close over, nor in other threads;
    got a traced ~f32[] made at the call of <lambda>, argument c, used elsewhere (HERE).
    Pass it to the function as an argument.
    """,
)
def a_custom_function_that_closes_over_a_differentiated_value_in_jit():
    rule = lambda primals, tangents: (primals[0], tangents[0])  # noqa: E731
    functrax.jit(functrax.grad(lambda c: pushed(rule, lambda x: c * x)(1.0)))(2.0)


# Indices ------------------------------------------------------------------------------------------


@raises(
    errors.BoundsError,
    """
    [getitem] expected an index from -3 to 2 into axis 0 of an array of shape (3,); got 5
    (HERE). Use `x.at[i]` with mode="clip", "fill" or "drop" to allow places outside.
    """,
)
def an_index_out_of_bounds():
    jnp.arange(3)[5]


@raises(
    errors.BoundsError,
    """
    [getitem] expected an index from -3 to 2 into axis 0 of an array of shape (3,); got -4
    (HERE). Use `x.at[i]` with mode="clip", "fill" or "drop" to allow places outside.
    """,
)
def an_index_out_of_bounds_in_jit():
    functrax.jit(lambda x: x[-4])(jnp.arange(3))


@raises(
    errors.BoundsError,
    """
    [at[].set] expected an index from -3 to 2 into axis 0 of an array of shape (3,); got 7
    (HERE). Use `x.at[i]` with mode="clip", "fill" or "drop" to allow places outside.
    """,
)
def an_update_out_of_bounds():
    jnp.arange(3).at[7].set(1)


@raises(
    errors.BoundsError,
    """
    [getitem] expected at most 1 indices for an array of shape (3,); got 2 (HERE).
    """,
)
def too_many_indices():
    jnp.arange(3)[0, 0]


@raises(
    errors.ArgumentError,
    """
    [getitem] expected an index of integers, slices, None, ..., or integer or boolean
    arrays; got 1.0 of type float (HERE).
    """,
)
def a_float_as_an_index():
    jnp.arange(3)[1.0]


@raises(
    errors.BoundsError,
    """
    [slice] expected 0 <= start <= limit <= size in each axis of i32[3]; got
    start_indices=(0,), limit_indices=(4,) (HERE).
    """,
)
def a_slice_out_of_bounds():
    lax.slice(jnp.arange(3), (0,), (4,))


@raises(errors.BoundsError, "[sum] expected an axis of an array of 2 axes; got axis 2 (HERE).")
def an_axis_out_of_bounds():
    jnp.ones((2, 3)).sum(axis=2)


# Memory -------------------------------------------------------------------------------------------


@raises(
    errors.DonatedError,
    """
    [array] expected an array that still has its memory, for computing; got f32[3], donated
    to '<lambda>' at HERE (HERE). Use the result of that call, make a copy before, or do not
    donate this argument.
    """,
)
def a_donated_array_again():
    step = functrax.jit(lambda state: state + 1, donate_argnums=0)
    state = jnp.ones(3)
    step(state)
    state + 1


@raises(
    errors.DonatedError,
    """
    [array] expected an array that still has its memory, for reading it; got f32[3], donated
    to '<lambda>' at HERE (HERE). Use the result of that call, make a copy before, or do not
    donate this argument.
    """,
)
def a_donated_array_read():
    state = jnp.ones(3)
    functrax.jit(lambda state: state + 1, donate_argnums=0)(state)
    np.asarray(state)


@raises(
    errors.DonatedError,
    """
    [<lambda>] expected each donated array once; got one f32[3] as leaves 0 and 1 of its
    arguments (HERE). Pass a copy of it, `x.copy()`, or do not donate it.
    """,
)
def a_donated_array_in_the_same_call():
    state = jnp.ones(3)
    functrax.jit(lambda a, b: (a + 1, b), donate_argnums=(0, 1))(state, state)


@raises(
    errors.DonatedError,
    """
    [<lambda>] expected each donated array once; got one f32[3] as leaves 0 and 1 of its
    arguments (HERE). Pass a copy of it, `x.copy()`, or do not donate it.
    """,
)
def a_donated_array_that_is_also_lent():
    state = jnp.ones(3)
    step = functrax.jit(lambda a, b: (a + 1, b), donate_argnums=0).lower(state, state).compile()
    step(state, state)


@raises(
    errors.DonatedError,
    """
    [<lambda>] expected each donated array once; got one f32[3] as leaf 0 of its arguments,
    and by its closure (HERE). Pass a copy of it, `x.copy()`, or do not donate it.
    """,
)
def a_donated_array_that_is_captured():
    state = jnp.ones(3)
    functrax.jit(lambda a: a + state, donate_argnums=0)(state)


@raises(
    errors.DonatedError,
    """
    [array] expected an array that still has its memory, for computing; got f32[3], deleted
    by `delete()` (HERE). Delete it after its last use.
    """,
)
def a_deleted_array():
    x = jnp.ones(3)
    x.delete()
    functrax.jit(lambda x: x + 1)(x)


@raises(
    errors.OutOfMemoryError,
    """
    [zeros] expected enough device memory; got RESOURCE_EXHAUSTED: Out of memory
    allocating 1125899906842624 bytes. (HERE). Use a smaller batch or dtype, donate
    arguments, or checkpoint the program.
    """,
)
def more_memory_than_there_is():
    jnp.zeros((2**24, 2**24)).block_until_ready()


@raises(
    errors.OutOfMemoryError,
    """
    [jit] expected enough device memory; got RESOURCE_EXHAUSTED: Out of memory
    allocating 1125899906842624 bytes. (HERE). Use a smaller batch or dtype, donate
    arguments, or checkpoint the program.
    """,
)
def more_memory_than_there_is_in_jit():
    functrax.jit(lambda x: jnp.outer(x, x))(jnp.ones(2**24)).block_until_ready()


@raises(
    errors.DonatedError,
    """
    [array] expected an array that still has its memory, for computing; got f32[3],
    donated to '<lambda>' at HERE (HERE). Use the result of that call, make a copy
    before, or do not donate this argument.
    """,
)
def a_donated_array_that_a_function_closes_over():
    state = jnp.ones(3)
    functrax.jit(lambda state: state + 1, donate_argnums=0)(state)
    functrax.jit(lambda: state + 1)()


@raises(
    errors.DonatedError,
    """
    [array] expected an array that still has its memory, for computing; got f32[3],
    donated to '<lambda>' at HERE (HERE). Use the result of that call, make a copy
    before, or do not donate this argument.
    """,
)
def a_donated_array_in_grad():
    state = jnp.ones(3)
    functrax.jit(lambda state: state + 1, donate_argnums=0)(state)
    functrax.grad(lambda x: x.sum())(state)


@raises(
    errors.OutOfMemoryError,
    """
    [jit] expected enough device memory; got RESOURCE_EXHAUSTED: Out of memory
    allocating 1125899906842624 bytes. (HERE). Use a smaller batch or dtype, donate
    arguments, or checkpoint the program.
    """,
)
def more_memory_than_there_is_read():
    np.asarray(functrax.jit(lambda x: jnp.outer(x, x))(jnp.ones(2**24)))


@raises(
    errors.OutOfMemoryError,
    """
    [jit] expected enough device memory; got RESOURCE_EXHAUSTED: Out of memory
    allocating 1125899906842624 bytes. (HERE). Use a smaller batch or dtype, donate
    arguments, or checkpoint the program.
    """,
)
def more_memory_than_there_is_beside_a_number():
    float(functrax.jit(lambda x: (jnp.outer(x, x), x.sum()))(jnp.ones(2**24))[1])


@raises(
    errors.OutOfMemoryError,
    """
    [zeros] expected an array of fewer than 2**63 bytes; got
    f32[4611686018427387904] (HERE). Use smaller sizes: no device holds so much.
    """,
)
def more_memory_than_can_be_counted():
    jnp.zeros(2**62)


@raises(
    errors.OutOfMemoryError,
    """
    [zeros] expected an array of fewer than 2**63 bytes; got
    f32[2147483648,2147483648,2147483648] (HERE). Use smaller sizes: no device holds so
    much.
    """,
)
def more_memory_than_can_be_counted_in_jit():
    functrax.jit(lambda: jnp.zeros((2**31, 2**31, 2**31)).sum())()


# Integers and keys --------------------------------------------------------------------------------


@raises(
    errors.IntegerOverflowError,
    """
    [asarray] expected integers from -2147483648 to 2147483647, which int32 holds; got
    1099511627776 (HERE). Ask for dtype="int64", which holds it.
    """,
)
def an_integer_that_does_not_fit():
    jnp.asarray(2**40)


@raises(
    errors.IntegerOverflowError,
    """
    [jit] expected integers from -2147483648 to 2147483647, which int32 holds; got
    -1099511627776 (HERE). Ask for dtype="int64", which holds it.
    """,
)
def an_array_of_integers_that_do_not_fit():
    functrax.jit(lambda x: x)(np.array([1, -(2**40)]))


@raises(
    errors.IntegerOverflowError,
    """
    [add] expected integers from 0 to 255, which uint8 holds; got 300 (HERE). Ask for
    dtype="int32", which holds it.
    """,
)
def an_integer_beside_an_array():
    jnp.ones(3, "uint8") + 300


@raises(
    errors.IntegerOverflowError,
    """
    [asarray] expected integers from -9223372036854775808 to 9223372036854775807, which int64
    holds; got 1180591620717411303424 (HERE). No integer dtype holds it; ask for a
    floating-point one.
    """,
)
def an_integer_that_fits_nothing():
    jnp.asarray(2**70, dtype="int64")


@raises(
    errors.KeyTypeError,
    """
    [add] expected PRNG keys of one kind, or only numbers; got key<fry>, int32 (HERE).
    random.key_data(keys) gives the bits of keys as numbers.
    """,
)
def a_key_plus_a_number():
    random.key(0) + 1


@raises(
    errors.KeyTypeError,
    """
    [sin] expected an array of floating or complex dtype; got the PRNG key key<fry>[]
    (HERE). Use `random.key_data(key)` for its bits, or a sampler of functrax.random for
    numbers.
    """,
)
def the_sine_of_a_key():
    lax.sin(random.key(0))


@raises(
    errors.KeyTypeError,
    """
    [array] expected an array of numbers; got the PRNG key key<fry>[] (HERE). Use
    `random.key_data(key)`.
    """,
)
def a_key_as_a_number():
    float(random.key(0))


@raises(
    errors.KeyTypeError,
    """
    [grad] expected inputs of floating dtype; got key<fry>[] for 'key' (HERE). PRNG keys
    have no derivative: choose other `argnums`.
    """,
)
def grad_of_a_key():
    functrax.grad(lambda key: 1.0)(random.key(0))


@raises(
    errors.KeyTypeError,
    """
    [normal] expected a PRNG key; got f32[3] (HERE). Make one with `random.key(seed)`.
    """,
)
def numbers_where_a_key_is_expected():
    random.normal(jnp.ones(3))


@raises(
    errors.KeyTypeError,
    """
    [split] expected a PRNG key; got 3 of type int (HERE). Make one with `random.key(seed)`.
    """,
)
def a_seed_where_a_key_is_expected():
    random.split(3)


@raises(
    errors.IntegerOverflowError,
    """
    [arange] expected integers from -128 to 127, which int8 holds; got 299 (HERE). Ask
    for dtype="int32", which holds it.
    """,
)
def a_range_that_does_not_fit():
    jnp.arange(300, dtype="int8")


@raises(
    errors.IntegerOverflowError,
    """
    [add] expected integers from -2147483648 to 2147483647, which int32 holds; got
    1099511627776 (HERE). Ask for dtype="int64", which holds it.
    """,
)
def an_integer_that_does_not_fit_in_jit():
    functrax.jit(lambda x: x + 2**40)(jnp.ones(3, int))


@raises(
    errors.IntegerOverflowError,
    """
    [at[].set] expected integers from -2147483648 to 2147483647, which int32 holds; got
    1099511627776 (HERE). Ask for dtype="int64", which holds it.
    """,
)
def an_integer_that_is_set():
    jnp.ones(3, int).at[0].set(2**40)


@raises(
    errors.KeyTypeError,
    """
    [array] expected PRNG keys; got 1 (HERE). Use `random.key(seed)`.
    """,
)
def a_number_as_a_key():
    jnp.array(1, dtype=random.key(0).dtype)


@raises(
    errors.KeyTypeError,
    """
    [multiply] expected PRNG keys of one kind, or only numbers; got key<fry>, int32
    (HERE). random.key_data(keys) gives the bits of keys as numbers.
    """,
)
def a_key_times_a_number_in_jit():
    functrax.jit(lambda key: key * 2)(random.key(0))


@raises(
    errors.ShapeError,
    """
    [normal] expected a single PRNG key; got the keys key<fry>[2] (HERE). Take one of
    them, or map over them with `vmap`.
    """,
)
def several_keys_where_one_is_expected():
    random.normal(random.split(random.key(0)))


@raises(
    errors.KeyTypeError,
    """
    [key_data] expected a PRNG key; got f32[2] (HERE). Make one with `random.key(seed)`.
    """,
)
def key_data_of_numbers():
    random.key_data(jnp.ones(2))


# Names --------------------------------------------------------------------------------------------


@raises(
    errors.ConfigError,
    """
    [config.update] expected the name of an option; got 'enable_x46' (HERE). Did you mean
    'enable_x64' or 'enable_checks'?
    """,
)
def an_unknown_option():
    functrax.config.update("enable_x46", True)


@raises(
    errors.ConfigError,
    """
    [config.scope] expected the name of an option; got 'enable_x46' (HERE). Did you mean
    'enable_x64' or 'enable_checks'?
    """,
)
def an_unknown_option_in_a_scope():
    functrax.config.scope(enable_x46=True)


@raises(
    errors.ConfigError,
    """
    [config.update] expected True or False for enable_x64; got 'maybe' (HERE). Numbers whose
    width nobody asked for have 64 bits, not 32.
    """,
)
def an_unknown_value_of_an_option():
    functrax.config.update("enable_x64", "maybe")


@raises(
    errors.ConfigError,
    """
    [config] expected an update or a scope; got an assignment to enable_x64 (HERE). Call
    config.update('enable_x64', True), or `with config.scope(enable_x64=True):`.
    """,
)
def an_option_that_is_assigned():
    functrax.config.enable_x64 = True


@raises(
    errors.DeviceError,
    """
    [devices] expected a platform: cpu, gpu, cuda or tpu; got 'quantum' (HERE). `python -m
    functrax` prints which are here.
    """,
)
def an_unknown_platform():
    functrax.devices("quantum")


@raises(
    errors.DeviceError,
    """
    [devices] expected a TPU; got no TPU on this machine (HERE). Use another platform, such
    as `devices("cpu")`.
    """,
)
def a_platform_that_is_not_here():
    functrax.devices("tpu")


@raises(
    errors.ConfigError,
    """
    [config] expected the name of an option; got 'enable_x46' (HERE). Did you mean
    'enable_x64' or 'enable_checks'?
    """,
)
def an_unknown_option_that_is_read():
    functrax.config.enable_x46  # noqa: B018


@raises(
    errors.ConfigError,
    """
    [config.update] expected a device or a platform (cpu, gpu, cuda or tpu) as
    default_device; got 'quantum' (HERE). Take one of `functrax.devices()`.
    """,
)
def an_unknown_default_device():
    functrax.config.update("default_device", "quantum")


@raises(
    errors.DeviceError,
    """
    [device_put] expected a platform: cpu, gpu, cuda or tpu; got 'cpu:9' (HERE). `python -m
    functrax` prints which are here.
    """,
)
def an_unknown_device_to_put_on():
    functrax.device_put(jnp.ones(3), "cpu:9")


@raises(
    errors.ArgumentError,
    """
    [device_put] expected a device, a platform, a sharding, or a pytree of them as device; got 3 of
    type int (HERE). Take one of `functrax.devices()`.
    """,
)
def a_number_as_a_device():
    functrax.device_put(jnp.ones(3), 3)


@raises(
    errors.ArgumentError,
    """
    [device_put] expected an array or a number at ['a'][1]; got 'text' of type str (HERE).
    Convert it with `jnp.asarray`.
    """,
)
def text_to_put_on_a_device():
    functrax.device_put({"a": [1, "text"]}, functrax.devices()[0])


@raises(
    errors.ArgumentError,
    """
    [device_put] expected an array or a number at ['a']; got 'text' of type str (HERE).
    Convert it with `jnp.asarray`.
    """,
)
def text_to_put_anywhere():
    functrax.device_put({"a": "text"})


@raises(
    errors.DtypeError,
    """
    [hessian] expected inputs of floating dtype; got ~i32[] for 'x' (HERE). Convert it with
    `.astype(float)`, or choose other `argnums`.
    """,
)
def a_hessian_at_an_integer():
    functrax.hessian(lambda x: x**2)(3)


@raises(
    errors.DtypeError,
    """
    [hessian] expected real floating-point outputs from '<lambda>'; got ~c64[] (HERE).
    """,
)
def a_hessian_of_complex_numbers():
    functrax.hessian(lambda x: x * 1j)(3.0)


# Arguments of rules -------------------------------------------------------------------------------


@raises(
    errors.ArgumentError,
    """
    [custom_vjp] expected nondiff_argnames among the parameters of '<lambda>': x; got 'y'
    (HERE).
    """,
)
def an_unknown_nondiff_name():
    functrax.custom_vjp(lambda x: x, nondiff_argnames="y")


@raises(
    errors.ArgumentError,
    """
    [custom_jvp] expected nondiff_argnames of arguments that can be passed by position; got
    'y' (HERE).
    """,
)
def a_nondiff_name_without_position():
    functrax.custom_jvp(lambda x, *, y: x, nondiff_argnames=("y",))


@raises(
    errors.ArgumentError,
    """
    [custom_jvp] expected nondiff_argnums within the 1 positional parameters of '<lambda>';
    got 1 (HERE).
    """,
)
def a_nondiff_position_that_is_not_there():
    functrax.custom_jvp(lambda x: x, nondiff_argnums=1)


# Powers -------------------------------------------------------------------------------------------

NOT_AN_INTEGER = """expected a non-negative exponent for integers; got -1 (HERE). Convert the base to
    a float with `.astype(float)`."""


@raises(errors.ArgumentError, f"[integer_pow] {NOT_AN_INTEGER}")
def an_integer_to_a_negative_power():
    lax.integer_pow(2, -1)


@raises(errors.ArgumentError, f"[power] {NOT_AN_INTEGER}")
def an_array_of_integers_to_a_negative_power():
    jnp.arange(3) ** jnp.int32(-1)


@raises(errors.ArgumentError, f"[power] {NOT_AN_INTEGER}")
def a_number_to_a_negative_power():
    2 ** jnp.int32(-1)


@raises(errors.ArgumentError, f"[power] {NOT_AN_INTEGER}")
def an_integer_to_a_negative_power_of_numpy():
    jnp.power(jnp.uint8(2), np.array(-1))


@raises(errors.ArgumentError, f"[power] {NOT_AN_INTEGER}")
def an_integer_to_a_negative_power_in_jit():
    exponent = jnp.int32(-1)
    functrax.jit(lambda x: x**exponent)(jnp.int32(2))


@raises(errors.ArgumentError, f"[at[].power] {NOT_AN_INTEGER}")
def an_element_to_a_negative_power():
    jnp.arange(3).at[1].power(-1)


@raises(
    errors.DtypeError,
    """
    [pow] expected an array of floating or complex dtype; got ~i32[] (HERE). Convert it
    with `.astype(...)`.
    """,
)
def a_power_of_integers_in_lax():
    lax.pow(2, 3)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[2].__name__)
def test_message(case):
    kind, message, function = case
    with pytest.raises(errors.FunctraxError) as caught:
        function()
    assert shown(caught.value, function) == message
    assert type(caught.value) is kind


def shown(error, function):
    """Return a message with HERE for lines of the function, and names for where primitives are."""
    lines = lines_of(function.__code__)
    text = re.sub(
        r"test_errors\.py:(\d+)(?=[ ,)])",
        lambda found: "HERE" if int(found[1]) in lines else found[0],
        str(error),
    )
    for primitive in registry.values():
        text = text.replace(f"declaration at {primitive.declared}.", "declaration at ITS PLACE.")
    return text
