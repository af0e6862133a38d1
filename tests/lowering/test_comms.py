"""Reading the communication out of compiled programs: JAX's, made by the same XLA, and fragments
with what other platforms write.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import functrax
from functrax.lowering.comms import check_explicit, collectives, sent
from functrax.lowering.hlo_text import Program, type_bytes

MESH = functrax.make_mesh((4, 2), ("x", "y"))


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh((4, 2), ("x", "y"), axis_types=(AxisType.Auto,) * 2)


def compiled(mesh, function, specs, *shapes, **options):
    ins = tuple(NamedSharding(mesh, spec) for spec in specs)
    arguments = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
    return jax.jit(function, in_shardings=ins, **options).lower(*arguments).compile().as_text()


def short(found):
    return [(c.kind, c.axes, c.group_size, c.operand_bytes, c.sent_bytes, c.times) for c in found]


# ---- programs of JAX


def loss(w, x):
    return jnp.mean(jnp.tanh(x @ w) ** 2)


def test_data_parallel(mesh):
    """One sum of the gradient, 16x32 floats: 2 * 7/8 of them are sent."""
    (one,) = collectives(
        compiled(mesh, jax.grad(loss), (P(), P(("x", "y"))), (16, 32), (64, 16)), MESH
    )
    assert short([one]) == [("all-reduce", ("x", "y"), 8, 2048, 3584, 1)]
    assert (one.result_bytes, one.total_bytes, one.explicit) == (2048, 3584, False)
    file, _, line = one.source.rpartition(":")
    assert file == __file__
    assert "tanh(x @ w)" in Path(file).read_text().splitlines()[int(line) - 1]


def test_tensor_parallel(mesh):
    """Two layers need one sum, of the second one's result."""

    def layers(a, b, x):
        return jnp.maximum(x @ a, 0) @ b

    text = compiled(mesh, layers, (P(None, "y"), P("y"), P("x")), (16, 32), (32, 16), (64, 16))
    assert short(collectives(text, MESH)) == [("all-reduce", ("y",), 2, 16 * 16 * 4, 1024, 1)]


def test_parameters_divided_too(mesh):
    """Each device gathers the 16x32 parameters; the gradient is summed."""
    rows = NamedSharding(mesh, P("x"))
    specs, shapes = (P("x"), P("x")), ((16, 32), (64, 16))
    found = collectives(compiled(mesh, jax.grad(loss), specs, *shapes, out_shardings=rows), MESH)
    assert short(found) == [
        ("all-gather", ("x",), 4, 512, 1536, 1),
        ("all-reduce", ("x",), 4, 2048, 3072, 1),
    ]
    assert not any(c.explicit for c in found)


def test_what_the_program_asks_for(mesh):
    def inside(x):
        steps = [(i, (i + 1) % 4) for i in range(4)]
        return (
            lax.psum(x, "x"),
            lax.all_gather(x, "y"),
            lax.psum_scatter(x, "x", tiled=True),
            lax.all_to_all(x, "y", 0, 1, tiled=True),
            lax.ppermute(x, "x", steps),
            lax.pmax(x, ("x", "y")),
            lax.psum((x + 1, x * 2), "y"),
        )

    def function(x):
        return jax.shard_map(
            inside, mesh=mesh, in_specs=P("x", "y"), out_specs=P(), check_vma=False
        )(x)

    found = collectives(compiled(mesh, function, (P("x", "y"),), (64, 16)), MESH)
    assert sorted(short(found)) == [
        ("all-gather", ("y",), 2, 512, 512, 1),
        ("all-reduce", ("x",), 4, 512, 768, 1),
        ("all-reduce", ("x", "y"), 8, 512, 896, 1),
        ("all-reduce", ("y",), 2, 1024, 1024, 1),  # two sums in one
        ("all-to-all", ("y",), 2, 512, 256, 1),
        ("collective-permute", ("x",), 4, 512, 512, 1),
        ("reduce-scatter", ("x",), 4, 512, 384, 1),
    ]
    assert {c.kind: c.result_bytes for c in found if c.kind != "all-reduce"} == {
        "all-gather": 1024,
        "all-to-all": 512,
        "collective-permute": 512,
        "reduce-scatter": 128,
    }
    assert all(c.explicit for c in found)
    assert not any(c.conditional for c in found)
    check_explicit(compiled(mesh, function, (P("x", "y"),), (64, 16)), MESH, "function")


