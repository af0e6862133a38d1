"""Programs over several devices: compiled once for each way their arguments lie, and arrays brought
to where they are needed.
"""

import functools
import math
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.config import config
from functrax.core.jaxpr import Jaxpr, Var, program_cache
from functrax.core.trace import Value
from functrax.core.types import Literal, ShapedArray
from functrax.lowering.base import physical_type
from functrax.lowering.module import Lowered, Partition
from functrax.runtime.array import DeviceArray, device_array, device_copy, joined
from functrax.runtime.compile import compile_partitioned, lower
from functrax.runtime.devices import Device, check_here
from functrax.runtime.layout import named_sharding, raw_sharding
from functrax.sharding.mesh import Mesh, is_local
from functrax.sharding.shardings import DEFAULT_KIND, NamedSharding
from functrax.sharding.spec import PartitionSpec
from functrax.xla import buffers
from functrax.xla.executable import Executable

Shardings = tuple[NamedSharding | None, ...]


class Loaded(NamedTuple):
    """A program compiled for arguments that lie in one way.

    Attributes:
        executable: the program.
        in_shardings: how it takes its arguments.
        out_shardings: how it gives its results.
        mesh: its devices, in its order.
        reordered: the results whose shardings list the devices in another order.
    """

    executable: Executable
    in_shardings: list[NamedSharding]
    out_shardings: list[NamedSharding]
    mesh: Mesh
    reordered: list[int]


class _Entry(NamedTuple):
    """What a call with arguments at some places does: see `Partitioned.run`."""

    loaded: Loaded
    constants: list[DeviceArray]
    moves: list[tuple[int, NamedSharding]]
    reordered: list[int]


