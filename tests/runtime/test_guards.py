"""Options that watch: transfers, ranks, compilations, frames; and forks."""

import logging
import traceback

import numpy as np
import pytest

import functrax
import functrax.numpy as jnp
from functrax import errors

HOST = np.ones(3, np.float32)
double = functrax.jit(lambda x: x * 2)

IMPLICIT = {
    "argument of a jitted function": lambda: double(HOST),
    "operand": lambda: jnp.ones(3) + HOST,
    "asarray": lambda: jnp.asarray(HOST),
    "array of a list": lambda: jnp.array([1, 2]),
    "argument of grad": lambda: functrax.grad(jnp.sum)(HOST),
}
FREE = {
    "array": lambda: double(jnp.ones(3)),
    "number": lambda: jnp.ones(3) + 1.5,
    "index": lambda: jnp.ones(3)[1],
    "made on the device": lambda: (jnp.zeros(3), jnp.arange(3), functrax.random.key(0)),
    "read on the CPU": lambda: float(jnp.ones(3)[0]) + np.asarray(jnp.ones(3))[0],
}


@pytest.mark.parametrize("name", IMPLICIT)
def test_transfers_from_the_host(name, caplog):
    for _ in range(3):
        IMPLICIT[name]()
    for level in ("disallow", "disallow_explicit"):
        with functrax.transfer_guard(level), pytest.raises(errors.TransferError) as caught:
            IMPLICIT[name]()
        assert f"transfer_guard_host_to_device='{level}'" in str(caught.value)
        assert "Put it there with `device_put`." in str(caught.value)
    with functrax.transfer_guard("log"), caplog.at_level(logging.WARNING, "functrax"):
        IMPLICIT[name]()
    assert "transfer from the host to a device" in caplog.text
    assert "test_guards.py:" in caplog.text
    with functrax.transfer_guard("disallow"), functrax.transfer_guard_host_to_device("allow"):
        IMPLICIT[name]()


@pytest.mark.parametrize("name", FREE)
def test_what_is_no_transfer(name):
    with functrax.transfer_guard("disallow_explicit"):
        FREE[name]()


def test_explicit_transfers(caplog):
    with functrax.transfer_guard("disallow"):
        x = functrax.device_put(HOST)
        functrax.device_put(x, functrax.devices()[1])
        functrax.device_get(x)
    with functrax.transfer_guard("log_explicit"), caplog.at_level(logging.WARNING, "functrax"):
        functrax.device_put(HOST)
    assert "transfer from the host to a device: a NumPy array of shape (3,)" in caplog.text
    with functrax.transfer_guard("disallow_explicit"):
        with pytest.raises(errors.TransferError):
            functrax.device_put(HOST)
        with pytest.raises(errors.TransferError):
            functrax.device_put(x, functrax.devices()[1])


def test_transfers_between_devices():
    there = functrax.device_put(jnp.ones(3), functrax.devices()[1])
    here = jnp.ones(3)
    with functrax.transfer_guard_device_to_device("disallow"):
        with pytest.raises(errors.TransferError) as caught:
            there + here
        assert "from one device to another" in str(caught.value)
    np.testing.assert_array_equal(there + here, [2, 2, 2])


@pytest.mark.parametrize(
    "function",
    [
        lambda: jnp.ones((2, 3)) + jnp.ones(3),
        lambda: jnp.where(jnp.ones((2, 3)) > 0, jnp.ones(3), 0),
        lambda: functrax.jit(lambda a, b: a * b)(jnp.ones((2, 3)), jnp.ones(3)),
        lambda: jnp.maximum(jnp.ones((2, 3)), np.ones(3)),
    ],
)
def test_ranks_that_are_promoted(function):
    function()
    with functrax.numpy_rank_promotion("raise"), pytest.raises(errors.ShapeError) as caught:
        function()
    assert "numpy_rank_promotion='raise'; got (2, 3), (3,)" in str(caught.value)
    with functrax.numpy_rank_promotion("warn"), pytest.warns(UserWarning, match="rank") as seen:
        function()
    assert "numpy_rank_promotion='warn'" in str(seen[0].message)
    assert seen[0].filename == __file__


def test_ranks_that_may_differ():
    with functrax.numpy_rank_promotion("raise"):
        x = jnp.ones((2, 3))
        x + 1, x + jnp.float32(1), x + jnp.ones((1, 3)), jnp.where(x > 0, x, 0)
        functrax.nn.softmax(x), jnp.var(x, axis=0), functrax.vmap(jnp.add)(x, x)


def test_compilations_are_logged(caplog):
    with functrax.log_compiles(True), caplog.at_level(logging.WARNING, "functrax"):
        functrax.jit(lambda x: x * 7.25)(jnp.ones(3))
    assert "Compiling <lambda> for arguments [f32[3]]" in caplog.text
    assert "Finished compiling <lambda> in " in caplog.text


def test_frames_are_kept_if_asked():
    def fails(x):
        raise ValueError("on purpose")

    def frames():
        with pytest.raises(ValueError) as caught:
            functrax.jit(fails)(1.0)
        return [frame.filename for frame in traceback.extract_tb(caught.value.__traceback__)]

    inside = lambda: sum("functrax/transforms" in name for name in frames())  # noqa: E731
    assert inside() == 1  # where the error is raised again
    with functrax.config.scope(traceback_filtering="off"):
        assert inside() > 3


def test_a_fork_after_the_start_is_warned_of(python):
    code = """
        import os, subprocess, warnings
        import functrax, functrax.numpy as jnp
        warnings.simplefilter("error", functrax.errors.ForkWarning)
        subprocess.run(["true"])
        jnp.ones(2) + 1
        subprocess.run(["true"])
        warnings.simplefilter("always", functrax.errors.ForkWarning)
        with warnings.catch_warnings(record=True) as seen:
            pid = os.fork()
            if not pid:
                os._exit(0)
            os.waitpid(pid, 0)
        print([str(one.message) for one in seen])
    """
    assert "[fork] expected no fork after devices have started" in python(code)
