"""Bad input to meshes, shardings, `jit` over them, `shard_map`, `pmap` and collectives: one clear
error each, held against the whole message.
"""

import re

import numpy as np
import pytest

import functrax
from functrax import errors, lax
from functrax.sharding import Mesh, NamedSharding
from functrax.sharding import PartitionSpec as P

DEVICES = functrax.devices("cpu")[:8]
LINE = Mesh(DEVICES, "i")
HALF = Mesh(DEVICES[:4], "i")
GRID = Mesh(np.array(DEVICES).reshape(2, 4), ("a", "b"))
X = np.arange(16, dtype=np.float32)


ROWS = P("i")


def over(f, in_specs=ROWS, out_specs=ROWS, mesh=LINE, **options):
    return functrax.shard_map(f, mesh=mesh, in_specs=in_specs, out_specs=out_specs, **options)


#: name -> (call, the whole message without its line)
ERRORS = {
    "mesh size": (
        lambda: Mesh(np.array(DEVICES).reshape(2, 4), ("a",)),
        "[Mesh] expected an array of devices with one dimension for each name in ('a',); got one of shape (2, 4). Reshape the devices: `make_mesh` does it.",
    ),
    "mesh repeated dev": (
        lambda: Mesh([DEVICES[0], DEVICES[0]], "a"),
        "[Mesh] expected devices that differ; got cpu:0 twice.",
    ),
    "mesh repeated name": (
        lambda: Mesh(np.array(DEVICES).reshape(2, 4), ("a", "a")),
        "[Mesh] expected axis_names that differ; got 'a' twice.",
    ),
    "mesh not dev": (
        lambda: Mesh([1, 2], "a"),
        "[Mesh] expected an array of devices; got 1 of type int. Take them from `functrax.devices()`.",
    ),
    "make_mesh big": (
        lambda: functrax.make_mesh((4, 4), ("a", "b")),
        "[make_mesh] expected a mesh for the 8 devices; got shape (4, 4), which needs 16. Give other sizes, or more devices (for CPU: FUNCTRAX_NUM_CPU_DEVICES).",
    ),
    "make_mesh lens": (
        lambda: functrax.make_mesh((4,), ("a", "b")),
        "[make_mesh] expected one size for each axis name; got 1 sizes (4,) and 2 names ('a', 'b').",
    ),
    "make_mesh neg": (
        lambda: functrax.make_mesh((-4,), ("a",)),
        "[make_mesh] expected sizes of at least 1; got shape (-4,).",
    ),
    "make_mesh str": (
        lambda: functrax.make_mesh("4", ("a",)),
        "[make_mesh] expected a sequence of ints as sizes; got '4' of type str.",
    ),
    "make_mesh few dev": (
        lambda: functrax.make_mesh((4,), ("a",), devices=DEVICES[:2]),
        "[make_mesh] expected a mesh for the 2 devices; got shape (4,), which needs 4. Give other sizes, or more devices (for CPU: FUNCTRAX_NUM_CPU_DEVICES).",
    ),
    "make_mesh rep": (
        lambda: functrax.make_mesh((2, 2), ("a", "a")),
        "[Mesh] expected axis_names that differ; got 'a' twice.",
    ),
    "spec long": (
        lambda: functrax.device_put(X, NamedSharding(LINE, P("i", None))),
        "[device_put] expected a spec with at most 1 entries for an array of shape (16,); got P('i', None). Leave entries out: dimensions that are not mentioned are not divided.",
    ),
    "spec unknown": (
        lambda: NamedSharding(LINE, P("z")),
        "[NamedSharding] expected axes of Mesh(i=8); got 'z' in P('z'). Name an axis of the mesh, or make a mesh with it.",
    ),
    "spec repeated": (
        lambda: NamedSharding(LINE, P("i", "i")),
        "[PartitionSpec] expected each axis name at most once; got 'i' twice in P('i', 'i'). An axis of the mesh can divide one dimension only.",
    ),
    "P repeated": (
        lambda: P(("i", "i")),
        "[PartitionSpec] expected each axis name at most once; got 'i' twice in P(('i', 'i')). An axis of the mesh can divide one dimension only.",
    ),
    "put nodiv": (
        lambda: functrax.device_put(X[:5], NamedSharding(LINE, P("i"))),
        "[device_put] expected dimension 0 of an array of shape (5,) to be divisible by 8, the size of 'i' in Mesh(i=8); got size 5. Pad it, or divide another dimension.",
    ),
    "put prefix": (
        lambda: functrax.device_put({"a": X, "b": X}, {"a": NamedSharding(LINE, P("i"))}),
        "[device_put] expected device to be a leaf or a dict with the keys 'a', 'b'; got a dict with the keys 'a'. It lacks 'b'.",
    ),
    "put what": (
        lambda: functrax.device_put(X, "foo"),
        "[device_put] expected a platform: cpu, gpu, cuda or tpu; got 'foo'. `python -m functrax` prints which are here.",
    ),
    "put 3": (
        lambda: functrax.device_put(X, 3),
        "[device_put] expected a device, a platform, a sharding, or a pytree of them as device; got 3 of type int. Take one of `functrax.devices()`.",
    ),
    "put P nomesh": (
        lambda: functrax.device_put(X, P("i")),
        "[device_put] expected a mesh for the spec; got P('i'), and no mesh is set. Write `NamedSharding(mesh, spec)`, or call it inside `with set_mesh(mesh):`.",
    ),
    "jit other mesh": (
        lambda: functrax.jit(lambda a, b: a + b)(
            functrax.device_put(X, NamedSharding(LINE, P("i"))),
            functrax.device_put(X, NamedSharding(HALF, P("i"))),
        ),
        "[<lambda>] expected arrays and meshes over one set of devices, such as Mesh(i=8) (cpu:0, cpu:1, cpu:2, cpu:3, cpu:4, cpu:5, cpu:6, cpu:7); got Mesh(i=4) (cpu:0, cpu:1, cpu:2, cpu:3). Move arrays with `device_put(x, NamedSharding(mesh, spec))`.",
    ),
    "add other mesh": (
        lambda: (
            functrax.device_put(X, NamedSharding(LINE, P("i")))
            + functrax.device_put(X, NamedSharding(HALF, P("i")))
        ),
        "[add] expected arrays and meshes over one set of devices, such as Mesh(i=8) (cpu:0, cpu:1, cpu:2, cpu:3, cpu:4, cpu:5, cpu:6, cpu:7); got Mesh(i=4) (cpu:0, cpu:1, cpu:2, cpu:3). Move arrays with `device_put(x, NamedSharding(mesh, spec))`.",
    ),
    "add dev": (
        lambda: (
            functrax.device_put(X, NamedSharding(HALF, P("i"))) + functrax.device_put(X, DEVICES[6])
        ),
        "[add] expected arrays and meshes over one set of devices, such as Mesh(i=4) (cpu:0, cpu:1, cpu:2, cpu:3); got f32[16] on cpu:6 (cpu:6). Move arrays with `device_put(x, NamedSharding(mesh, spec))`.",
    ),
    "add 2 dev": (
        lambda: functrax.device_put(X, DEVICES[5]) + functrax.device_put(X, DEVICES[6]),
        "[add] expected operands on one device; got cpu:5 and cpu:6. Move one with `device_put`.",
    ),
    "jit in nodiv": (
        lambda: functrax.jit(lambda x: x, in_shardings=NamedSharding(LINE, P("i")))(X[:5]),
        "[jit] expected dimension 0 of argument 'x' of shape (5,) to be divisible by 8, the size of 'i' in Mesh(i=8); got size 5. Pad it, or divide another dimension.",
    ),
    "jit in long": (
        lambda: functrax.jit(lambda x: x, in_shardings=NamedSharding(LINE, P("i", None)))(X),
        "[jit] expected a spec with at most 1 entries for argument 'x' of shape (16,); got P('i', None). Leave entries out: dimensions that are not mentioned are not divided.",
    ),
    "jit out nodiv": (
        lambda: functrax.jit(lambda x: x[:5], out_shardings=NamedSharding(LINE, P("i")))(X),
        "[jit] expected dimension 0 of the result of shape (5,) to be divisible by 8, the size of 'i' in Mesh(i=8); got size 5. Pad it, or divide another dimension.",
    ),
    "jit out long": (
        lambda: functrax.jit(lambda x: x, out_shardings=NamedSharding(LINE, P("i", None)))(X),
        "[jit] expected a spec with at most 1 entries for the result of shape (16,); got P('i', None). Leave entries out: dimensions that are not mentioned are not divided.",
    ),
    "jit in prefix": (
        lambda: functrax.jit(
            lambda x: x, in_shardings=(NamedSharding(LINE, P("i")), NamedSharding(LINE, P("i")))
        )(X),
        "[jit] expected in_shardings to be a leaf or a tuple of length 1; got a tuple of length 2. in_shardings must be a prefix of the tree it describes.",
    ),
    "jit in prefix2": (
        lambda: functrax.jit(lambda x: x, in_shardings=({"a": NamedSharding(LINE, P("i"))},))(X),
        "[jit] expected in_shardings[0] to be a leaf of type ndarray; got a dict with the keys 'a'. in_shardings must be a prefix of the tree it describes.",
    ),
    "jit out prefix": (
        lambda: functrax.jit(
            lambda x: x, out_shardings=(NamedSharding(LINE, P("i")), NamedSharding(LINE, P("i")))
        )(X),
        "[jit] expected out_shardings to be a leaf, for a result that is one array; got a tuple of length 2. out_shardings must be a prefix of the tree it describes.",
    ),
    "jit in str": (
        lambda: functrax.jit(lambda x: x, in_shardings="i")(X),
        "[jit] expected a sharding or a PartitionSpec; got 'i' of type str.",
    ),
    "jit constraint other": (
        lambda: functrax.jit(
            lambda x: lax.with_sharding_constraint(x, NamedSharding(HALF, P("i"))),
            in_shardings=NamedSharding(LINE, P("i")),
        )(X),
        "[<lambda>] expected arrays and meshes over one set of devices, such as Mesh(i=8) (cpu:0, cpu:1, cpu:2, cpu:3, cpu:4, cpu:5, cpu:6, cpu:7); got Mesh(i=4) (cpu:0, cpu:1, cpu:2, cpu:3). Move arrays with `device_put(x, NamedSharding(mesh, spec))`.",
    ),
    "wsc nodiv": (
        lambda: functrax.jit(
            lambda x: lax.with_sharding_constraint(x, NamedSharding(LINE, P("i")))
        )(X[:5]),
        "[with_sharding_constraint] expected dimension 0 of the array of shape (5,) to be divisible by 8, the size of 'i' in Mesh(i=8); got size 5. Pad it, or divide another dimension.",
    ),
    "wsc long": (
        lambda: functrax.jit(
            lambda x: lax.with_sharding_constraint(x, NamedSharding(LINE, P("i", None)))
        )(X),
        "[with_sharding_constraint] expected a spec with at most 1 entries for the array of shape (16,); got P('i', None). Leave entries out: dimensions that are not mentioned are not divided.",
    ),
    "wsc in sm": (
        lambda: over(lambda x: lax.with_sharding_constraint(x, NamedSharding(LINE, P("i"))))(X),
        "[with_sharding_constraint] expected a sharding along axes of Mesh(i=8) that no shard_map or pmap around it maps: there are none; got NamedSharding(Mesh(i=8), P('i')). Each device has its part already: leave it out, or call it outside.",
    ),
    "wsc in pmap": (
        lambda: functrax.pmap(
            lambda x: lax.with_sharding_constraint(x, NamedSharding(LINE, P("i")))
        )(X[:8, None] * np.ones((8, 8), np.float32)),
        "[with_sharding_constraint] expected a sharding along axes of Mesh(<pmap axis 0>=8) that no shard_map or pmap around it maps: there are none; got NamedSharding(Mesh(i=8), P('i')). Each device has its part already: leave it out, or call it outside.",
    ),
    "sm no mesh": (
        lambda: functrax.shard_map(lambda x: x, in_specs=P("i"), out_specs=P("i"))(X),
        "[shard_map] expected a mesh; got None. Pass `mesh=`, or call it inside `with set_mesh(mesh):`.",
    ),
    "sm spec long": (
        lambda: over(lambda x: x, P("i", None))(X),
        "[shard_map] expected a spec with at most 1 entries for argument `x` of shape (16,); got P('i', None). Leave entries out: dimensions that are not mentioned are not divided.",
    ),
    "sm unknown": (
        lambda: over(lambda x: x, P("z"))(X),
        "[shard_map] expected specs with the mapped axes ('i',); got P('z') for argument `x`.",
    ),
    "sm out unknown": (
        lambda: over(lambda x: x, P("i"), P("z"))(X),
        "[shard_map] expected out_specs with the mapped axes ('i',); got P('z') for the result of '<lambda>'.",
    ),
    "sm repeated": (
        lambda: over(lambda x: x, P("i", "i"))(X),
        "[PartitionSpec] expected each axis name at most once; got 'i' twice in P('i', 'i'). An axis of the mesh can divide one dimension only.",
    ),
    "sm nodiv": (
        lambda: over(lambda x: x)(X[:5]),
        "[shard_map] expected dimension 0 of argument `x` of shape (5,) to be divisible by 8, the size of 'i' in Mesh(i=8); got size 5. Pad it, or divide another dimension.",
    ),
    "sm prefix": (
        lambda: over(lambda x: x, (P("i"), P("i")))(X),
        "[shard_map] expected in_specs to be a leaf or a tuple of length 1; got a tuple of length 2. in_specs must be a prefix of the tree it describes.",
    ),
    "sm outprefix": (
        lambda: over(lambda x: x, P("i"), (P("i"), P("i")))(X),
        "[shard_map] expected out_specs to be a leaf, for a result that is one array; got a tuple of length 2. out_specs must be a prefix of the tree it describes.",
    ),
    "sm out long": (
        lambda: over(lambda x: x, P("i"), P("i", None))(X),
        "[shard_map] expected out_specs with at most 1 entries: the result of '<lambda>'; got P('i', None) for f32[2]{i}.",
    ),
    "sm claims": (
        lambda: over(lambda x: x * 2, P("i"), P())(X),
        "[shard_map] expected the result of '<lambda>' to be the same along 'i', which its spec P() does not mention; got f32[2]{i} made at LINE by mul, which may differ along 'i'. Reduce it (`lax.psum(x, 'i')`), mention the axis in out_specs, or pass `check_vma=False` if you know better.",
    ),
    "sm str spec": (
        lambda: over(lambda x: x, "i")(X),
        "[shard_map] expected specs that are PartitionSpec; got 'i' of type str.",
    ),
    "sm other mesh arr": (
        lambda: over(lambda x: x)(functrax.device_put(X, NamedSharding(HALF, P("i")))),
        "[shard_map] expected arrays and meshes over one set of devices, such as Mesh(i=8) (cpu:0, cpu:1, cpu:2, cpu:3, cpu:4, cpu:5, cpu:6, cpu:7); got Mesh(i=4) (cpu:0, cpu:1, cpu:2, cpu:3). Move arrays with `device_put(x, NamedSharding(mesh, spec))`.",
    ),
    "sm dev arr": (
        lambda: over(lambda x: x, mesh=HALF)(functrax.device_put(X, DEVICES[6])),
        "[shard_map] expected arrays and meshes over one set of devices, such as Mesh(i=4) (cpu:0, cpu:1, cpu:2, cpu:3); got f32[16] on cpu:6 (cpu:6). Move arrays with `device_put(x, NamedSharding(mesh, spec))`.",
    ),
    "sm names": (
        lambda: over(lambda x: x, axis_names={"q"})(X),
        "[shard_map] expected axis_names of Mesh(i=8); got 'q'.",
    ),
    "sm nested same": (
        lambda: over(
            lambda x: functrax.shard_map(lambda y: y, in_specs=P("i"), out_specs=P("i"))(x)
        )(X),
        "[shard_map] expected an axis of Mesh(i=8) that is not mapped around it already; got none: 'i' are. Name fewer in the `axis_names` of the outer one, or call the function itself.",
    ),
    "sm nested other mesh": (
        lambda: over(
            lambda x: functrax.shard_map(lambda y: y, mesh=GRID, in_specs=P("a"), out_specs=P("a"))(
                x
            )
        )(X),
        "[shard_map] expected the mesh of what is mapped around it, Mesh(i=8); got Mesh(a=2, b=4). Leave out `mesh`, and map axes that are left by `axis_names`.",
    ),
    "sm not fun": (
        lambda: functrax.shard_map(3, mesh=LINE, in_specs=P("i"), out_specs=P("i")),
        "[shard_map] expected a function; got 3 of type int. Pass it as `shard_map(f)(x)`.",
    ),
    "sm kw": (
        lambda: over(lambda x, y=0: x)(X, y=X),
        "[shard_map] expected positional arguments of '<lambda>', which in_specs describe; got the keyword 'y'. Pass it by position, or bind it with `functools.partial`.",
    ),
    "pmap size": (
        lambda: functrax.pmap(lambda batch: batch)(X[:9]),
        "[pmap] expected argument `batch` to have a leading size of at most 8; got leading size 9; this process has 8 devices. Map several positions on one device with `vmap` inside, or use more devices (for CPU: FUNCTRAX_NUM_CPU_DEVICES).",
    ),
    "pmap sizes": (
        lambda: functrax.pmap(lambda a, b: a)(X[:4], X[:3]),
        "[pmap] expected mapped arguments of one leading size; got `a`: 4, `b`: 3. Give an argument `None` in in_axes if every device is to have all of it.",
    ),
    "pmap out": (
        lambda: functrax.pmap(lambda a: a, out_axes=3)(X[:4]),
        "[pmap] expected out_axes within 1 axes; got axis 3 for f32[].",
    ),
    "pmap outNone": (
        lambda: functrax.pmap(lambda a: a, out_axes=None, grad_convention="exact")(X[:4]),
        "[pmap] expected the result of '<lambda>' to be the same on all devices, as its None in out_axes says; got f32[]{<pmap axis 0>} made at LINE by squeeze. Reduce it (`lax.psum`), or give its axis in out_axes.",
    ),
    "pmap out prefix": (
        lambda: functrax.pmap(lambda a: a, out_axes=(0, 0))(X[:4]),
        "[pmap] expected out_axes to be a leaf, for a result that is one array; got a tuple of length 2. out_axes must be a prefix of the tree it describes.",
    ),
    "pmap in": (
        lambda: functrax.pmap(lambda a: a, in_axes=2)(X[:4]),
        "[pmap] expected an axis of argument `a` to map; got axis 2 of f32[4]. Give it `None` in in_axes if every device is to have all of it.",
    ),
    "pmap in len": (
        lambda: functrax.pmap(lambda a: a, in_axes=(0, 0))(X[:4]),
        "[pmap] expected in_axes with one entry for each of the 1 positional arguments of '<lambda>'; got 2 entries: (0, 0).",
    ),
    "pmap in str": (
        lambda: functrax.pmap(lambda a: a, in_axes="a")(X[:4]),
        "[pmap] expected in_axes of ints and None; got 'a' of type str.",
    ),
    "pmap 0d": (
        lambda: functrax.pmap(lambda a: a)(3.0),
        "[pmap] expected an axis of argument `a` to map; got axis 0 of ~f32[]. Give it `None` in in_axes if every device is to have all of it.",
    ),
    "pmap none mapped": (
        lambda: functrax.pmap(lambda a: a, in_axes=None)(X),
        "[pmap] expected at least one mapped argument of '<lambda>'; got none. Pass `axis_size`, or an axis in in_axes.",
    ),
    "pmap no args": (
        lambda: functrax.pmap(lambda: 1.0)(),
        "[pmap] expected at least one mapped argument of '<lambda>'; got none. Pass `axis_size`, or an axis in in_axes.",
    ),
    "pmap empty": (
        lambda: functrax.pmap(lambda x: x)(np.ones((0, 3))),
        "[pmap] expected argument `x` to have at least one position to map; got f32[0,3].",
    ),
    "pmap axis_size": (
        lambda: functrax.pmap(lambda a: a, axis_size=3)(X[:4]),
        "[pmap] expected mapped arguments of one leading size, the axis_size 3; got `a`: 4. Give an argument `None` in in_axes if every device is to have all of it.",
    ),
    "pmap dev": (
        lambda: functrax.pmap(lambda a: a, devices=DEVICES[:2])(X[:4]),
        "[pmap] expected argument `a` to have a leading size of at most 2; got leading size 4; devices= has 2 devices. Map several positions on one device with `vmap` inside, or give more devices.",
    ),
    "pmap devices bad": (
        lambda: functrax.pmap(lambda a: a, devices=[0, 1])(X[:2]),
        "[pmap] expected devices as a sequence of devices; got [0, 1] of type list.",
    ),
    "pmap devices rep": (
        lambda: functrax.pmap(lambda a: a, devices=[DEVICES[0], DEVICES[0]])(X[:2]),
        "[pmap] expected devices that differ; got cpu:0 twice.",
    ),
    "pmap backend": (
        lambda: functrax.pmap(lambda a: a, backend="foo")(X[:2]),
        "[pmap] expected a platform: cpu, gpu, cuda or tpu; got 'foo'. `python -m functrax` prints which are here.",
    ),
    "pmap static unhash": (
        lambda: functrax.pmap(lambda a, b: a, static_broadcasted_argnums=1)(X[:2], [1]),
        "[pmap] expected static argument 'b' of '<lambda>' to be hashable; got [1] of type list. Pass a tuple instead of a list, or do not mark it static.",
    ),
    "pmap static range": (
        lambda: functrax.pmap(lambda a: a, static_broadcasted_argnums=4)(X[:2]),
        "[pmap] expected static_broadcasted_argnums within the 1 positional parameters of '<lambda>'; got 4.",
    ),
    "pmap donate range": (
        lambda: functrax.pmap(lambda a: a, donate_argnums=4)(X[:2]),
        "[pmap] expected donate_argnums within the 1 positional parameters of '<lambda>'; got 4.",
    ),
    "pmap str arg": (
        lambda: functrax.pmap(lambda a: a)("foo"),
        "[pmap] expected argument 'a' of '<lambda>' to be an array or a number; got 'foo' of type str. Mark it static (`static_broadcasted_argnums`), or close over it.",
    ),
    "pmap out obj": (
        lambda: functrax.pmap(lambda a: "foo")(X[:2]),
        "[pmap] expected an array or a number; got 'foo' of type str. Convert it with `jnp.asarray`.",
    ),
    "coll outside": (
        lambda: lax.psum(X, "i"),
        "[psum] expected an axis name bound by an enclosing vmap, pmap or shard_map; got 'i'; axes in scope: none. Call it inside `vmap(f, axis_name='i')`.",
    ),
    "coll name": (
        lambda: functrax.pmap(lambda x: lax.pmean(x, "j"), "i")(X[:8]),
        "[psum] expected an axis name bound by an enclosing vmap, pmap or shard_map; got 'j'; axes in scope: 'i'. Call it inside `vmap(f, axis_name='j')`.",
    ),
    "coll groups": (
        lambda: functrax.pmap(lambda x: lax.psum(x, "i", axis_index_groups=[[0, 1], [2]]), "i")(
            X[:8]
        ),
        "[psum] expected axis_index_groups that contain each of the 8 positions along 'i' once; got [[0, 1], [2]].",
    ),
    "coll groups size": (
        lambda: functrax.pmap(
            lambda x: lax.all_gather(x, "i", axis_index_groups=[[0, 1], [2, 3, 4, 5, 6, 7]]), "i"
        )(X[:8]),
        "[all_gather] expected axis_index_groups of one size; got sizes [2, 6].",
    ),
    "coll groups type": (
        lambda: functrax.pmap(lambda x: lax.psum(x, "i", axis_index_groups=3), "i")(X[:8]),
        "[psum] expected axis_index_groups as lists of positions; got 3.",
    ),
    "coll scatter": (
        lambda: functrax.pmap(lambda x: lax.psum_scatter(x, "i"), "i")(X[:8]),
        "[psum_scatter] expected an axis of an array of 0 axes; got axis 0.",
    ),
    "coll scatter2": (
        lambda: functrax.pmap(lambda x: lax.psum_scatter(x, "i"), "i")(np.ones((8, 5))),
        "[psum_scatter] expected axis 0 to have size 8, for the 8 positions that share it; got f32[5].",
    ),
    "coll a2a": (
        lambda: functrax.pmap(lambda x: lax.all_to_all(x, "i", 0, 0), "i")(np.ones((8, 5))),
        "[all_to_all] expected axis 0 to have size 8, for the 8 positions that share it; got f32[5].",
    ),
    "coll perm": (
        lambda: functrax.pmap(lambda x: lax.ppermute(x, "i", [(0, 9)]), "i")(X[:8]),
        "[ppermute] expected perm of positions 0 to 7; got destination 9 in [(0, 9)].",
    ),
    "coll perm2": (
        lambda: functrax.pmap(lambda x: lax.ppermute(x, "i", [(0, 1), (0, 2)]), "i")(X[:8]),
        "[ppermute] expected perm with each position at most once as a source; got 0 twice in [(0, 1), (0, 2)].",
    ),
    "coll shuffle": (
        lambda: functrax.pmap(lambda x: lax.pshuffle(x, "i", [0, 1]), "i")(X[:8]),
        "[pshuffle] expected perm that contains each of the 8 positions once; got [0, 1].",
    ),
    "coll key": (
        lambda: functrax.pmap(lambda k: lax.psum(k, "i"), "i")(
            functrax.random.split(functrax.random.key(0), 8)
        ),
        "[psum] expected an array of bool or signed integer or unsigned integer or floating or complex dtype; got the PRNG key key<fry>[]. Use `random.key_data(key)` for its bits, or a sampler of functrax.random for numbers.",
    ),
    "replicate what": (
        lambda: functrax.replicate("foo"),
        "[replicate] expected an array or a number; got 'foo' of type str. Convert it with `jnp.asarray`.",
    ),
    "replicate dev": (
        lambda: functrax.replicate(X, [1]),
        "[replicate] expected a sequence of devices; got [1] of type list.",
    ),
    "unrep": (
        lambda: functrax.unreplicate(3.0),
        "[unreplicate] expected arrays with a leading axis of positions; got ~f32[].",
    ),
    "unrep empty": (
        lambda: functrax.unreplicate(np.ones((0, 3))),
        '[getitem] expected no index into axis 0, which is empty, of shape (0, 3); got 0. Use `x.at[i]` with mode="clip", "fill" or "drop" to allow places outside.',
    ),
    "dps": (
        lambda: functrax.device_put_sharded([X, X], DEVICES[:3]),
        "[device_put_sharded] expected a shard for each of the 3 devices; got 2 shards.",
    ),
    "dps shapes": (
        lambda: functrax.device_put_sharded([X, X[:3]], DEVICES[:2]),
        "[device_put_sharded] expected shards of one type; got f32[16] and, in shard 1, f32[3].",
    ),
    "dps tree": (
        lambda: functrax.device_put_sharded([X, (X,)], DEVICES[:2]),
        "[device_put_sharded] expected shards of one structure; got PyTreeDef(*) and, as shard 1, PyTreeDef((*,)).",
    ),
    "dps empty": (
        lambda: functrax.device_put_sharded([], []),
        "[device_put_sharded] expected a sequence of devices; got [] of type list.",
    ),
    "dpr dev": (
        lambda: functrax.device_put_replicated(X, []),
        "[device_put_replicated] expected a sequence of devices; got [] of type list.",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_messages(name):
    call, expected = ERRORS[name]
    with pytest.raises(errors.FunctraxError) as caught:
        call()
    text = re.sub(r" \(\w+\.py:\d+\)", "", str(caught.value))
    assert re.sub(r"\w+\.py:\d+", "LINE", text) == expected
