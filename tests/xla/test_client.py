import pytest

from functrax.errors import ConfigError, DeviceError
from functrax.xla import client, versions


def test_the_cpu(cpu):
    assert cpu.platform == "cpu"
    assert len(cpu.devices) == 8
    assert cpu.local_devices == cpu.devices
    assert cpu.process_index == 0
    assert client.client_of("cpu") is cpu is client.cpu_client(8)
    assert isinstance(cpu.platform_version, str)
    assert isinstance(cpu.heap_profile(), bytes)


def test_the_devices_are_described_the_same_way_each_time(cpu):
    assert cpu.describe_devices() == cpu.describe_devices() != ""


def test_the_number_of_devices_cannot_change(cpu):
    with pytest.raises(ConfigError) as caught:
        client.cpu_client(3)
    assert caught.value.got == "3 devices, when there are 8 already"


def test_an_unknown_platform():
    with pytest.raises(DeviceError) as caught:
        client.client_of("abacus")
    assert caught.value.got == "'abacus'"


@pytest.mark.parametrize(
    ("environment", "number"),
    [
        ({}, 1),
        ({"XLA_FLAGS": "--xla_force_host_platform_device_count=3"}, 3),
        ({"XLA_FLAGS": "--a --xla_force_host_platform_device_count=3 --b=1"}, 3),
        ({"FUNCTRAX_NUM_CPU_DEVICES": "4"}, 4),
        (
            {
                "FUNCTRAX_NUM_CPU_DEVICES": "4",
                "XLA_FLAGS": "--xla_force_host_platform_device_count=3",
            },
            4,
        ),
    ],
)
def test_how_many_cpu_devices(environment, number, monkeypatch):
    for name in ("XLA_FLAGS", "FUNCTRAX_NUM_CPU_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert client.num_cpu_devices() == number


@pytest.mark.parametrize("text", ["0", "two", "-2"])
def test_not_a_number_of_devices(text, monkeypatch):
    monkeypatch.setenv("FUNCTRAX_NUM_CPU_DEVICES", text)
    with pytest.raises(ConfigError) as caught:
        client.num_cpu_devices()
    assert caught.value.got == repr(text)


def test_the_thread_pool_is_sized_only_while_a_client_is_made(monkeypatch):
    monkeypatch.setattr(client, "COLLECTIVES_CAN_DEADLOCK", True)
    monkeypatch.setenv("NPROC", "7")
    monkeypatch.delenv("PJRT_NPROC", raising=False)
    import os

    with client._enough_threads(20):
        assert os.environ["NPROC"] == "7"
        assert int(os.environ["PJRT_NPROC"]) >= 20
    assert "PJRT_NPROC" not in os.environ
    with client._enough_threads(1):
        assert "PJRT_NPROC" not in os.environ


def test_a_platform_that_is_not_there_has_a_reason(monkeypatch):
    from functrax.xla import plugins

    monkeypatch.setattr(plugins, "_CUDA_DEVICE_FILES", ())
    monkeypatch.setattr(plugins, "_has_tpu", lambda: False)
    monkeypatch.setattr(client, "_clients", {})
    assert client.platforms() == {
        "cpu": "available",
        "gpu": "no NVIDIA driver on this machine",
        "tpu": "no TPU on this machine",
    }


@pytest.mark.parametrize(
    ("text", "version"), [("0.10.2", (0, 10, 2)), ("0.12.0.1.dev3", (0, 12, 0, 1)), ("", ())]
)
def test_versions_are_parsed(text, version):
    assert versions.parse_version(text) == version


@pytest.mark.parametrize("text", ["0.10.1", "0.9.99", "0.13.0", "1.0", ""])
def test_other_versions_are_refused(text):
    with pytest.raises(DeviceError) as caught:
        versions.check_version(text)
    assert caught.value.expected == "jaxlib >=0.10.2,<0.13"
    assert caught.value.got == (f"jaxlib {text}" if text else "no jaxlib at all")


@pytest.mark.parametrize("text", ["0.10.2", "0.11.0", "0.12.0.1", "0.12.9"])
def test_supported_versions(text):
    assert versions.check_version(text) == versions.parse_version(text)
