"""Meshes of the devices that are here, laid out to fit the network between them."""

import math
from collections.abc import Sequence
from typing import Any

from functrax import errors
from functrax.runtime.devices import devices as all_devices
from functrax.sharding.builder import blocks, device_grid, groups_of
from functrax.sharding.mesh import Mesh, NDArray, make_grid


def make_mesh(
    axis_shapes: Sequence[int],
    axis_names: Sequence[Any] | str,
    axis_types: Any = None,
    *,
    devices: Sequence[Any] | None = None,
) -> Mesh:
    """Make a mesh whose axes run along the fast links between devices.

    On TPUs an axis lies along whole dimensions of the slice where that is possible, as a ring in
    which neighbours are one hop apart, and the cores of a chip are neighbours. The outermost axes
    go across slices. Elsewhere devices stay in order, those of one process side by side.

    Args:
        axis_shapes: the size of each axis; the first of the devices are taken if there are more.
        axis_names: the name of each axis, or the only one.
        axis_types: an `AxisType` for each axis, or one for all; Auto by default.
        devices: the devices; all of the default platform if not given.

    Returns:
        A `Mesh`.

    Raises:
        ShapeError: if there are too few devices, or not one size for each name.
        ArgumentError: for names that `Mesh` refuses, or explicit axes.

    Example:
        >>> functrax.make_mesh((1, 1), ("data", "model"))
        Mesh(data=1, model=1)
    """
    given = all_devices() if devices is None else list(devices)
    shape, names = make_grid(axis_shapes, axis_names, given, "make_mesh")
    grid = device_grid(shape, given[: math.prod(shape)], "make_mesh")
    return Mesh(grid, names, axis_types)


def create_device_mesh(
    mesh_shape: Sequence[int],
    devices: Sequence[Any] | None = None,
    *,
    contiguous_submeshes: bool = False,
    allow_split_physical_axes: bool = False,
) -> NDArray:
    """Return devices in a grid for `Mesh`, laid out as `make_mesh` does.

    Args:
        mesh_shape: the size of each axis; the product is the number of devices.
        devices: the devices; all of the default platform if not given.
        contiguous_submeshes: whether the devices of each process must form a box.
        allow_split_physical_axes: whether two axes may share a dimension of a TPU slice, if there
            is no other way.

    Returns:
        An array of devices of shape `mesh_shape`.

    Raises:
        ShapeError: for another number of devices.
        ArgumentError: if the axes cannot be laid out in the way asked for.

    Example:
        >>> from functrax.experimental import mesh_utils
        >>> mesh_utils.create_device_mesh((1, 1), functrax.devices("cpu")[:1]).shape
        (1, 1)
    """
    return _whole_grid(
        "create_device_mesh",
        mesh_shape,
        all_devices() if devices is None else list(devices),
        may_split=allow_split_physical_axes,
        contiguous=contiguous_submeshes,
    )


def create_hybrid_device_mesh(
    mesh_shape: Sequence[int],
    dcn_mesh_shape: Sequence[int],
    devices: Sequence[Any] | None = None,
    *,
    process_is_granule: bool = False,
    should_sort_granules_by_key: bool = True,
    allow_split_physical_axes: bool = False,
) -> NDArray:
    """Return devices of several slices in a grid for `Mesh`.

    Args:
        mesh_shape: the size of each axis within a slice.
        dcn_mesh_shape: the number of slices along each axis.
        devices: the devices; all of the default platform if not given.
        process_is_granule: whether processes take the place of slices.
        should_sort_granules_by_key: whether slices go by their numbers, not as they come.
        allow_split_physical_axes: whether two axes may share a dimension of a slice.

    Returns:
        An array of devices, whose shape is the product of both by axis.

    Raises:
        ShapeError: for another number of slices, or of devices in one.
        ArgumentError: if devices do not know their slice, or axes would share a dimension.

    Example:
        >>> from functrax.experimental import mesh_utils
        >>> one = functrax.devices("cpu")[:1]
        >>> mesh_utils.create_hybrid_device_mesh((1,), (1,), one, process_is_granule=True).shape
        (1,)
    """
    call = "create_hybrid_device_mesh"
    given = all_devices() if devices is None else list(devices)
    attribute = "process_index" if process_is_granule else "slice_index"
    if given and not hasattr(given[0], attribute):
        fix = "Pass process_is_granule=True."
        raise errors.ArgumentError(call, f"devices with {attribute}", f"{given[0]}", fix=fix)
    if len(mesh_shape) != len(dcn_mesh_shape):
        got = f"{tuple(mesh_shape)} and {tuple(dcn_mesh_shape)}"
        raise errors.ShapeError(call, "mesh_shape and dcn_mesh_shape of one length", got)
    groups = groups_of(given, attribute)
    if math.prod(dcn_mesh_shape) != len(groups):
        raise errors.ShapeError(
            call,
            f"dcn_mesh_shape whose product is {len(groups)}, the number of "
            + ("processes" if process_is_granule else "slices"),
            f"{tuple(dcn_mesh_shape)}",
        )
    keys = sorted(groups) if should_sort_granules_by_key else list(groups)
    parts = [
        _whole_grid(call, mesh_shape, groups[key], may_split=allow_split_physical_axes)
        for key in keys
    ]
    return blocks(tuple(dcn_mesh_shape), parts)


def _whole_grid(
    call: str,
    mesh_shape: Sequence[int],
    devices: Sequence[Any],
    *,
    may_split: bool,
    contiguous: bool = False,
) -> NDArray:
    shape = tuple(mesh_shape)
    if math.prod(shape) != len(devices) or min(shape, default=1) < 1:
        expected = f"mesh_shape whose product is {len(devices)}, the number of devices"
        raise errors.ShapeError(call, expected, f"{shape}")
    return device_grid(shape, devices, call, may_split=may_split, contiguous=contiguous)
