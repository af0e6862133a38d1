"""Meshes: devices in a grid whose axes have names."""

import enum
import math
import operator
import threading
from collections import Counter, OrderedDict
from collections.abc import Hashable, Sequence
from types import TracebackType
from typing import Any, ClassVar

import numpy as np

from functrax import errors
from functrax.core.config import Scope, config
from functrax.core.trace import state

NDArray = np.ndarray[Any, Any]


class AxisType(enum.Enum):
    """Who decides how arrays lie along an axis of a mesh.

    Attributes:
        Auto: the compiler, from the shardings of arguments and constraints. What `jit` does.
        Manual: the function, which sees its own part only. What `shard_map` makes of an axis.
        Explicit: the types of arrays, in JAX. functrax has no such types and refuses it.
    """

    Auto = enum.auto()
    Explicit = enum.auto()
    Manual = enum.auto()

    def __repr__(self) -> str:
        """Print the name."""
        return f"AxisType.{self.name}"


class Mesh:
    """Devices in a grid whose axes have names.

    Meshes are interned: two that are equal are the same object. As a context manager a mesh is the
    one that specs without a mesh refer to; see `set_mesh`.

    Args:
        devices: an array of devices (nested lists will do), with one dimension for each axis.
        axis_names: the name of each axis, or the only one.
        axis_types: an `AxisType` for each axis, or one for all; Auto by default.

    Raises:
        ShapeError: if the number of names is not that of the dimensions.
        ArgumentError: for a name that is there twice or is None, a device that is there twice, or
            explicit axes.
        DeviceError: for devices of two platforms.

    Example:
        >>> import functrax
        >>> Mesh([[functrax.devices("cpu")[0]]], ("data", "model"))
        Mesh(data=1, model=1)
    """

    __slots__ = (
        "__weakref__",
        "_positions",
        "axis_names",
        "axis_types",
        "device_tuple",
        "devices",
        "shape_tuple",
    )

    prints_in_programs: ClassVar[bool] = True
    devices: NDArray
    device_tuple: tuple[Any, ...]
    axis_names: tuple[Any, ...]
    axis_types: tuple[AxisType, ...]
    shape_tuple: tuple[tuple[Any, int], ...]

    def __new__(cls, devices: Any, axis_names: Any, axis_types: Any = None) -> "Mesh":
        """Return the one mesh of these devices and names."""
        grid = _grid(devices)
        names = _axis_names("Mesh", axis_names)
        if grid.ndim != len(names):
            raise errors.ShapeError(
                "Mesh",
                f"an array of devices with one dimension for each name in {names}",
                f"one of shape {grid.shape}",
                fix="Reshape the devices: `make_mesh` does it.",
            )
        types = _axis_types("Mesh", axis_types, len(names))
        flat = tuple(device for device in grid.flat if device is not None)
        key = (flat, grid.shape, names, types)
        found = _interned.get(key)
        if found is None:
            _check_distinct(names, flat)
            found = object.__new__(cls)
            grid.flags.writeable = False
            found.devices = grid
            found.device_tuple = flat
            found.axis_names = names
            found.axis_types = types
            found.shape_tuple = tuple(zip(names, grid.shape, strict=True))
            found._positions = None
            found = _interned.setdefault(key, found)
        return found

    @property
    def shape(self) -> "OrderedDict[Any, int]":
        """The size of each axis by name."""
        return OrderedDict(self.shape_tuple)

    @property
    def axis_sizes(self) -> tuple[int, ...]:
        """The size of each axis."""
        return self.devices.shape

    @property
    def size(self) -> int:
        """The number of devices."""
        return len(self.device_tuple)

    @property
    def empty(self) -> bool:
        """Whether there is no device."""
        return not self.device_tuple

    @property
    def auto_axes(self) -> tuple[Any, ...]:
        """The axes whose type is Auto."""
        return self._axes_of(AxisType.Auto)

    @property
    def manual_axes(self) -> tuple[Any, ...]:
        """The axes whose type is Manual."""
        return self._axes_of(AxisType.Manual)

    @property
    def are_all_axes_auto(self) -> bool:
        """Whether the type of each axis is Auto."""
        return self.auto_axes == self.axis_names

    @property
    def are_all_axes_manual(self) -> bool:
        """Whether the type of each axis is Manual."""
        return self.manual_axes == self.axis_names

    def _axes_of(self, kind: AxisType) -> tuple[Any, ...]:
        pairs = zip(self.axis_names, self.axis_types, strict=True)
        return tuple(name for name, found in pairs if found is kind)

    def update(self, devices: Any = None, axis_names: Any = None, axis_types: Any = None) -> "Mesh":
        """Return the mesh with some of its parts replaced."""
        return Mesh(
            self.devices if devices is None else devices,
            self.axis_names if axis_names is None else axis_names,
            self.axis_types if axis_types is None else axis_types,
        )

    @property
    def device_ids(self) -> NDArray:
        """The numbers of the devices, in the form of the grid."""
        return np.array([d.id for d in self.device_tuple]).reshape(self.devices.shape)

    @property
    def local_devices(self) -> list[Any]:
        """Those of the devices that belong to this process."""
        return [d for d in self.device_tuple if is_local(d)]

    @property
    def is_multi_process(self) -> bool:
        """Whether some devices belong to other processes."""
        return not all(map(is_local, self.device_tuple))

    @property
    def local_mesh(self) -> "Mesh":
        """The part of the mesh whose devices belong to this process.

        Raises:
            ArgumentError: if they are no grid.
        """
        if not self.is_multi_process:
            return self
        local = np.vectorize(is_local, otypes=[bool])(self.devices)
        box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(local))
        if not local[box].all():
            got = f"{int(local.sum())} of {self!r}, scattered"
            raise errors.ArgumentError("Mesh.local_mesh", "devices that form a grid", got)
        return Mesh(self.devices[box], self.axis_names, self.axis_types)

    def axis_size(self, names: Sequence[Any]) -> int:
        """Return the product of the sizes of some axes."""
        sizes = dict(self.shape_tuple)
        return math.prod([sizes[name] for name in names])

    def __enter__(self) -> "Mesh":
        """Make this the mesh that specs without a mesh refer to, in this thread."""
        scope = Scope("Mesh", {"mesh": self})
        scope.__enter__()
        _entered.scopes.append(scope)
        return self

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Bring the mesh back that was before."""
        _entered.scopes.pop().__exit__(*error)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a call, so that the copy is interned too."""
        return Mesh, (self.devices, self.axis_names, self.axis_types)

    def __copy__(self) -> "Mesh":
        """Return the mesh itself, which never changes."""
        return self

    def __deepcopy__(self, memo: Any) -> "Mesh":
        """Return the mesh itself, which never changes."""
        return self

    def __repr__(self) -> str:
        """Print the axes with their sizes."""
        return f"Mesh({', '.join(f'{name}={size}' for name, size in self.shape_tuple)})"

    def __str__(self) -> str:
        """Print the axes with their sizes."""
        return repr(self)


