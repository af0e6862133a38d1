"""Python's operators and the methods of arrays. The oracle is jax.numpy: values, shapes, dtypes
and weak types.
"""

import inspect

import jax
import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors
from functrax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding
from tests.numpy.compare import check, rows

CASES = rows(r"""
f+1
f*2.0
2.0*f
1-f
1/f
f/2
i/2
i//2
2//j
f%2
i%-3
f**2
f**-1
i**2
2**j
f**0.5
b+1
b*2.5
-f
+f
~i
~b
abs(f)
i<<1
i>>1
i&3
b|True
i^i
f==f
f!=0
f<1
f>=g
f@g
f.T@f
f.sum(0)
f.mean(axis=1)
f.astype(int)
f.astype('bfloat16')+1
h+1.0
h*f
u+1
u+i
u-1
f.reshape(3, 2)
f.reshape(-1)
f.reshape((3, -1))
f.ravel()
f.T
t.mT
f.max(axis=-1, keepdims=True)
f.argmax(1)
f.clip(0, 1)
i.clip(0, 2.5)
f.round(1)
f.transpose(1, 0)
f.var(ddof=1)
f.std(0)
divmod(i, 2)
round(f, 1)
f[0]
f[:, 1]
f[..., None]
list(f)[1]
f.at[0].set(1)
f==None
f=='a'
f+np.ones((2, 3))
np.ones((2, 3))+f
np.float32(2)*f
np.float64(2)*h
f**np.int32(2)
1.0+c
1j*f
i*1j
f.at[0, 1].add(3)
u+255
2.0**f
f.real
c.imag
c.conj()
f.dot(g)
f.flatten()
f.squeeze()
f.swapaxes(0, 1)
f.any()
f.argsort()
f.argsort(axis=None, descending=True)
f.sort(0, descending=True)
i.sort(axis=None)
f.cumsum()
i.cumsum(axis=1, dtype='float32')
f.cumprod(1)
f.repeat(2)
f.repeat(jnp.array([2, 1]), axis=0, total_repeat_length=3)
f.take(n)
f.take(indices=j, axis=1, mode='clip')
f.take(n, 0, fill_value=-7)
jnp.sort(g).searchsorted(f, side='right')
g.searchsorted(1.0, sorter=jnp.argsort(g))
j.argpartition(kth=1)
i.argpartition(0, axis=0)
(n % 2).choose([g, g + 1])
n.choose(choices=[g, g + 1], mode='wrap')
f.compress(b, axis=1)
f.compress(condition=b, axis=1, size=3, fill_value=-7)
f.view()
f.view('int32')
f.view('uint16')
h.view('uint8')
w.view('uint16')
t.view('complex64')
c.view('float32')
c.view('uint16')
c.view('complex64')
jnp.ones((2, 8), 'uint8').view('complex64')
b.view('uint8')
i.view(bool)
(u % 2).view(bool)
s.view('int32')
jnp.zeros((2, 0), 'int8').view('float32')
lib.jit(lambda x: x.view(dtype='int16'))(f)
lib.vmap(lambda x: x.view('int16'))(f)
lib.vmap(lambda x: x.view('int32'))(g)
i.byteswap()
u.byteswap()
b.byteswap()
f.byteswap().byteswap()
f.to_device(None)
f.to_device(device=lib.devices()[0])
lib.vmap(lambda x: x.to_device(lib.devices()[0]) + 1)(f)
lib.grad(lambda x: x.to_device(lib.devices()[0]).sum())(f)
2.0 in g
7 in g
""")


@pytest.mark.parametrize("expression", CASES)
def test_as_jax(expression: str) -> None:
    check(expression)


