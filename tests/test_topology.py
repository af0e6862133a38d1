"""Compiling for TPUs and GPUs that are not here: functrax.topology.

The compilers take hundreds of MB: each test runs in a process of its own.
"""

import functools
import importlib.util
import os
import re

import pytest

import functrax
from functrax import errors

needs_tpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="the extra tpu is not installed"
)
needs_gpu = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda13_plugin") is None, reason="the CUDA plug-in is missing"
)
TPU = functools.partial(pytest.param, marks=needs_tpu)
GPU = functools.partial(pytest.param, marks=needs_gpu)

SETUP = """
    import sys
    sys.path.insert(0, "examples")
    import functrax, functrax.numpy as jnp
    from functrax import lax, random
    from functrax.sharding import Mesh, NamedSharding, PartitionSpec as P, SingleDeviceSharding

    here = functrax.topology(NAME)
    n = len(here.devices)
    mesh = Mesh(here.devices, "batch")
    everywhere, divided = NamedSharding(mesh, P()), NamedSharding(mesh, P("batch"))

    def struct(shape, sharding=None, dtype="float32"):
        return functrax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    def placed(tree, sharding):
        return functrax.tree.map(lambda x: struct(x.shape, sharding, x.dtype), tree)

    def loss(w, x):
        return jnp.mean(jnp.tanh(x @ w) ** 2)

    W, X = struct((256, 128)), struct((8 * n, 256))
"""


def run(python, name, code):
    return python(SETUP.replace("NAME", repr(name)) + code)


STEP = """
    import digits

    def example():
        key = functrax.eval_shape(lambda: random.key(0))
        params = functrax.eval_shape(digits.init_params, key)
        state = functrax.eval_shape(digits.adam_init, params)
        batch = struct((16 * n, 8, 8, 1)), struct((16 * n,), dtype="int32")
        return params, (*placed((params, state, key), everywhere), *placed(batch, divided))

    params, args = example()
    step = digits.train_step
    compiled = step.lower(*args).compile()
    memory = compiled.memory_analysis()
    print(sum(4 * x.size for x in functrax.tree.leaves(params)))
    print(memory.argument_size_in_bytes, memory.temp_size_in_bytes, memory.peak_memory_in_bytes)
    print([(one.kind, one.axes, one.operand_bytes) for one in functrax.explain_comms(step)(*args)])
    print(compiled.cost_analysis()["flops"] > 0)
    print(compiled.as_text())
"""


@pytest.mark.parametrize("name", [TPU("v5e:2x2"), TPU("v6e:4x4"), GPU("h100:8")])
def test_the_step_of_the_main_example(name, python):
    """One sum of gradients, memory as counted by hand, and the host has no part in it."""
    parameters, memory, comms, counted, text = run(python, name, STEP).split("\n", 4)
    size = int(parameters)
    assert size == 4 * 151_306
    arguments, temporary, peak = map(int, memory.split())
    # Parameters, two means, and 16 images with labels; TPUs pad what is small to whole tiles.
    least = 3 * size + 16 * (64 + 1) * 4
    assert least <= arguments < 1.3 * least
    assert 0 < temporary < 2e6
    assert arguments <= peak < 1e7
    # The gradients and the loss (4 bytes), together.
    assert comms == f"[('all-reduce', ('batch',), {size + 4})]"
    assert counted == "True"
    assert not re.search(
        r"\b(infeed|outfeed|send|recv)\(|is_host_transfer|pinned_host|S\(5\)", text
    )
    assert "callback" not in text


PROGRAMS = """
    w, x = struct((256, 128), everywhere), struct((8 * n, 256), divided)

    def local(w, x):
        return lax.pmean(functrax.value_and_grad(loss)(w, x), "batch")

    mapped = functrax.shard_map(
        lambda w, x: lax.pmean(loss(w, x), "batch"),
        mesh=mesh,
        in_specs=(P(), P("batch")),
        out_specs=P(),
    )
    pmapped = functrax.pmap(local, axis_name="batch", in_axes=(None, 0), devices=here.devices)
    stages = [
        functrax.jit(functrax.value_and_grad(loss)).lower(w, x),
        functrax.jit(functrax.value_and_grad(mapped)).lower(w, x),
        pmapped.lower(struct((256, 128)), struct((n, 8, 256))),
    ]
    for stage in stages:
        program = stage.compile()
        memory = program.memory_analysis()
        print(
            memory.argument_size_in_bytes >= 4 * (256 * 128 + 8 * 256),
            program.cost_analysis()["flops"] >= 2 * 2 * 256 * 128 * 8,
            "all-reduce" in program.as_text(),
            functrax.tree.leaves(program.input_shardings)[0].num_devices == n,
            functrax.tree.leaves(program.output_shardings)[0].num_devices == n,
        )
"""


@pytest.mark.parametrize(
    "name",
    [
        TPU("v5e:2x2"),
        TPU("v5e:16x16"),
        TPU("v5p:4x4x4"),
        TPU("v6e:2x4"),
        GPU("h100:4"),
        GPU("h100:2x8"),
    ],
)
def test_jit_shard_map_and_pmap(name, python):
    assert run(python, name, PROGRAMS) == "\n".join(["True True True True True"] * 3)