def test_loops_and_branches(mesh):
    def inside(x, y):
        def step(carry, _):
            inner = lax.fori_loop(0, 3, lambda i, c: lax.pmax(c, "y") * 0.5, carry)
            return lax.psum(inner, "x") * 0.1, None

        total = lax.scan(step, x, None, length=5)[0]
        return lax.cond(y[0] > 0, lambda: lax.pmin(total, "x"), lambda: total)

    def function(x, y):
        mapped = jax.shard_map(
            inside, mesh=mesh, in_specs=(P("x"), P()), out_specs=P("x"), check_vma=False
        )
        return lax.while_loop(lambda c: c.sum() < 100.0, lambda c: c * 2, mapped(x, y))

    found = collectives(compiled(mesh, function, (P("x"), P()), (64, 16), (1,)), MESH)
    rows = {(c.axes, c.operand_bytes, c.times, c.conditional, c.explicit) for c in found}
    assert rows == {
        (("y",), 1024, 15, False, True),
        (("x",), 1024, 5, False, True),
        (("x",), 1024, 1, True, True),
        (("x",), 4, None, False, False),  # the sum of the condition
    }
    unknown = next(c for c in found if c.times is None)
    assert (unknown.sent_bytes, unknown.total_bytes) == (6, 6)


# ---- fragments: what other versions and platforms write

HEAD = "HloModule m, num_partitions=8\n\n"


def program(*lines, computations=""):
    body = "\n".join(f"  {line}" for line in lines)
    return f"{HEAD}{computations}ENTRY %main (p: f32[16,8]) -> f32[16,8] {{\n  %p = f32[16,8]{{1,0}} parameter(0)\n{body}\n}}\n"


@pytest.mark.parametrize(
    ("groups", "axes", "size"),
    [
        ("{{0,2,4,6},{1,3,5,7}}", ("x",), 4),
        ("{{0,1},{2,3},{4,5},{6,7}}", ("y",), 2),
        ("{{0,4},{1,5},{2,6},{3,7}}", ("x",), 2),  # a part of x
        ("{}", ("x", "y"), 8),
        ("[4,2]<=[8]", ("y",), 2),
        ("[2,4]<=[4,2]T(1,0)", ("x",), 4),
        ("[1,8]<=[8]", ("x", "y"), 8),
        ("mesh['x'=4,'y'=2] {'x'}", ("x",), 4),
        ("mesh['x'=4,'y'=2] {'y','x'}", ("x", "y"), 8),
        ("mesh['a'=1,'b'=2,'c'=4], device_ids=([4,2]T(1,0)) {'b'}", ("y",), 2),
        ("mesh['a'=2,'b'=4], device_ids=(0,1,4,5,2,3,6,7) {'a'}", ("x",), 2),
        ("mesh['a'=8] {'a':(4)2}", ("y",), 2),
        ("mesh['a'=8] {'a':(1)4}", ("x",), 4),
        ("mesh['a'=8] {'a':(2)2}", ("x",), 2),
    ],
)
def test_groups(groups, axes, size):
    line = f"ROOT %r = f32[16,8]{{1,0}} all-reduce(%p), channel_id=1, replica_groups={groups}, use_global_device_ids=true, to_apply=%add"
    (found,) = collectives(program(line), MESH)
    assert (found.axes, found.group_size) == (axes, size)
    if groups != "{}":
        assert collectives(program(line), None) == [found._replace(axes=())]


def test_groups_of_one_are_no_communication():
    line = "ROOT %r = f32[16,8]{1,0} all-reduce(%p), replica_groups={{0},{1}}, to_apply=%add"
    assert collectives(program(line), MESH) == []


def test_permutations():
    line = "ROOT %r = f32[16,8]{1,0} collective-permute(%p), source_target_pairs={{0,2},{4,2},{1,1},{2,6}}"
    (found,) = collectives(program(line), MESH)
    assert (found.axes, found.group_size, found.sent_bytes) == (("x",), 4, 512)
    line = "ROOT %r = f32[16,8]{1,0} collective-permute(%p), source_target_pairs={{0,0},{1,1}}"
    assert collectives(program(line), MESH) == []


