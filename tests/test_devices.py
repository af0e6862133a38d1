"""The devices of a process: how many, which one a computation uses, and what is said of others."""

import os

import pytest

import functrax
import functrax.numpy as jnp
from functrax import config, errors

COUNT = "import functrax; print(functrax.device_count(), functrax.devices())"


@pytest.fixture(scope="module")
def devices():
    found = functrax.devices()
    assert [str(device) for device in found] == [f"cpu:{i}" for i in range(8)]  # conftest.py
    return found


def message(call):
    with pytest.raises(errors.FunctraxError) as caught:
        call()
    return str(caught.value).replace(f"{os.path.basename(__file__)}:{line_of(caught)}", "here")


def line_of(caught):
    """Return the line of this file that the error must name: the innermost one."""
    return [entry.lineno for entry in caught.traceback if str(entry.path) == __file__][-1] + 1


# How many -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "number"),
    [
        ({}, 1),
        ({"FUNCTRAX_NUM_CPU_DEVICES": "3"}, 3),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}, 2),
        (
            {
                "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
                "FUNCTRAX_NUM_CPU_DEVICES": "5",
            },
            5,
        ),
        ({"JAX_NUM_CPU_DEVICES": "4"}, 1),  # a setting for JAX is not ours
    ],
)
def test_virtual_devices_from_the_environment(variables, number, python):
    cleared = {"FUNCTRAX_NUM_CPU_DEVICES": None, "XLA_FLAGS": None, **variables}
    listed = ", ".join(f"CpuDevice(id={i})" for i in range(number))
    assert python(COUNT, **cleared) == f"{number} [{listed}]"


@pytest.mark.parametrize("name", ["num_cpu_devices", "jax_num_cpu_devices"])
def test_virtual_devices_by_an_update_before_the_start(name, python):
    code = f"""
        import functrax, functrax.numpy as jnp
        functrax.config.update({name!r}, 3)
        f = functrax.jit(lambda x: x * 2)
        for device in functrax.devices():
            print(f(functrax.device_put(jnp.arange(3), device)), end=" ")
        functrax.config.update({name!r}, 3)  # what it is already may be said again
        """
    cleared = {"FUNCTRAX_NUM_CPU_DEVICES": None, "XLA_FLAGS": None}
    assert python(code, **cleared) == " ".join(["[0 2 4]"] * 3)


def test_an_update_after_the_start(devices):
    assert message(lambda: config.update("num_cpu_devices", 3)) == (
        "[config.update] expected num_cpu_devices before the CPU is first used; got 3, when 8 CPU "
        "devices are in use (here). Set it at the start of the program."
    )
    assert message(lambda: config.update("jax_platforms", "tpu")) == (
        "[config.update] expected platforms before any device is first used; got 'tpu', when 'cpu' "
        "is in use (here). Set it at the start of the program, or set default_device."
    )
    assert (config.num_cpu_devices, config.platforms) == (8, "cpu")


def test_a_number_of_devices_that_cannot_be(python):
    assert message(lambda: config.update("num_cpu_devices", 0)) == (
        "[config.update] expected a positive number of CPU devices, or -1 for XLA_FLAGS to say; "
        "got 0 (here)."
    )
    lines = python(COUNT, fails=True, FUNCTRAX_NUM_CPU_DEVICES="many").splitlines()
    assert lines[-1] == (
        "functrax.errors.ConfigError: [import functrax] expected a value of type int in the "
        "environment variable FUNCTRAX_NUM_CPU_DEVICES; got 'many'. Correct or unset it. Virtual "
        "CPU devices; -1 leaves it to XLA_FLAGS, else one."
    )
    lines = python(COUNT, fails=True, FUNCTRAX_NUM_CPU_DEVICES="0").splitlines()
    assert lines[-1] == (
        "functrax.errors.ConfigError: [FUNCTRAX_NUM_CPU_DEVICES] expected a positive number "
        "of CPU devices; got '0' (<string>:1)."
    )
    flags = "--xla_force_host_platform_device_count=0"
    lines = python(COUNT, fails=True, FUNCTRAX_NUM_CPU_DEVICES=None, XLA_FLAGS=flags).splitlines()
    assert lines[-1] == (
        "functrax.errors.ConfigError: [XLA_FLAGS] expected a positive number of CPU devices; "
        "got '0' (<string>:1)."
    )


@pytest.mark.parametrize(("number", "count"), [("-1", "3"), ("", "3"), ("2", "2")])
def test_which_variable_counts(python, number, count):
    flags = "--xla_force_host_platform_device_count=3"
    assert python(COUNT, FUNCTRAX_NUM_CPU_DEVICES=number, XLA_FLAGS=flags).split()[0] == count


# Those that are not here --------------------------------------------------------------------------

NO_GPU = (
    "[devices] expected an NVIDIA GPU; got no NVIDIA driver on this machine (here). Install the "
    'driver, or use another platform, such as `devices("cpu")`.'
)
NO_TPU = (
    "[devices] expected a TPU; got no TPU on this machine (here). Use another platform, such as "
    '`devices("cpu")`.'
)


@pytest.fixture
def bare_machine(monkeypatch):
    """Make this machine one without accelerators, whatever it has."""
    from functrax.xla import client, plugins

    monkeypatch.setattr(plugins, "_CUDA_DEVICE_FILES", ())
    monkeypatch.setattr(plugins, "_has_tpu", lambda: False)
    monkeypatch.setattr(
        client, "_clients", {k: v for k, v in client._clients.items() if k == "cpu"}
    )