@pytest.mark.parametrize(
    ("name", "printed", "described"),
    [
        TPU(
            "v5e:2x2", "Topology('v5e:2x2', 4 x TPU v5 lite)", "TpuDevice(id=1, topology='v5e:2x2')"
        ),
        GPU(
            "h100:2",
            "Topology('h100:2', 2 x NVIDIA H100 80GB HBM3)",
            "GpuDevice(id=1, topology='h100:2')",
        ),
    ],
)
def test_its_devices(name, printed, described, python):
    code = """
    import pickle
    second = here.devices[1]
    print(here)
    print(repr(second), second.platform, second in functrax.devices())
    print(pickle.loads(pickle.dumps(second)) is second, functrax.topology(here.name) is here)
    print(mesh.is_multi_process, everywhere.is_fully_addressable, len(everywhere.addressable_devices))
    alone = functrax.jit(jnp.sin).lower(struct((64,), SingleDeviceSharding(second))).compile()
    print(alone.input_shardings[0][0].device_set == {second}, alone.as_text()[:9])
    print(functrax.jit(jnp.sin, device=second).lower(struct((8,))).compile().out_info.shape)
    x = functrax.jit(jnp.sin, in_shardings=divided, out_shardings=everywhere).lower(struct((n,)))
    print(x.cost_analysis()["transcendentals"], x.compile().output_shardings is everywhere)
    """
    count = 4 if name == "v5e:2x2" else 2
    expected = f"""
    {printed}
    {described} {described[:3].lower()} False
    True True
    True False 0
    True HloModule
    (8,)
    {count}.0 True
    """
    lines = [line.strip() for line in expected.strip().splitlines()]
    assert run(python, name, code).splitlines() == lines


NOT_HERE = """
    import numpy as np
    from functrax import config, errors
    x = np.ones(n, np.float32)
    compiled = functrax.jit(jnp.sin).lower(struct((n,), divided)).compile()
    alone = functrax.jit(jnp.sin).lower(struct((n,), SingleDeviceSharding(here.devices[0]))).compile()
    calls = [
        lambda: compiled(x),
        lambda: alone(x),
        lambda: functrax.jit(jnp.sin, in_shardings=divided)(x),
        lambda: functrax.jit(jnp.sin, device=here.devices[0])(x),
        lambda: functrax.pmap(jnp.sin, devices=here.devices)(x),
        lambda: functrax.device_put(x, here.devices[0]),
        lambda: functrax.device_put(x, divided),
        lambda: functrax.device_put(jnp.asarray(x), divided),
        lambda: functrax.device_put(1.0, everywhere),
        lambda: functrax.make_array_from_callback((n,), divided, lambda index: x[index]),
        lambda: jnp.zeros(n, device=here.devices[0]),
        lambda: jnp.zeros(n, device=divided),
        lambda: jnp.arange(n, device=divided),
        lambda: config.update("default_device", here.devices[0]),
        lambda: here.devices[0].memory_stats(),
    ]
    for call in calls:
        try:
            print("no error:", call())
        except errors.DeviceError as error:
            print(error.expected, "|", error.got)
"""


@pytest.mark.parametrize("name", [TPU("v5e:2x2"), GPU("h100:2")])
def test_nothing_runs_on_them_or_is_put_there(name, python):
    kind = "Tpu" if name.startswith("v") else "Gpu"
    line = f"devices that are here | {kind}Device(id=0, topology={name!r}), which is only described"
    assert run(python, name, NOT_HERE).splitlines() == [line] * 15


@needs_tpu
def test_a_second_process(python):
    """Two may compile at a time, as the workers of a test run do."""
    code = """
    import os, subprocess
    print(len(functrax.topology("v5e:2x2").devices))
    again = "import functrax; print(len(functrax.topology('v5e:4x4').devices))"
    without = {k: v for k, v in os.environ.items() if k != "ALLOW_MULTIPLE_LIBTPU_LOAD"}
    done = subprocess.run([sys.executable, "-c", again], env=without, capture_output=True, text=True)
    print(done.stdout.strip(), done.stderr)
    """
    assert run(python, "v5e:2x2", code).split() == ["4", "16"]


