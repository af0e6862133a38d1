"""Shardings: which part of an array each device holds."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from functrax import errors
from functrax.sharding.mesh import Mesh, NDArray, is_local
from functrax.sharding.spec import UNCONSTRAINED, PartitionSpec

Index = tuple[slice, ...]
MEMORY_KINDS = ("device", "pinned_host", "unpinned_host")
DEFAULT_KIND = MEMORY_KINDS[0]


class Sharding:
    """Which part of an array each of its devices holds, and in what kind of memory."""

    __slots__ = ("__weakref__", "memory_kind")
    prints_in_programs: ClassVar[bool] = True
    memory_kind: str

    @property
    def device_tuple(self) -> tuple[Any, ...]:
        """The devices in order."""
        raise NotImplementedError

    def shard_shape(self, global_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the part that each device holds of an array of this shape."""
        raise NotImplementedError

    def devices_indices_map(self, global_shape: tuple[int, ...]) -> Mapping[Any, Index]:
        """Return which part of an array of this shape each device holds, as a tuple of slices."""
        raise NotImplementedError

    @property
    def is_fully_replicated(self) -> bool:
        """Whether every device holds all of the array."""
        raise NotImplementedError

    @property
    def device_set(self) -> set[Any]:
        """The devices that hold a part of the array."""
        return set(self.device_tuple)

    @property
    def num_devices(self) -> int:
        """The number of devices."""
        return len(self.device_tuple)

    @property
    def addressable_devices(self) -> set[Any]:
        """Those of the devices that belong to this process."""
        return set(filter(is_local, self.device_tuple))

    @property
    def has_addressable_devices(self) -> bool:
        """Whether any of the devices belongs to this process."""
        return any(map(is_local, self.device_tuple))

    @property
    def is_fully_addressable(self) -> bool:
        """Whether this process can read all of the array."""
        return all(map(is_local, self.device_tuple))

    def addressable_devices_indices_map(
        self, global_shape: tuple[int, ...]
    ) -> Mapping[Any, Index | None]:
        """Return what `devices_indices_map` does, for the devices of this process."""
        whole = self.devices_indices_map(global_shape)
        return {device: index for device, index in whole.items() if is_local(device)}

    def is_equivalent_to(self, other: "Sharding", ndim: int) -> bool:
        """Tell whether arrays of `ndim` dimensions lie in the same way under both."""
        if self is other:
            return True
        if self.memory_kind != other.memory_kind:
            return False
        if self.device_tuple != other.device_tuple:
            return False
        # The axes that divide a dimension are some of the mesh: their product divides its size.
        shape = (self.num_devices,) * ndim
        return self.devices_indices_map(shape) == other.devices_indices_map(shape)