@pytest.mark.usefixtures("bare_machine")
@pytest.mark.parametrize(("name", "text"), [("gpu", NO_GPU), ("cuda", NO_GPU), ("tpu", NO_TPU)])
def test_a_platform_that_is_not_here(name, text):
    calls = {
        "devices": lambda: functrax.devices(name),
        "device_count": lambda: functrax.device_count(name),
        "local_devices": lambda: functrax.local_devices(backend=name),
        "local_device_count": lambda: functrax.local_device_count(name),
        "process_index": lambda: functrax.process_index(name),
        "process_count": lambda: functrax.process_count(name),
        "device_put": lambda: functrax.device_put(1.0, name),
    }
    for called, call in calls.items():
        assert message(call) == text.replace("[devices]", f"[{called}]")

    def scoped():
        with functrax.default_device(name):
            jnp.ones(3)

    assert message(scoped) == text.replace("[devices]", "[default_device]")


def test_a_platform_that_nobody_knows():
    text = (
        " expected a platform: cpu, gpu, cuda or tpu; got 'npu' (here). `python -m functrax` "
        "prints which are here."
    )
    assert message(lambda: functrax.devices("npu")) == "[devices]" + text
    assert message(lambda: functrax.device_put(1.0, "npu")) == "[device_put]" + text


def test_the_platform_asked_for_in_the_environment_is_not_here(python):
    code = """
        import functrax, functrax.numpy as jnp
        from functrax.xla import plugins
        plugins._has_tpu = lambda: False
        jnp.ones(3)
        """
    lines = python(code, fails=True, FUNCTRAX_PLATFORMS="tpu").splitlines()
    text = NO_TPU.replace("here", "<string>:5", 1)
    assert lines[-1] == f"functrax.errors.DeviceError: {text}"


# Which one a computation uses ---------------------------------------------------------------------


def add(x, y):
    return x + y


def test_computations_follow_committed_arrays(devices):
    here = jnp.arange(3.0)
    there = functrax.device_put(here, devices[2])
    assert (here.committed, there.committed, there.devices()) == (False, True, {devices[2]})
    jitted = functrax.jit(add)
    for x, y in ((here, there), (there, here), (there, there), (here, here), (there, 1.0)):
        expected = devices[2] if there is x or there is y else devices[0]
        for _ in range(2):  # the first call, and the warm one
            for result in (
                x + y,
                jitted(x, y),
                functrax.vmap(add, in_axes=(0, None))(x, 1.0),
                functrax.grad(lambda a, b: jnp.sum(a * a * b))(x, y),
            )[: 4 if x is there else 2]:
                assert (result.device, result.committed) == (expected, expected is devices[2])
        assert jitted(x, y).tolist() == (x + y).tolist()


def test_committed_arrays_on_two_devices_do_not_mix(devices):
    x = functrax.device_put(jnp.arange(3.0), devices[0])
    y = functrax.device_put(jnp.arange(3.0), devices[1])
    text = (
        "expected operands on one device; got cpu:0 and cpu:1 (here). Move one with `device_put`."
    )
    assert message(lambda: x + y) == f"[add] {text}"
    jitted = functrax.jit(add)
    assert message(lambda: jitted(x, y)) == f"[add] {text}"
    assert jitted(x, x).tolist() == [0.0, 2.0, 4.0]
    assert jitted(y, y).tolist() == [0.0, 2.0, 4.0]
    assert message(lambda: jitted(x, y)) == f"[add] {text}"
    assert (x + y.to_device(devices[0])).tolist() == [0.0, 2.0, 4.0]
    assert x.to_device(devices[0]).committed


def test_the_default_device(devices):
    x = jnp.arange(3)
    double = functrax.jit(lambda a: a * 2)
    fill = functrax.jit(lambda: jnp.ones(2))
    for wanted in (devices[3], devices[5]):
        with functrax.default_device(wanted):
            made = jnp.arange(3)
            for result in (made, x + 1, jnp.sin(1.0), double(x), double(x), double(made), fill()):
                assert (result.device, result.committed) == (wanted, False)
        # What nobody placed goes where nobody's choice goes, as in JAX.
        for result in (made + 1, double(made), double(made), fill()):
            assert (result.device, result.committed) == (devices[0], False)
        assert double(made).tolist() == [0, 2, 4]
    with functrax.default_device(devices[3]):
        placed = functrax.device_put(x, devices[4])
        assert (placed + 1).device is double(placed).device is devices[4]


def test_the_default_device_by_platform(devices):
    with functrax.default_device("cpu"):
        assert jnp.ones(2).device is devices[0]


def test_devices_have_names_and_copies(devices):
    import copy
    import pickle

    assert [repr(devices[1]), str(devices[1])] == ["CpuDevice(id=1)", "cpu:1"]
    assert pickle.loads(pickle.dumps(devices[1])) is devices[1]
    assert copy.deepcopy(devices[1]) is devices[1]
    assert functrax.local_devices() == functrax.devices()
    assert functrax.device_count() == functrax.local_device_count() == 8
    assert (functrax.process_index(), functrax.process_count()) == (0, 1)
    assert functrax.default_backend() == "cpu"


def test_a_required_platform_is_the_default_one_or_an_error():
    assert functrax.require("cpu") == functrax.devices("cpu")
    with pytest.raises(errors.DeviceError, match=r"^\[require\]"):
        functrax.require("abacus")
    report = message(lambda: functrax.require("tpu"))
    assert report.startswith("[")
    assert "tpu" in report.lower()