class Partitioned:
    """A program over several devices.

    Args:
        jaxpr: without constvars; captured values are its leading arguments.
        consts: the captured values.
        in_shardings: how the other arguments are wanted to lie; None as they are, or as the
            compiler likes.
        out_shardings: how results are to lie; None as the compiler likes.
        donated: which of all arguments may be overwritten.
        overrides: XLA options.
    """

    __slots__ = (
        "_entries",
        "_loaded",
        "_lock",
        "consts",
        "donated",
        "in_shardings",
        "jaxpr",
        "out_shardings",
        "overrides",
    )

    def __init__(
        self,
        jaxpr: Jaxpr,
        consts: Sequence[Value] = (),
        in_shardings: Shardings | None = None,
        out_shardings: Shardings | None = None,
        donated: Sequence[bool] = (),
        overrides: dict[str, Any] | None = None,
    ) -> None:
        """Keep the program; it is compiled when its arguments are there."""
        self.jaxpr = jaxpr
        self.consts = list(consts)
        free = len(jaxpr.invars) - len(consts)
        self.in_shardings = (None,) * len(consts) + (in_shardings or (None,) * free)
        self.out_shardings = out_shardings or (None,) * len(jaxpr.outvars)
        self.donated = tuple(donated) or (False,) * len(jaxpr.invars)
        self.overrides = overrides
        self._entries: dict[Any, _Entry] = {}
        self._loaded: dict[tuple[Mesh, Shardings], Loaded] = {}
        self._lock = threading.Lock()

    def is_wanted(self, arrays: Sequence[Any]) -> bool:
        """Tell whether the program, or one of its arguments, is over the devices of a mesh."""
        if self.jaxpr.meshes or any(
            type(x) is DeviceArray and type(x.device) is not Device for x in arrays
        ):
            return True
        return any(s is not None for s in (*self.in_shardings, *self.out_shardings))

    def run(self, values: Sequence[Value]) -> tuple[list[Any], list[NamedSharding]]:
        """Bring arguments to where the program takes them, and launch it.

        Args:
            values: live arrays and literals, one for each argument that is not captured.

        Returns:
            The raw buffers of the results, and how they lie.

        Raises:
            DeviceError: if arguments are on different sets of devices.
            ShapeError: if a wanted sharding does not divide an argument.
        """
        places = tuple([x.device if type(x) is DeviceArray else None for x in values])
        entry = self._entries.get(places)
        if entry is None:
            entry = self._entries[places] = self._prepare(values)
        loaded, constants, moves, reordered = entry
        arrays = [*constants, *values]
        for index, sharding in moves:
            arrays[index] = put(arrays[index], sharding)
        raw = [x.buffer for x in arrays]
        for index in reordered:
            raw[index] = _in_order_of(loaded.mesh, arrays[index])
        executable = loaded.executable
        results = executable.run_to_end(raw) if executable.calls_host else executable(raw)
        for index in loaded.reordered:
            out = self.jaxpr.outvars[index].aval
            given = loaded.out_shardings[index]
            results[index] = _in_own_order(loaded.mesh, out, results[index], given)
        return results, loaded.out_shardings

    def settled(self, values: Sequence[DeviceArray]) -> tuple[Loaded, list[DeviceArray]] | None:
        """Return the program and its captured values for arrays that it takes where they lie."""
        entry = self._entries.get(tuple([x.device for x in values]))
        if entry is None or entry.moves or entry.reordered or entry.loaded.reordered:
            return None
        return None if entry.loaded.executable.calls_host else entry[:2]

    def _prepare(self, values: Sequence[Value]) -> _Entry:
        arrays = [*self.consts, *values]
        mesh = self.mesh_of(arrays)
        check_here(mesh.device_tuple, self.jaxpr.name or "jit")
        loaded = self.load(mesh, self.given(mesh, arrays))
        moves = [
            (i, sharding)
            for i, (x, sharding) in enumerate(zip(arrays, loaded.in_shardings, strict=True))
            if type(x) is not DeviceArray or x.device is not sharding
        ]
        if config.no_implicit_comms:
            self._check_moves(arrays, moves)
        count = len(self.consts)
        moved = dict(moves)
        constants = [put(x, moved[i]) if i in moved else x for i, x in enumerate(self.consts)]
        later = [move for move in moves if move[0] >= count]
        return _Entry(loaded, constants, later, _reordered(mesh, loaded.in_shardings))

    def _check_moves(
        self, arrays: Sequence[Value], moves: Sequence[tuple[int, NamedSharding]]
    ) -> None:
        """Raise if devices must exchange what they hold of an argument before the call."""
        for index, wanted in moves:
            x = arrays[index]
            place = x.device if type(x) is DeviceArray else None
            if not isinstance(place, NamedSharding) or place.is_fully_replicated:
                continue
            if not place.is_equivalent_to(wanted, x.ndim):
                raise errors.CommunicationError(
                    "no_implicit_comms",
                    f"arguments of {self.jaxpr.name or 'jit'!r} to lie as it takes them, such as "
                    f"{wanted.spec!r} in {wanted.mesh!r}",
                    f"{x.aval!r} that lies as {place.spec!r} in {place.mesh!r}",
                    fix="Move it with `device_put` before the call.",
                )

    def fix(self, loaded: Loaded) -> None:
        """Take arguments as a compiled program does, from now on."""
        self.in_shardings = tuple(loaded.in_shardings)
        self._loaded[loaded.mesh, self.in_shardings] = loaded

    def given(self, mesh: Mesh, arrays: Sequence[Value]) -> Shardings:
        """Return how arguments lie already, or are wanted to.

        What lies in a mesh that differs in names alone is told of in terms of this one, as results
        are: a training step is compiled once for what `replicate` has made and its own results.
        """
        found: list[NamedSharding | None] = []
        for x, wanted in zip(arrays, self.in_shardings, strict=True):
            place = x.device if type(x) is DeviceArray else None
            if wanted is None and isinstance(place, NamedSharding):
                wanted = self._renamed(mesh, place, x.aval).shortest()
            found.append(wanted)
        return tuple(found)

    def mesh_of(self, arrays: Sequence[Any]) -> Mesh:
        """Return the devices that the program runs on, in the order of its first mesh.

        Args:
            arrays: all arguments; what is not an array is anywhere.

        Raises:
            DeviceError: if shardings, meshes in the program and arguments do not agree.
        """
        wanted = [s.mesh for s in (*self.in_shardings, *self.out_shardings) if s is not None]
        meshes = [*wanted, *self.jaxpr.meshes]
        placed = [x for x in arrays if type(x) is DeviceArray and x.committed]
        meshes += [x.device.mesh for x in placed if isinstance(x.device, NamedSharding)]
        mesh = meshes[0]
        devices = set(mesh.device_tuple)
        others = [(repr(one), set(one.device_tuple)) for one in meshes]
        others += [(f"{x.aval!r} on {x.device}", x.devices()) for x in placed]
        for name, found in others:
            if found != devices:
                raise errors.DeviceError(
                    self.jaxpr.name or "jit",
                    f"arrays and meshes over one set of devices, such as {mesh!r} "
                    f"({_names(devices)})",
                    f"{name} ({_names(found)})",
                    fix="Move arrays with `device_put(x, NamedSharding(mesh, spec))`.",
                )
        return mesh

    def load(self, mesh: Mesh, given: Shardings) -> Loaded:
        """Return the program compiled for arguments that lie in some way."""
        with self._lock:
            found = self._loaded.get((mesh, given))
            if found is None:
                lowered = self.lower(mesh, given)
                found = self._loaded[mesh, given] = self.compile(lowered, mesh, given)
            return found

    def lower(self, mesh: Mesh, given: Shardings, platform: str | None = None) -> Lowered:
        """Return the program as a StableHLO module, for a platform (by default the mesh's)."""
        for var, sharding in zip(self.jaxpr.invars, given, strict=True):
            if sharding is not None:
                sharding.check_shape(var.aval.shape, self.jaxpr.name or "jit", "an argument")
        partition = Partition(mesh, given, self.out_shardings)
        on = platform or mesh.device_tuple[0].platform
        name = self.jaxpr.name
        donated = self.donated
        return lower(self.jaxpr, name=name, platform=on, donated=donated, partition=partition)

    def compile(self, lowered: Lowered, mesh: Mesh, given: Shardings) -> Loaded:
        """Return the program loaded onto the devices of a mesh."""
        executable = compile_partitioned(lowered, mesh, self.overrides)
        outs = [
            self._chosen(mesh, raw, var.aval) if wanted is None else wanted
            for raw, var, wanted in zip(
                executable.out_shardings, self.jaxpr.outvars, self.out_shardings, strict=True
            )
        ]
        if None in given and mesh.size > 1:
            chosen = executable.in_shardings()
            ins = [
                self._chosen(mesh, raw, var.aval) if known is None else known
                for raw, var, known in zip(chosen, self.jaxpr.invars, given, strict=True)
            ]
        else:
            ins = [known or replicated(mesh) for known in given]
        return Loaded(executable, ins, outs, mesh, _reordered(mesh, outs))

    def _renamed(self, mesh: Mesh, place: NamedSharding, aval: ShapedArray) -> NamedSharding:
        is_alike = place.mesh.axis_sizes == mesh.axis_sizes and place.mesh is not mesh
        if place.memory_kind != DEFAULT_KIND or not (is_alike or mesh.size == 1):
            return place
        if place.device_tuple != mesh.device_tuple:
            return place
        return self._chosen(mesh, raw_sharding(place, len(physical_type(aval)[0])), aval)

    def _chosen(self, mesh: Mesh, raw: Any, aval: ShapedArray) -> NamedSharding:
        if mesh.size == 1:
            return replicated(mesh)
        return named_sharding(mesh, raw, len(physical_type(aval)[0]))