def test_asynchronous_forms_count_once():
    asynchronous = """%async (q: f32[16,8]) -> f32[4,8] {
  %q = f32[16,8]{1,0} parameter(0)
  ROOT %rs = f32[4,8]{1,0} reduce-scatter(%q), replica_groups={{0,2,4,6},{1,3,5,7}}, dimensions={0}, to_apply=%add
}

"""
    text = program(
        "%s1 = f32[16,8]{1,0} all-reduce-start(%p), replica_groups={{0,1},{2,3},{4,5},{6,7}}, to_apply=%add",
        "%d1 = f32[16,8]{1,0} all-reduce-done(%s1)",
        "%s2 = (f32[16,8]{1,0}, f32[32,8]{1,0}) all-gather-start(%p), replica_groups=[4,2]<=[8], dimensions={0}",
        "%d2 = f32[32,8]{1,0} all-gather-done(%s2)",
        "%s3 = (f32[16,8]{1,0:T(8,128)S(1)}, f32[16,8]{1,0}, u32[], u32[]) collective-permute-start(%p), source_target_pairs={{0,1},{1,0}}",
        "%d3 = f32[16,8]{1,0} collective-permute-done(%s3)",
        "%s4 = ((f32[16,8]{1,0}), f32[4,8]{1,0}, u32[]) async-start(%p), calls=%async",
        "%u4 = ((f32[16,8]{1,0}), f32[4,8]{1,0}, u32[]) async-update(%s4), calls=%async",
        "ROOT %d4 = f32[4,8]{1,0} async-done(%u4), calls=%async",
        computations=asynchronous,
    )
    assert [(c.kind, c.operand_bytes, c.result_bytes) for c in collectives(text, MESH)] == [
        ("all-reduce", 512, 512),
        ("all-gather", 512, 1024),
        ("collective-permute", 512, 512),
        ("reduce-scatter", 512, 128),
    ]


@pytest.mark.parametrize("added", [True, False])
def test_a_fusion_of_sum_and_slice_scatters(added):
    """What TPUs do: the path, and who has added it, stand with the whole."""
    fused = """%all-reduce-scatter.1 (input: f32[16,8]) -> f32[4,8] {
  %input = f32[16,8]{1,0} parameter(0)
  %ar = f32[16,8]{1,0} all-reduce(%input), replica_groups={{0,2,4,6},{1,3,5,7}}, to_apply=%add
  ROOT %s = f32[4,8]{1,0} dynamic-slice(%ar), dynamic_slice_sizes={4,8}
}

"""
    mark = 'frontend_attributes={is_spmd_generated="true"}, ' if added else ""
    text = program(
        f"ROOT %f = f32[4,8]{{1,0}} fusion(%p), kind=kCustom, calls=%all-reduce-scatter.1, {mark}"
        'metadata={op_name="f/psum_scatter" source_file="/a/u.py" source_line=4}',
        computations=fused,
    )
    (found,) = collectives(text, MESH)
    assert found == (
        *("reduce-scatter", ("x",), 4, 512, 128, 384, 1, False, not added),
        *("f/psum_scatter", "/a/u.py:4"),
    )


def test_ragged_and_broadcast():
    text = program(
        "%o = f32[32,8]{1,0} parameter(1)",
        "%i = s32[8]{0} parameter(2)",
        "%r = f32[32,8]{1,0} ragged-all-to-all(%p, %o, %i, %i, %i, %i), replica_groups={{0,1,2,3,4,5,6,7}}",
        "ROOT %b = f32[16,8]{1,0} collective-broadcast(%p), replica_groups={{0,1,2,3,4,5,6,7}}",
    )
    assert [(c.kind, c.operand_bytes, c.sent_bytes) for c in collectives(text, MESH)] == [
        ("ragged-all-to-all", 512, 448),
        ("collective-broadcast", 512, 512),
    ]


@pytest.mark.parametrize(
    ("attributes", "explicit"),
    [
        ('metadata={op_name="jit(f)/psum"}', True),
        ('metadata={op_name="jit(f)/transpose(jvp())/pvary"}', True),
        ('metadata={op_name="jit(f)/mul;jit(f)/shard_map/psum_scatter[axis=0]"}', True),
        ('metadata={op_name="shard_map/(psum:transpose()/psum)"}', True),
        ('metadata={op_name="shard_map/(psum:dot_general)"}', False),
        ('metadata={op_name="jit(f)/dot_general"}', False),
        ('metadata={op_name="psum/dot_general"}', False),
        ("", False),
        ('frontend_attributes={is_spmd_generated="true"}, metadata={op_name="psum"}', False),
    ],
)
def test_who_asked_for_it(attributes, explicit):
    line = f"ROOT %r = f32[16,8]{{1,0}} all-reduce(%p), replica_groups={{{{0,1}}}}, to_apply=%add, {attributes}"
    (found,) = collectives(program(line), MESH)
    assert found.explicit is explicit