def test_methods_are_those_of_jax() -> None:
    """With the same names of arguments; what is left out has no meaning here."""
    ours, theirs = type(jnp.ones(1)), type(jax.numpy.ones(1))
    others = {"clone", "device_buffer", "device_buffers", "flat", "format", "platform", "traceback"}
    others.add("unsafe_raw_buffer")  # of JAX 0.12
    missing = {name for name in dir(theirs) if not name.startswith("_") and not hasattr(ours, name)}
    assert missing <= others
    for name in set(dir(theirs)) & set(functrax.numpy.operators.OPERATORS):
        if (
            name.startswith("_")
            or not inspect.isfunction(getattr(theirs, name))
            or name == "reshape"
        ):
            continue
        wanted = [*inspect.signature(getattr(theirs, name)).parameters][1:]
        taken = [*inspect.signature(getattr(ours, name)).parameters][1:]
        assert set(wanted) <= set(taken), name


@pytest.mark.parametrize("dtype", ["int8", "uint32", "float16", "float64", "complex64", "int64"])
@pytest.mark.parametrize("source", ["uint8", "int16", "float32", "float64", "complex128"])
def test_views_are_those_of_numpy(source: str, dtype: str) -> None:
    x = np.arange(1, 33).reshape(2, 16).astype(source)
    found = jnp.asarray(x, dtype=source).view(dtype)
    assert found.tobytes() == x.view(dtype).tobytes()
    assert (found.shape, found.dtype) == (x.view(dtype).shape, x.view(dtype).dtype)


def test_views_of_four_bits() -> None:
    x = jnp.arange(8, dtype="int4")
    assert x.view("uint8").shape == (4,)
    assert x.view("uint8").view("int4").tolist() == x.tolist()


PLACES = ["devices()", "is_deleted()", "tobytes()", "on_device_size_in_bytes()", "global_shards",
          "unsafe_buffer_pointer()", "addressable_data(0)", "addressable_shards",
          "is_fully_addressable", "is_fully_replicated"]  # fmt: skip


@pytest.mark.parametrize("use", PLACES)
def test_traced_values_are_nowhere(use: str) -> None:
    name = use.replace("(0)", "()")
    with pytest.raises(errors.TracerArrayError) as raised:
        functrax.jit(lambda x: eval(f"x.{use}", {"x": x}))(jnp.ones(2))
    assert str(raised.value).startswith(
        f"[jit] expected a concrete value for `.{name}`; got a traced f32[2] made at"
    )
    assert str(raised.value).endswith(
        f"Return the array, and take `.{name}` outside of the transform."
    )


@pytest.mark.parametrize("use", [use for use in PLACES if "addressable_" not in use])
def test_known_traced_values_are_where_their_array_is(use: str) -> None:
    x, found = jnp.ones(2), []

    def f(x: jnp.ndarray) -> jnp.ndarray:
        found.append(eval(f"x.{use}", {"x": x}))
        return x.sum()

    functrax.grad(f)(x)
    if use != "global_shards":
        assert found == [eval(f"x.{use}", {"x": x})]


def test_traced_values_are_not_deleted() -> None:
    for transform in (functrax.jit, functrax.grad):
        with pytest.raises(
            errors.TracerArrayError, match="expected an array to delete; got a traced"
        ):
            transform(lambda x: x.delete())(jnp.ones(2))


def test_to_device() -> None:
    device = functrax.devices()[0]
    x = jnp.ones(2)
    for place in (device, SingleDeviceSharding(device)):
        moved = x.to_device(place)
        assert moved.committed
        assert moved.devices() == {device}
    assert not x.to_device(None).committed
    halves = NamedSharding(functrax.make_mesh((2,), ("i",)), PartitionSpec("i"))
    for run in (lambda f: f(x), lambda f: functrax.jit(f)(x)):
        assert run(lambda x: x.to_device(halves)).sharding == halves
    for place in ("cpu", "nowhere", 1.5, [device]):
        for run in (lambda f: f(x), lambda f: functrax.jit(f)(x)):
            with pytest.raises(errors.ArgumentError) as raised:
                run(lambda x, place=place: x.to_device(place))
            assert str(raised.value).startswith(
                "[to_device] expected a device, a sharding, or None; got"
            )
            assert "`functrax.device_put` takes names of platforms" in str(raised.value)