_interned: dict[Any, Mesh] = {}


class _Entered(threading.local):
    """The scopes of ``with mesh:`` blocks of a thread, the innermost last."""

    def __init__(self) -> None:
        self.scopes: list[Scope] = []


_entered = _Entered()


def is_local(device: Any) -> bool:
    """Tell whether a device belongs to this process."""
    return device.process_index == device.client.process_index


def _grid(devices: Any) -> NDArray:
    grid = np.array(devices, dtype=object)
    is_empty = grid.ndim == 0 and grid.item() is None  # what `get_mesh` returns if there is none
    for device in () if is_empty else grid.flat:
        if not hasattr(device, "process_index"):
            raise errors.ArgumentError(
                "Mesh",
                "an array of devices",
                f"{device!r} of type {errors.type_name(device)}",
                fix="Take them from `functrax.devices()`.",
            )
    return grid


def _axis_names(call: str, given: Any) -> tuple[Any, ...]:
    names = (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        if name is None or isinstance(name, tuple) or not isinstance(name, Hashable):
            raise errors.ArgumentError(call, "axis_names, such as ('data', 'model')", f"{name!r}")
    return names


def _axis_types(call: str, given: Any, count: int) -> tuple[AxisType, ...]:
    types = (given or AxisType.Auto,) * count if not isinstance(given, tuple | list) else given
    # JAX's own enumeration has the same names.
    found = tuple(getattr(AxisType, getattr(one, "name", ""), None) for one in types)
    if len(found) != count or None in found:
        raise errors.ArgumentError(call, f"axis_types, one AxisType for {count} axes", repr(given))
    if AxisType.Explicit in found:
        raise errors.ArgumentError(
            call,
            "axis_types of AxisType.Auto",
            "AxisType.Explicit",
            fix="Types do not hold shardings here: leave it out, and constrain values with "
            "`with_sharding_constraint`.",
        )
    return found  # pyright: ignore[reportReturnType]


def _check_distinct(names: tuple[Any, ...], devices: tuple[Any, ...]) -> None:
    for what, values in (("axis_names", names), ("devices", devices)):
        value, count = max(Counter(values).items(), key=lambda item: item[1], default=(None, 0))
        if count > 1:
            shown = repr(value) if what == "axis_names" else str(value)
            raise errors.ArgumentError("Mesh", f"{what} that differ", f"{shown} {_times(count)}")
    platforms = sorted({device.platform for device in devices})
    if len(platforms) > 1:
        got = " and ".join(platforms)
        raise errors.DeviceError("Mesh", "devices of one platform", got)


def _times(count: int) -> str:
    return "twice" if count == 2 else f"{count} times"


def make_grid(
    axis_shapes: Sequence[int], axis_names: Sequence[Any], devices: Sequence[Any], call: str
) -> tuple[tuple[int, ...], tuple[Any, ...]]:
    """Check the shape of a mesh against devices, and return it with the names.

    Raises:
        ShapeError: if the numbers differ, or there are too few devices.
    """
    try:
        shape = tuple(map(operator.index, axis_shapes))
    except TypeError:
        got = f"{axis_shapes!r} of type {errors.type_name(axis_shapes)}"
        raise errors.ArgumentError(call, "a sequence of ints as sizes", got) from None
    names = _axis_names(call, axis_names)
    if len(shape) != len(names):
        got = f"{len(shape)} sizes {shape} and {len(names)} names {names}"
        raise errors.ShapeError(call, "one size for each axis name", got)
    if min(shape, default=1) < 1:
        raise errors.ShapeError(call, "sizes of at least 1", f"shape {shape}")
    needed = math.prod(shape)
    if needed > len(devices):
        raise errors.ShapeError(
            call,
            f"a mesh for the {len(devices)} devices",
            f"shape {shape}, which needs {needed}",
            fix="Give other sizes, or more devices (for CPU: FUNCTRAX_NUM_CPU_DEVICES).",
        )
    return shape, names


def current_mesh() -> Mesh | None:
    """Return the mesh that specs without a mesh refer to, or None."""
    return config.mesh


def get_mesh() -> Mesh:
    """Return the mesh that specs without a mesh refer to.

    Returns:
        The mesh of `set_mesh` or of the innermost ``with mesh:``; if there is none, one without
        axes and devices, whose `empty` is True.

    Example:
        >>> import functrax
        >>> functrax.sharding.get_mesh().empty
        True
    """
    found = current_mesh()
    return Mesh(None, ()) if found is None else found


class set_mesh:  # noqa: N801  (a function to its users)
    """Set the mesh that specs without a mesh refer to, in this thread.

    A call alone holds until the next one; as a context manager it holds until the block ends.

    Args:
        mesh: a `Mesh`, or None for none.

    Raises:
        ArgumentError: if it is not a mesh, has manual axes, or a function is being traced.

    Example:
        >>> import functrax
        >>> with functrax.set_mesh(functrax.make_mesh((1,), ("x",))):
        ...     functrax.sharding.get_mesh()
        Mesh(x=1)
    """

    __slots__ = ("_scope", "mesh")

    def __init__(self, mesh: Mesh | None) -> None:
        """Set it at once: most calls are alone."""
        if mesh is not None and not (isinstance(mesh, Mesh) and mesh.are_all_axes_auto):
            expected = "a Mesh without manual axes, or None"
            raise errors.ArgumentError("set_mesh", expected, f"{mesh!r}")
        if state.trace is not None:
            raise errors.ArgumentError(
                "set_mesh",
                "to be called outside of functions that are traced",
                f"{mesh!r} in one",
                fix="Set it before the call, or give shardings with a mesh.",
            )
        self.mesh = mesh
        self._scope = Scope("set_mesh", {"mesh": None if mesh is None or mesh.empty else mesh})
        self._scope.__enter__()

    def __enter__(self) -> Mesh | None:
        """Return the mesh."""
        return self.mesh

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Bring the mesh back that was before."""
        self._scope.__exit__(*error)
