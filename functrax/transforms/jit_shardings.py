"""What `jit` is told about how arguments and results lie on devices."""

from collections.abc import Callable, Sequence
from typing import Any

from functrax import errors
from functrax.core import tree
from functrax.core.trace import Value, bind
from functrax.core.types import ShapedArray
from functrax.runtime.array import DeviceArray
from functrax.runtime.devices import Device, devices_of
from functrax.runtime.layout import sharding_at
from functrax.sharding.mesh import Mesh
from functrax.sharding.shardings import DEFAULT_KIND, NamedSharding, SingleDeviceSharding
from functrax.sharding.spec import PartitionSpec
from functrax.transforms.constraint import sharding_constraint_p, shardings_for
from functrax.transforms.flat import path_of

CALL = "jit"
Leaves = tuple[NamedSharding | None, ...]


class JitShardings:
    """The shardings that a jitted function was given, by tree prefix.

    Args:
        in_shardings: for the positional arguments that are not static; None as they lie.
        out_shardings: for the results; None as the compiler likes.
    """

    __slots__ = ("in_shardings", "out_shardings")

    def __init__(self, in_shardings: Any, out_shardings: Any) -> None:
        """Keep the prefixes."""
        self.in_shardings = tuple(in_shardings) if isinstance(in_shardings, list) else in_shardings
        self.out_shardings = out_shardings

    def of_arguments(self, dynamic: Any) -> Leaves:
        """Return the sharding, or None, of each leaf of ``(args, kwargs)``.

        Raises:
            TreeError: if in_shardings is not a prefix of the positional arguments.
            ArgumentError: for what is no sharding, or a spec when no mesh is set.
        """
        args, kwargs = dynamic
        count = len(tree.leaves(args))
        found = shardings_for(self.in_shardings, args, count, CALL, "in_shardings")
        rest = len(tree.leaves(kwargs))
        return (*map(_named, found), *(None,) * rest)

    def of_results(self, out_tree: Any, avals: Sequence[ShapedArray]) -> Leaves:
        """Return the sharding, or None, of each leaf of the result; errors as for arguments.

        Raises:
            ShapeError: if one does not divide its result.
        """
        whole = tree.results_of(out_tree)
        given = shardings_for(self.out_shardings, whole, len(avals), CALL, "out_shardings")
        found = tuple(map(_named, given))
        for i, (aval, one) in enumerate(zip(avals, found, strict=True)):
            if one is not None:
                one.check_shape(aval.shape, CALL, f"the result{path_of(out_tree, i)}")
        return found


def _named(sharding: Any) -> NamedSharding | None:
    if isinstance(sharding, SingleDeviceSharding):
        mesh, kind = Mesh([sharding.device], "device"), sharding.memory_kind
        return NamedSharding(mesh, PartitionSpec(), memory_kind=kind)
    return sharding


def placement(
    device: Any, backend: str | None, in_shardings: Any, out_shardings: Any
) -> Device | None:
    """Return the one device that `jit`'s arguments put a computation on, or None.

    Raises:
        ArgumentError: if device and backend are both given, or device is none.
    """
    if backend is not None and device is None:
        return devices_of(backend, CALL)[0]
    if device is not None:
        if backend is not None or not isinstance(device, Device):
            got = f"device={device!r}, backend={backend!r}"
            raise errors.ArgumentError(CALL, "a device or a backend", got)
        return device
    given = [x for x in tree.leaves((in_shardings, out_shardings)) if x is not None]
    plain = [isinstance(x, SingleDeviceSharding) and x.memory_kind == DEFAULT_KIND for x in given]
    if not plain or not all(plain):
        return None
    return given[0].device if len({x.device for x in given}) == 1 else None


def constrained(values: Sequence[Value], shardings: Leaves) -> list[Value]:
    """Say in the traced program how values lie."""
    return [
        x if one is None else bind(sharding_constraint_p, x, sharding=one)[0]
        for x, one in zip(values, shardings, strict=True)
    ]


def check_placed(
    call: str, values: Sequence[Value], wanted: Leaves, name: Callable[[int], str]
) -> None:
    """Refuse arrays that were placed otherwise than a program takes them.

    Raises:
        DeviceError: naming the argument and both shardings.
        ShapeError: if a wanted sharding does not divide an argument.
    """
    for i, (x, one) in enumerate(zip(values, wanted, strict=True)):
        if one is None:
            continue
        one.check_shape(x.aval.shape, call, f"argument {name(i)!r}")
        if type(x) is not DeviceArray or not x.committed or x.device is one:
            continue
        own = sharding_at(x.device)
        shape = x.aval.shape
        if own.devices_indices_map(shape) != one.devices_indices_map(shape) and not _same(own, one):
            raise errors.DeviceError(
                call,
                f"{name(i)!r} to lie as in_shardings say, {one!r}",
                f"an array with {own!r}"
                + (" over the devices in another order" if repr(own) == repr(one) else ""),
                fix="Move it first: `device_put(x, sharding)`.",
            )


def _same(a: Any, b: Any) -> bool:
    return a.num_devices == b.num_devices == 1 and a.device_set == b.device_set