def test_the_line_of_what_has_none_is_that_of_its_user():
    text = program(
        "%g = f32[64,8]{1,0} all-gather(%p), replica_groups={{0,2,4,6},{1,3,5,7}}, dimensions={0}",
        '%h = f32[64,8]{1,0} add(%g, %g), metadata={op_name="f/add" source_file="/a/user.py" source_line=7}',
        "ROOT %r = f32[64,8]{1,0} all-reduce(%h), replica_groups={{0,1}}, to_apply=%add",
    )
    first, second = collectives(text, MESH)
    assert (first.source, second.source) == ("/a/user.py:7", "/a/user.py:7")
    with pytest.raises(functrax.errors.CommunicationError) as caught:
        check_explicit(text, MESH, "f")
    assert str(caught.value) == (
        "[no_implicit_comms] expected no communication in 'f' that it does not ask for; got "
        "all-reduce of 2048 bytes along 'y' for an operation without a name, and 1 more "
        "(user.py:7). Change the shardings of its operands or its result, or write the "
        "communication in `shard_map`; `explain_comms` shows all."
    )


def test_quotes_and_parentheses_in_names():
    text = program(
        'ROOT %r = f32[16,8]{1,0} all-reduce(%p), replica_groups={{0,1}}, to_apply=%add, metadata={op_name="a \\"(b/psum"}'
    )
    (found,) = collectives(text, MESH)
    assert (found.operation, found.explicit) == ('a \\"(b/psum', True)


def test_trip_counts_multiply():
    loops = """%inner (q: f32[16,8]) -> f32[16,8] {
  %q = f32[16,8]{1,0} parameter(0)
  ROOT %ar = f32[16,8]{1,0} all-reduce(%q), replica_groups={{0,1}}, to_apply=%add
}

%cond (q: f32[16,8]) -> pred[] {
  %q = f32[16,8]{1,0} parameter(0)
  ROOT %ar = f32[16,8]{1,0} all-reduce(%q), replica_groups={{0,2}}, to_apply=%add
}

%outer (q: f32[16,8]) -> f32[16,8] {
  %q = f32[16,8]{1,0} parameter(0)
  ROOT %w = f32[16,8]{1,0} while(%q), condition=%cond, body=%inner, backend_config={"known_trip_count":{"n":"3"}}
}

"""
    known = 'ROOT %w = f32[16,8]{1,0} while(%p), condition=%none, body=%outer, backend_config={"known_trip_count":{"n":"5"}}'
    found = {c.axes: c.times for c in collectives(program(known, computations=loops), MESH)}
    assert found == {("y",): 15, ("x",): 20}  # the condition is asked once more
    unknown = "ROOT %w = f32[16,8]{1,0} while(%p), condition=%none, body=%outer"
    assert {c.times for c in collectives(program(unknown, computations=loops), MESH)} == {None}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("f32[16,8]{1,0}", 512),
        ("pred[]", 1),
        ("bf16[3]", 6),
        ("f8e4m3fn[5]", 5),
        ("s4[5]", 3),
        ("f4e2m1fn[2]", 1),
        ("c64[2]", 16),
        ("c128[2]", 32),
        ("f32[0,4]", 0),
        ("f32[<=8]", 32),
        ("token[]", 0),
        ("(f32[2]{0}, /*index=1*/(u8[3], u32[]))", 15),
    ],
)
def test_bytes_of_types(text, size):
    assert type_bytes(text) == size


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("all-reduce", 1500),
        ("all-gather", 3000),
        ("reduce-scatter", 750),
        ("all-to-all", 750),
        ("collective-permute", 1000),
    ],
)
def test_bytes_sent_among_four(kind, expected):
    assert sent(kind, 4, 1000) == expected
    assert sent("all-reduce", 3, 4) == 6  # rounded up


def test_a_program_without_devices():
    text = functrax.jit(lambda x: x + 1).lower(1.0).compile().as_text()
    assert collectives(text) == []
    assert Program(text).entry in Program(text).computations
