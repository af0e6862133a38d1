"""How arrays lie on devices: plain values."""

from typing import Any

__all__ = ["Sharding", "SingleDeviceSharding"]


def __dir__() -> list[str]:
    return __all__


class Sharding:
    """How an array lies on devices."""

    __slots__ = ()

    @property
    def device_set(self) -> set[Any]:
        """The devices that hold a part of the array."""
        raise NotImplementedError

    @property
    def is_fully_replicated(self) -> bool:
        """Whether every device holds all of the array."""
        raise NotImplementedError

    @property
    def memory_kind(self) -> str | None:
        """The kind of memory, None for the device's own."""
        return None


class SingleDeviceSharding(Sharding):
    """The whole array on one device.

    Args:
        device: a `functrax.Device`.

    Example:
        >>> import functrax
        >>> SingleDeviceSharding(functrax.devices("cpu")[0])
        SingleDeviceSharding(device=CpuDevice(id=0))
    """

    __slots__ = ("device",)

    def __init__(self, device: Any) -> None:
        """Keep the device."""
        self.device = device

    @property
    def device_set(self) -> set[Any]:
        """The one device."""
        return {self.device}

    @property
    def is_fully_replicated(self) -> bool:
        """True: there is only one device."""
        return True

    @property
    def is_fully_addressable(self) -> bool:
        """Whether this process can read all of the array."""
        return self.device.process_index == self.device.client.process_index

    @property
    def num_devices(self) -> int:
        """One."""
        return 1

    def shard_shape(self, global_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the part on each device: the whole."""
        return tuple(global_shape)

    def __eq__(self, other: object) -> bool:
        """Compare the devices."""
        return isinstance(other, SingleDeviceSharding) and self.device is other.device

    def __hash__(self) -> int:
        """Hash the device."""
        return hash((SingleDeviceSharding, self.device))

    def __repr__(self) -> str:
        """Print the device."""
        return f"SingleDeviceSharding(device={self.device!r})"