def replicated(mesh: Mesh) -> NamedSharding:
    """Return the sharding in which each device of a mesh holds the whole array."""
    return NamedSharding(mesh, _REPLICATED)


_REPLICATED = PartitionSpec()


def _names(devices: set[Any]) -> str:
    return ", ".join(sorted(map(str, devices)))


def _reordered(mesh: Mesh, shardings: Sequence[NamedSharding]) -> list[int]:
    """Return which shardings list the devices of a mesh in another order."""
    return [i for i, one in enumerate(shardings) if one.device_tuple != mesh.device_tuple]


def _in_order_of(mesh: Mesh, x: DeviceArray) -> Any:
    """Return the buffer of an array with its devices listed as a program lists them."""
    held = _by_device(x.device.device_tuple, x.parts("passing it"))
    parts = [held[device] for device in mesh.device_tuple if device in held]
    shape, dtype = physical_type(x.aval)
    return buffers.assemble(shape, dtype, raw_sharding(x.device, len(shape), mesh), parts)


def _in_own_order(mesh: Mesh, aval: ShapedArray, buffer: Any, sharding: NamedSharding) -> Any:
    """Return the buffer of a result with its devices listed as its sharding lists them."""
    held = _by_device(mesh.device_tuple, buffers.shards(buffer))
    parts = [held[device] for device in sharding.device_tuple if device in held]
    return joined(aval, sharding, parts).buffer


def _by_device(devices: Sequence[Any], parts: Sequence[Any]) -> dict[Any, Any]:
    return dict(zip(filter(is_local, devices), parts, strict=True))


# Bringing arrays to shardings ---------------------------------------------------------------------