class SingleDeviceSharding(Sharding):
    """The whole array on one device.

    Args:
        device: a `functrax.Device`.
        memory_kind: ``"device"``, ``"pinned_host"``, ``"unpinned_host"``; None is the
            first.

    Example:
        >>> import functrax
        >>> SingleDeviceSharding(functrax.devices("cpu")[0])
        SingleDeviceSharding(device=CpuDevice(id=0))
    """

    __slots__ = ("device",)

    def __init__(self, device: Any, *, memory_kind: str | None = None) -> None:
        """Keep the device."""
        self.device = device
        self.memory_kind = _checked_kind("SingleDeviceSharding", memory_kind)

    @property
    def device_tuple(self) -> tuple[Any, ...]:
        """The one device."""
        return (self.device,)

    @property
    def is_fully_replicated(self) -> bool:
        """True: there is only one device."""
        return True

    def shard_shape(self, global_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the part on each device: the whole."""
        return tuple(global_shape)

    def devices_indices_map(self, global_shape: tuple[int, ...]) -> Mapping[Any, Index]:
        """Return that the device holds the whole."""
        return {self.device: (slice(None),) * len(global_shape)}

    def with_memory_kind(self, kind: str) -> "SingleDeviceSharding":
        """Return the sharding in another kind of memory."""
        return SingleDeviceSharding(self.device, memory_kind=kind)

    def __eq__(self, other: object) -> bool:
        """Compare the devices and kinds of memory."""
        return (
            isinstance(other, SingleDeviceSharding)
            and self.device is other.device
            and self.memory_kind == other.memory_kind
        )

    def __hash__(self) -> int:
        """Hash the device."""
        return hash((SingleDeviceSharding, self.device))

    def __repr__(self) -> str:
        """Print the device."""
        kind = _shown_kind(self.memory_kind)
        return f"SingleDeviceSharding(device={self.device!r}{kind})"


class NamedSharding(Sharding):
    """An array divided along the axes of a mesh.

    Shardings are interned: two that are equal are the same object.

    Args:
        mesh: the devices.
        spec: along which axes each dimension is divided.
        memory_kind: ``"device"``, ``"pinned_host"``, ``"unpinned_host"``; None is the
            first.

    Raises:
        ArgumentError: for a spec that names an axis that the mesh does not have.

    Example:
        >>> import functrax
        >>> mesh = Mesh(functrax.devices("cpu")[:1], "x")
        >>> NamedSharding(mesh, PartitionSpec("x"))
        NamedSharding(Mesh(x=1), P('x'))
    """

    __slots__ = ("_maps", "mesh", "spec", "used")

    mesh: Mesh
    spec: PartitionSpec
    used: frozenset[Any]
    _maps: dict[tuple[int, ...], dict[Any, Index]]

    def __new__(
        cls, mesh: Mesh, spec: PartitionSpec, *, memory_kind: str | None = None
    ) -> "NamedSharding":
        """Return the one sharding of this mesh and spec."""
        key = (mesh, spec, memory_kind or DEFAULT_KIND)
        found = _interned.get(key)
        if found is None:
            _check_named(mesh, spec)
            found = object.__new__(cls)
            found.mesh = mesh
            found.spec = spec
            found.memory_kind = _checked_kind("NamedSharding", memory_kind)
            found.used = frozenset(spec.axes())
            found._maps = {}
            found = _interned.setdefault(key, found)
        return found

    @property
    def device_tuple(self) -> tuple[Any, ...]:
        """The devices of the mesh, in its order."""
        return self.mesh.device_tuple

    @property
    def is_fully_replicated(self) -> bool:
        """Whether every device holds all of the array."""
        return self.mesh.axis_size(tuple(self.used)) == 1

    def shortest(self) -> "NamedSharding":
        """Return it with a spec that does not end in None: arrays lie in the same way."""
        entries = self.spec.partitions
        count = len(entries)
        while count and entries[count - 1] is None:
            count -= 1
        return self if count == len(entries) else self.with_spec(entries[:count])

    def with_spec(self, spec: Any) -> "NamedSharding":
        """Return the sharding of another spec."""
        spec = spec if isinstance(spec, PartitionSpec) else PartitionSpec(*spec)
        return NamedSharding(self.mesh, spec, memory_kind=self.memory_kind)

    def with_memory_kind(self, kind: str | None) -> "NamedSharding":
        """Return the sharding in another kind of memory."""
        return NamedSharding(self.mesh, self.spec, memory_kind=kind)

    def parts(self, ndim: int) -> tuple[int, ...]:
        """Return into how many parts each dimension is divided."""
        return tuple(self.mesh.axis_size(names) for names in self.spec.normalized(ndim))

    def shard_shape(self, global_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of the part that each device holds.

        Raises:
            ShapeError: if the spec has more entries than there are dimensions, or does not divide
                one evenly.
        """
        self.check_shape(tuple(global_shape), "shard_shape")
        parts = self.parts(len(global_shape))
        return tuple(size // n for size, n in zip(global_shape, parts, strict=True))

    def check_shape(self, shape: tuple[int, ...], call: str, what: str = "an array") -> None:
        """Raise unless arrays of a shape can lie so.

        Args:
            shape: of the whole.
            call: the user's function, for messages.
            what: the array, for messages.

        Raises:
            ShapeError: if the spec has more entries than there are dimensions, or does not divide
                one evenly.
        """
        if len(self.spec) > len(shape):
            raise errors.ShapeError(
                call,
                f"a spec with at most {len(shape)} entries for {what} of shape {shape}",
                f"{self.spec!r}",
                fix="Leave entries out: dimensions that are not mentioned are not divided.",
            )
        for dim, (size, parts) in enumerate(zip(shape, self.parts(len(shape)), strict=True)):
            if size % parts:
                raise errors.ShapeError(
                    call,
                    f"dimension {dim} of {what} of shape {shape} to be divisible by {parts}, "
                    f"the size of {self.spec[dim]!r} in {self.mesh!r}",
                    f"size {size}",
                    fix="Pad it, or divide another dimension.",
                )

    def devices_indices_map(self, global_shape: tuple[int, ...]) -> Mapping[Any, Index]:
        """Return which part of an array of this shape each device holds, as a tuple of slices."""
        shape = tuple(global_shape)
        found = self._maps.get(shape)
        if found is None:
            found = self._maps[shape] = dict(
                zip(self.device_tuple, self._indices(shape), strict=True)
            )
        return found

    def _indices(self, shape: tuple[int, ...]) -> Iterator[Index]:
        self.check_shape(shape, "devices_indices_map")
        ranges = []
        for size, parts in zip(shape, self.parts(len(shape)), strict=True):
            step = size // parts
            cuts = [slice(i * step, (i + 1) * step) for i in range(parts)]
            ranges.append(cuts if parts > 1 else [slice(None)])
        for numbers in self._part_numbers(len(shape)):
            yield tuple(cuts[i] for cuts, i in zip(ranges, numbers, strict=True))

    def _part_numbers(self, ndim: int) -> Iterator[tuple[int, ...]]:
        """Yield, for each device, the number of its part along each dimension."""
        axes = self.spec.normalized(ndim)
        sizes = dict(self.mesh.shape_tuple)
        for position in itertools.product(*map(range, self.mesh.axis_sizes)):
            at = dict(zip(self.mesh.axis_names, position, strict=True))
            numbers = []
            for names in axes:
                number = 0
                for name in names:
                    number = number * sizes[name] + at[name]
                numbers.append(number)
            yield tuple(numbers)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a call, so that the copy is interned too."""
        return _named, (self.mesh, self.spec, self.memory_kind)

    def __copy__(self) -> "NamedSharding":
        """Return the sharding itself, which never changes."""
        return self

    def __deepcopy__(self, memo: Any) -> "NamedSharding":
        """Return the sharding itself, which never changes."""
        return self

    def __repr__(self) -> str:
        """Print the mesh and the spec."""
        kind = _shown_kind(self.memory_kind)
        return f"NamedSharding({self.mesh!r}, {self.spec!r}{kind})"


_interned: dict[Any, NamedSharding] = {}


def _named(mesh: Mesh, spec: PartitionSpec, kind: str | None) -> NamedSharding:
    return NamedSharding(mesh, spec, memory_kind=kind)


def _shown_kind(kind: str) -> str:
    return "" if kind == DEFAULT_KIND else f", memory_kind={kind!r}"


def _checked_kind(call: str, kind: str | None) -> str:
    if kind is not None and kind not in MEMORY_KINDS:
        expected = f"memory_kind as one of {', '.join(MEMORY_KINDS)}"
        raise errors.ArgumentError(call, expected, repr(kind))
    return kind or DEFAULT_KIND


def _check_named(mesh: Any, spec: Any) -> None:
    if not isinstance(mesh, Mesh):
        got = f"{mesh!r} of type {errors.type_name(mesh)}"
        raise errors.ArgumentError("NamedSharding", "a Mesh", got)
    if not isinstance(spec, PartitionSpec):
        got = f"{spec!r} of type {errors.type_name(spec)}"
        raise errors.ArgumentError(
            "NamedSharding", "a PartitionSpec", got, fix="Write `P('x', None)`."
        )
    for name in spec.axes():
        if name not in mesh.axis_names:
            raise errors.ArgumentError(
                "NamedSharding",
                f"axes of {mesh!r}",
                f"{name!r} in {spec!r}",
                fix="Name an axis of the mesh, or make a mesh with it.",
            )


# Tiles: what the compiler says and understands ----------------------------------------------------


def tiles(sharding: NamedSharding, ndim: int) -> tuple[list[int], list[int], list[int]]:
    """Return a sharding in HLO's terms.

    Returns:
        The number of parts of each dimension, and last how many devices hold each part; and how the
        devices are numbered: the sizes of the mesh and the permutation of its axes.
    """
    axes = sharding.spec.normalized(ndim)
    names = sharding.mesh.axis_names
    order = [names.index(name) for entry in axes for name in entry]
    order += [i for i in range(len(names)) if i not in order]
    counts = list(sharding.parts(ndim))
    rest = sharding.mesh.size // max(1, math.prod(counts))
    return [*counts, rest], list(sharding.mesh.axis_sizes), order


def sharding_of_tiles(mesh: Mesh, counts: Sequence[int], numbers: NDArray) -> NamedSharding | None:
    """Return the sharding that the compiler chose, in terms of a mesh.

    Args:
        mesh: the mesh whose devices the program runs on, in its order.
        counts: the number of parts of each dimension, and last how many devices hold each part.
        numbers: the numbers of the devices, those that hold the same part side by side.

    Returns:
        A sharding over the mesh, if need be with its axes divided into factors (named after them);
        None if there is none.
    """
    wanted = np.sort(numbers.reshape(-1, counts[-1]), axis=1).reshape(-1)
    for candidate in (mesh, _refined(mesh)):
        for spec in _specs(candidate, counts[:-1]):
            sharding = NamedSharding(candidate, spec)
            parts, sizes, order = tiles(sharding, len(counts) - 1)
            own = np.arange(mesh.size).reshape(sizes).transpose(order).reshape(-1, parts[-1])
            if parts == list(counts) and np.array_equal(np.sort(own, axis=1).reshape(-1), wanted):
                return sharding
    return None


def _refined(mesh: Mesh) -> Mesh:
    """Divide each axis of a mesh into axes of prime sizes."""
    names: list[Any] = []
    sizes: list[int] = []
    for name, size in mesh.shape_tuple:
        factors = _prime_factors(size)
        if len(factors) < 2:
            names, sizes = [*names, name], [*sizes, size]
            continue
        names += [f"{name}.{i}" for i in range(len(factors))]
        sizes += factors
    return Mesh(mesh.devices.reshape(sizes), tuple(names))


def _prime_factors(size: int) -> list[int]:
    factors, candidate = [], 2
    while size > 1:
        while size % candidate:
            candidate += 1
        factors.append(candidate)
        size //= candidate
    return factors


def _specs(mesh: Mesh, counts: Sequence[int]) -> Iterator[PartitionSpec]:
    """Yield the specs that divide dimensions into these numbers of parts."""
    sizes = {name: size for name, size in mesh.shape_tuple if size > 1}

    def extend(done: tuple[Any, ...], free: frozenset[Any]) -> Iterator[PartitionSpec]:
        if len(done) == len(counts):
            while done and done[-1] == ():
                done = done[:-1]
            yield PartitionSpec(*done)
            return
        for names in products(counts[len(done)], free):
            yield from extend((*done, names), free.difference(names))

    def products(count: int, free: frozenset[Any]) -> Iterator[tuple[Any, ...]]:
        if count == 1:
            yield ()
        for name in mesh.axis_names:
            if name in free and count > 1 and count % sizes[name] == 0:
                for rest in products(count // sizes[name], free - {name}):
                    yield (name, *rest)

    yield from extend((), frozenset(sizes))


def constraint_text(
    sharding: NamedSharding, mesh_symbol: str, ndim: int, *, is_open: bool = False
) -> str:
    """Return a sharding as an attribute of Shardy's dialect.

    Args:
        sharding: the sharding.
        mesh_symbol: the name of its mesh in the module.
        ndim: the rank of the array.
        is_open: whether the compiler may divide further than the spec says.
    """
    entries = [*sharding.spec, *[None] * (ndim - len(sharding.spec))]
    dims = []
    for entry, names in zip(entries, sharding.spec.normalized(ndim), strict=True):
        listed = [axis_text(name) for name in names]
        if is_open or entry is UNCONSTRAINED:
            listed.append("?")
        dims.append("{" + ", ".join(listed) + "}")
    return f"<@{mesh_symbol}, [{', '.join(dims)}]>"


def axis_text(name: Any) -> str:
    """Return the name of an axis as Shardy's dialect writes it."""
    text = str(name).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