# Each row of the table of primitives: differentiated where it can be, and on booleans.
ROWS = """
    from functrax.core import dtypes
    from tests.cases import BOOL, CASES
    from tests.test_primitives import applied, arrays

    def pulled(apply, values):
        inexact = [i for i, value in enumerate(values) if dtypes.is_inexact(value.dtype)]

        def part(*chosen):
            every = list(values)
            for i, value in zip(inexact, chosen, strict=True):
                every[i] = value
            return apply(*every)

        results, pull = functrax.vjp(part, *[values[i] for i in inexact])
        return pull(results)

    def derived(case, dtype, operands):
        apply = applied(case)
        derive = case.order == 2 and dtypes.is_inexact(dtype)
        return pulled(apply, operands) if derive else apply(*operands)

    alone = SingleDeviceSharding(here.devices[0])
    wanted = [
        (case, dtype)
        for case in CASES
        for dtype in case.dtypes
        if case.operands and (dtype in BOOL or dtype is case.dtypes[0])
    ]
    operands = [placed(arrays(case, case.draw(dtype)), alone) for case, dtype in wanted]
    print(len(wanted) > 200)

    def compile_all(rows):
        # One program of many rows is compiled sooner than many programs.
        def program(values):
            return [derived(*wanted[row], x) for row, x in zip(rows, values, strict=True)]

        try:
            functrax.jit(program).lower([operands[row] for row in rows]).compile()
        except functrax.errors.FunctraxError as error:
            if len(rows) == 1:
                print(wanted[rows[0]][0], error.got.partition(" with ")[0])
            else:
                half = len(rows) // 2
                compile_all(rows[:half])
                compile_all(rows[half:])

    for start in range(0, len(wanted), 32):
        compile_all(range(len(wanted))[start : start + 32])
"""

# ADR 0017 says what this means for users.
POOLING = "UNIMPLEMENTED: Encountered select-and-scatter"
REFUSED = [
    f"{case} {POOLING}"
    for case in (
        "reduce_window_max-valid",
        "reduce_window_min-padded",
        "select_and_gather_add-max",
        "select_and_scatter_add-max",
        "select_and_scatter_add-padded",
    )
]


@pytest.mark.parametrize(("name", "refused"), [TPU("v5e:2x2", REFUSED), GPU("h100", [])])
def test_every_primitive(name, refused, python):
    """Every row of the table compiles, differentiated, but for what XLA is known to refuse."""
    assert run(python, name, ROWS).splitlines() == ["True", *refused]


@needs_tpu
def test_a_program_that_does_not_fit(python):
    code = """
    try:
        functrax.jit(jnp.sin).lower(struct((10**6, 10**6), divided)).compile()
    except functrax.errors.OutOfMemoryError as error:
        print(error.expected, "15.75G" in error.got)
    """
    assert run(python, "v5e:2x2", code) == "enough device memory True"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        TPU("v5e:2x2", "[pure_callback] expected a platform with host callbacks; got tpu"),
        GPU(
            "h100:2",
            "[compile] expected a program without host callbacks, for h100:2 is not here; got 1 "
            "callbacks",
        ),
    ],
)
def test_host_callbacks(name, expected, python):
    code = """
    def f(x):
        functrax.debug.print("{}", x)
        return x

    try:
        functrax.jit(f).lower(struct((n,), SingleDeviceSharding(here.devices[0]))).compile()
    except functrax.errors.FunctraxError as error:
        print(error)
    """
    assert run(python, name, code).startswith(expected)


KINDS = "a GPU and how many, such as 'h100:8', or '2x8' for two hosts; known are h100"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            lambda: functrax.topology("v5e"),
            "[topology] expected kind and shape of a TPU slice such as 'v5e:4x4', or GPUs such as "
            "'h100:8'; got 'v5e' (here).",
        ),
        (
            lambda: functrax.topology(""),
            "[topology] expected kind and shape of a TPU slice such as 'v5e:4x4', or GPUs such as "
            "'h100:8'; got '' (here).",
        ),
        (
            lambda: functrax.topology(4),
            "[topology] expected a name such as 'v5e:4x4' or 'h100:8'; got 4 of type int (here).",
        ),
        (
            lambda: functrax.topology("h100:0x8"),
            f"[topology] expected {KINDS}; got 'h100:0x8' (here).",
        ),
        (
            lambda: functrax.topology("h100:2x2x2"),
            f"[topology] expected {KINDS}; got 'h100:2x2x2' (here).",
        ),
        (
            lambda: functrax.topology("h100:8", num_slices=2),
            "[topology] expected no options for GPUs ('h100:8'); got num_slices (here).",
        ),
    ],
)
def test_messages(call, expected):
    with pytest.raises(errors.FunctraxError) as caught:
        call()
    line = [one.lineno for one in caught.traceback if str(one.path) == __file__][-1] + 1
    assert str(caught.value).replace(f"{os.path.basename(__file__)}:{line}", "here") == expected


@needs_tpu
@pytest.mark.parametrize(
    ("call", "got"),
    [
        ("functrax.topology('v9:2x2')", "INVALID_ARGUMENT: Invalid TPU external name: TPU v9"),
        ("functrax.topology('v5e:2x2', foo=1)", "INVALID_ARGUMENT: Unexpected arguments: foo"),
    ],
)
def test_what_libtpu_refuses(call, got, python):
    code = f"""
    try:
        {call}
    except functrax.errors.DeviceError as error:
        print(error.call, "|", error.got)
    """
    assert run(python, "v5e:2x2", code) == f"topology | {got}"


@needs_tpu
def test_several_slices(python):
    code = """
    two = functrax.topology("v5e:2x2", num_slices=2)
    print(len(two.devices), [device.slice_index for device in two.devices])
    """
    assert run(python, "v5e:2x2", code) == "8 [0, 0, 0, 0, 1, 1, 1, 1]"