def put(x: Value, sharding: NamedSharding) -> DeviceArray:
    """Return a live array or literal with another sharding; it shares what memory it can.

    Raises:
        ShapeError: if the sharding does not divide it.
    """
    if type(x) is Literal:
        return put_parts(x.numpy(), x.aval, sharding)
    place = x.device
    if place is sharding:
        return x
    sharding.check_shape(x.aval.shape, "device_put")
    check_here(sharding.device_tuple, "device_put")
    if type(place) is Device:
        return _spread(x, sharding)
    own = place.devices_indices_map(x.aval.shape)
    wanted = sharding.devices_indices_map(x.aval.shape)
    if place.memory_kind != sharding.memory_kind or own.keys() != wanted.keys():
        return put(_on_one(x), sharding)
    if own == wanted:
        held = _by_device(place.device_tuple, x.parts("moving it"))
        return joined(x.aval, sharding, [held[device] for device in wanted if device in held])
    return _resharded(x, sharding)


def gathered(x: DeviceArray, device: Device) -> DeviceArray:
    """Return an array over several devices on one of them, or elsewhere."""
    return device_copy(_on_one(x), device)


def _on_one(x: DeviceArray) -> DeviceArray:
    """Return all of an array on one device of this process."""
    whole = x if x.is_fully_replicated else _resharded(x, replicated(x.device.mesh))
    data = whole.addressable_shards[0].data
    assert data is not None
    return data


def row_on_one_device(x: DeviceArray, index: int) -> DeviceArray | None:
    """Return ``x[index:index + 1]`` of an array over several devices, if one device of this process
    holds just that: no device has to be asked then.
    """
    place = _row_holder(x.device, x.aval.shape, index)
    if place is None:
        return None
    position, device = place
    aval = x.aval.update(shape=(1, *x.aval.shape[1:]))
    return device_array(aval, x.parts("indexing it")[position], device, True)


@functools.lru_cache(maxsize=4096)
def _row_holder(
    sharding: NamedSharding, shape: tuple[int, ...], index: int
) -> tuple[int, Device] | None:
    """Return which of this process's devices holds one row, by its position among them."""
    if sharding.shard_shape(shape) != (1, *shape[1:]):
        return None
    parts = sharding.addressable_devices_indices_map(shape)
    for position, (device, part) in enumerate(parts.items()):
        if part is not None and (part[0].start or 0) == index:
            return position, device
    return None


def _resharded(x: DeviceArray, sharding: NamedSharding) -> DeviceArray:
    """Let the devices exchange what they need."""
    (buffer,), _ = _exchange(x.aval, sharding).run([x])
    return device_array(x.aval, buffer, sharding, True)


@program_cache
def _exchange(aval: ShapedArray, sharding: NamedSharding) -> Partitioned:
    """Return the program that only says how its argument is to lie."""
    var = Var(aval)
    return Partitioned(Jaxpr((), [var], [var], [], "reshard"), out_shardings=(sharding,))


def _spread(x: DeviceArray, sharding: NamedSharding) -> DeviceArray:
    """Divide an array on one device among others."""
    if x.device.platform == "cpu":
        value = x.words() if dtypes.is_extended(x.aval.dtype) else x
        return put_parts(value.numpy(), x.aval, sharding)
    whole = [device_copy(x, device) for device in sharding.device_tuple if is_local(device)]
    spread = joined(x.aval, replicated(sharding.mesh), [one.buffer for one in whole])
    return spread if sharding.is_fully_replicated else _resharded(spread, sharding)


def put_parts(
    value: np.ndarray[Any, Any], aval: ShapedArray, sharding: NamedSharding, copy: bool = True
) -> DeviceArray:
    """Divide a NumPy array (of a key: its words) among devices.

    Args:
        value: of the right dtype.
        aval: the type of the array.
        sharding: how it is to lie.
        copy: False lets the CPU keep using the array's memory, which must then never change.

    Raises:
        ShapeError: if the sharding does not divide it.
    """
    devices, indices, are_distinct = _division(sharding, aval.shape)
    raw = buffers.put_sharded(
        value.shape,
        value.dtype,
        raw_sharding(sharding, value.ndim),
        [value[index] for index in indices],
        devices,
        copy,
        are_distinct and value.flags.c_contiguous,
    )
    return device_array(aval, raw, sharding, True)


@program_cache
def _division(sharding: NamedSharding, shape: tuple[int, ...]) -> tuple[list[Any], list[Any], bool]:
    """Return jaxlib's devices of this process, what part of an array each gets, and whether no two
    of these have elements in common.
    """
    sharding.check_shape(shape, "device_put")
    check_here(sharding.device_tuple, "device_put")
    indices = sharding.devices_indices_map(shape)
    local = [(device, index) for device, index in indices.items() if is_local(device)]
    are_distinct = bool(math.prod(shape)) and math.prod(sharding.parts(len(shape))) == len(indices)
    return [device.raw for device, _ in local], [(*index, ...) for _, index in local], are_distinct
