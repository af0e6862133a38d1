"""`pmap`: map a function over an axis of its arguments, one position for each device.

It is `shard_map` over a mesh of one axis (of one for each level of nested pmaps), with the parts
that devices hold freed of the mapped axis, and by default with JAX's convention for gradients
through collectives.
"""

import functools
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import tree
from functrax.core.config import config
from functrax.core.trace import Value, as_value, state
from functrax.primitives.rules import expand_axis
from functrax.primitives.shape import squeeze
from functrax.runtime.array import DeviceArray, device_array
from functrax.runtime.devices import Device, devices_of, local_devices
from functrax.sharding.mesh import Mesh
from functrax.sharding.spec import PartitionSpec
from functrax.transforms.calls import merge_nondiff
from functrax.transforms.flat import (
    argument_names,
    as_array,
    check_callable,
    function_name,
    shown,
    take_name,
)
from functrax.transforms.jit_function import JitFunction
from functrax.transforms.manual import REPLICATED, Manual, Specs
from functrax.transforms.shard_map import run_manual
from functrax.transforms.static import StaticArguments

CALL = "pmap"
CONVENTIONS = ("jax", "exact")


class _Unnamed:
    """The name of an axis that the user gave none, by the depth of its pmap."""

    __slots__ = ("depth",)

    def __init__(self, depth: int) -> None:
        self.depth = depth

    def __repr__(self) -> str:
        return f"<pmap axis {self.depth}>"


_unnamed = functools.lru_cache(maxsize=None)(_Unnamed)


class _Grid:
    """The devices of a pmap while it is traced, with an axis for each pmap inside of it."""

    __slots__ = ("devices", "inner")

    def __init__(self, devices: Sequence[Device] | None) -> None:
        self.devices = devices
        self.inner: list[tuple[Any, int]] = []


class _NeedsAxis(Exception):  # noqa: N818  (it never reaches a user)
    """A pmap inside of another needs an axis that the devices were not divided along yet."""


class _Tracing(threading.local):
    """The grids of the pmaps that this thread is tracing, and how deep."""

    grid: _Grid | None = None
    mesh: Mesh | None = None
    depth: int = 0


_tracing = _Tracing()


def pmap(
    fun: Callable[..., Any],
    axis_name: Any = None,
    *,
    in_axes: Any = 0,
    out_axes: Any = 0,
    static_broadcasted_argnums: int | Iterable[int] = (),
    devices: Sequence[Device] | None = None,
    backend: str | None = None,
    axis_size: int | None = None,
    donate_argnums: int | Iterable[int] = (),
    grad_convention: str | None = None,
) -> "PmapFunction":
    """Map a function over an axis of its arguments, each position on a device of its own.

    Args:
        fun: a function of pytrees of arrays; it sees one position.
        axis_name: a name for the axis, for collectives such as `lax.psum` inside `fun`.
        in_axes: the axis to map of each positional argument: an int, None (every device gets the
            whole argument), or a sequence of pytrees of these that are prefixes of the arguments.
            Keyword arguments are mapped over axis 0.
        out_axes: where the mapped axis goes in the result: an int, a prefix pytree of these, or
            None for results that are the same on all devices.
        static_broadcasted_argnums: positions of arguments that are Python values to the function.
        devices: the devices to use, in order; by default the first ones of this process.
        backend: the platform to take them from.
        axis_size: the size of the mapped axis, needed only if no argument is mapped.
        donate_argnums: positions of arguments whose memory the results may take.
        grad_convention: ``"jax"``: gradients through collectives are JAX's, in which a gradient
            through `psum` is that of the sum of all devices' results; ``"exact"``: those of the
            function itself, as in `shard_map`. By default the option ``grad_convention``.

    Returns:
        A function of the same arguments with the mapped axis, with `.lower` beside the call. Its
        results lie on the devices, one position each.

    Raises:
        AxesError: if axes do not fit the arguments, sizes differ, or there are too few devices.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> f = functrax.pmap(lambda x: x / functrax.lax.psum(x, "i"), axis_name="i")
        >>> f(jnp.array([2.0]))
        Array([1.], dtype=float32)
    """
    check_callable(fun, CALL)
    if grad_convention not in (None, *CONVENTIONS):
        expected = f"grad_convention as one of {CONVENTIONS}, or None"
        raise errors.ArgumentError(CALL, expected, shown(grad_convention))
    found = None if devices is None else tuple(devices)
    if found is not None and (not found or not all(isinstance(one, Device) for one in found)):
        raise errors.ArgumentError(CALL, "devices as a sequence of devices", shown(devices))
    if found is not None and len(set(found)) < len(found):
        twice = next(one for one in found if found.count(one) > 1)
        raise errors.ArgumentError(CALL, "devices that differ", f"{twice} twice")
    if found is None and backend is not None:
        found = tuple(devices_of(backend, CALL))
    in_axes = tuple(in_axes) if isinstance(in_axes, list) else in_axes
    for name, axes in (("in_axes", in_axes), ("out_axes", out_axes)):
        for leaf in tree.leaves(axes):
            if not hasattr(leaf, "__index__"):
                raise errors.AxesError(CALL, f"{name} of ints and None", shown(leaf))
    statics = static_broadcasted_argnums
    options = _Options(axis_name, in_axes, out_axes, found, axis_size, grad_convention)
    return PmapFunction(fun, options, statics, donate_argnums)


class _Options:
    """How a function is mapped; see `pmap`."""

    __slots__ = ("axis_name", "axis_size", "convention", "devices", "in_axes", "out_axes")

    def __init__(
        self,
        axis_name: Any,
        in_axes: Any,
        out_axes: Any,
        devices: tuple[Device, ...] | None,
        axis_size: int | None,
        convention: str | None,
    ) -> None:
        self.axis_name = axis_name
        self.in_axes = in_axes
        self.out_axes = out_axes
        self.devices = devices
        self.axis_size = axis_size
        self.convention = convention


class PmapFunction:
    """A function that runs on several devices; made by `pmap`."""

    def __init__(self, function: Any, options: _Options, statics: Any, donated: Any) -> None:
        """Wrap a function."""
        take_name(self, function)
        self.function = function
        self.options = options
        static = StaticArguments(function, statics, None, donated, None, CALL)
        mapped = functools.partial(_mapped, function, options, static.static_nums)
        functools.update_wrapper(mapped, function)
        self._jitted: JitFunction[..., Any] = JitFunction(mapped, static, False, False, None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function on its devices."""
        try:
            return self._jitted(*args, **kwargs)
        except errors.DeviceError:
            moved = tree.map(_free, (args, kwargs))
            if all(x is y for x, y in zip(*map(tree.leaves, (moved, (args, kwargs))), strict=True)):
                raise
            return self._jitted(*moved[0], **moved[1])

    def trace(self, *args: Any, **kwargs: Any) -> Any:
        """Trace at the types of arguments."""
        return self._jitted.trace(*args, **kwargs)

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        """Trace at the types of arguments and write the program as StableHLO."""
        return self._jitted.lower(*args, **kwargs)

    def clear_cache(self) -> None:
        """Forget this function's traces and programs."""
        self._jitted.clear_cache()

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind like a method."""
        return self if instance is None else functools.partial(self, instance)

    def __repr__(self) -> str:
        """Print as ``pmap(name)``."""
        return f"<pmap of {function_name(self.function)}>"


def _free(x: Any) -> Any:
    """Let an array that was placed elsewhere be moved to the devices of a pmap."""
    if type(x) is not DeviceArray or not x.committed:
        return x
    if type(x.device) is Device:
        return device_array(x.aval, x.live_buffer(CALL), x.device)
    return x.numpy()


def _mapped(
    function: Any, options: _Options, static: tuple[int, ...], /, *args: Any, **kwargs: Any
) -> Any:
    """Trace the function as one of whole arrays."""
    in_axes = options.in_axes
    if isinstance(in_axes, tuple) and len(in_axes) != len(args):
        raise errors.AxesError(
            CALL,
            f"in_axes with one entry for each of the {len(args)} positional arguments of "
            f"{function_name(function)!r}",
            f"{len(in_axes)} entries: {in_axes}",
        )
    nums = sorted({i % len(args) for i in static if -len(args) <= i < len(args)})
    if nums:
        function = _with_static(function, [args[i] for i in nums], nums)
        args = tuple(x for i, x in enumerate(args) if i not in nums)
        if isinstance(in_axes, tuple):
            in_axes = tuple(axis for i, axis in enumerate(in_axes) if i not in nums)
    leaves, in_tree = tree.flatten((args, kwargs))
    values = [as_value(x, CALL) for x in leaves]
    axes = _in_axes(function, in_axes, args, kwargs, in_tree, values)
    size = _size(function, options, in_tree, values, axes)
    depth = _tracing.depth
    name = _unnamed(depth) if options.axis_name is None else options.axis_name
    outer = _tracing.grid
    grid = _Grid(options.devices) if outer is None or _is_outside() else outer
    if grid is outer:
        if len(grid.inner) < depth:
            grid.inner.append((name, size))
            raise _NeedsAxis
        if grid.inner[depth - 1] != (name, size):
            raise errors.AxesError(
                CALL,
                f"pmaps inside of another to have one name and size, {grid.inner[depth - 1]}",
                f"{(name, size)}",
                fix="Use `vmap` inside, or `shard_map` over a mesh.",
            )
    while True:
        mesh = _tracing.mesh if grid is outer else _mesh(function, grid, name, size)
        assert mesh is not None
        saved = _tracing.grid, _tracing.mesh, _tracing.depth
        _tracing.grid, _tracing.mesh = grid, mesh
        _tracing.depth = depth + 1 if grid is outer else 1
        try:
            return _run(function, options, mesh, name, values, in_tree, axes)
        except _NeedsAxis:
            if grid is outer:
                raise
        finally:
            _tracing.grid, _tracing.mesh, _tracing.depth = saved


def _with_static(function: Any, fixed: Sequence[Any], nums: Sequence[int]) -> Any:
    def rest(*args: Any, **kwargs: Any) -> Any:
        return function(*merge_nondiff(fixed, args, nums), **kwargs)

    return functools.update_wrapper(rest, function)


def _is_outside() -> bool:
    """Tell whether no pmap is being traced around the present call."""
    return not any(axis.mesh is _tracing.mesh for axis in state.axes)


def _run(
    function: Any,
    options: _Options,
    mesh: Mesh,
    name: Any,
    values: Sequence[Value],
    in_tree: Any,
    axes: Sequence[int | None],
) -> Any:
    convention = options.convention or config.grad_convention
    manual = Manual(mesh, (name,), convention == "exact")

    def part(*args: Any, **kwargs: Any) -> Any:
        found, structure = tree.flatten((args, kwargs))
        free = [x if a is None else squeeze(x, (a,)) for x, a in zip(found, axes, strict=True)]
        args, kwargs = structure.unflatten(map(as_array, free))
        result, out_tree = tree.flatten(function(*args, **kwargs))
        outs = _out_axes(function, options.out_axes, out_tree)
        wide: list[Any] = []
        for x, axis in zip(result, outs, strict=True):
            value = as_value(x, CALL)
            if axis is not None:
                rank = value.aval.ndim + 1
                if not -rank <= axis < rank:
                    got = f"axis {axis} for {value.aval!r}"
                    raise errors.AxesError(CALL, f"out_axes within {rank} axes", got)
                value = expand_axis(value, axis % rank)
            wide.append(as_array(value))
        specs.append(
            tuple(_spec(name, axis, x.aval.ndim) for axis, x in zip(outs, wide, strict=True))
        )
        return out_tree.unflatten(wide)

    functools.update_wrapper(part, function)
    specs: list[Specs] = []
    in_specs = tuple(_spec(name, a, x.aval.ndim) for a, x in zip(axes, values, strict=True))
    known_later = lambda _: specs[-1]  # noqa: E731
    results, out_tree = run_manual(part, manual, values, in_tree, in_specs, known_later, CALL)
    return out_tree.unflatten(map(as_array, results))


def _spec(name: Any, axis: int | None, ndim: int) -> PartitionSpec:
    return REPLICATED if axis is None else PartitionSpec(*[None] * (axis % ndim), name)


def _mesh(function: Any, grid: _Grid, name: Any, size: int) -> Mesh:
    """Return the devices of a pmap, with the axes of those inside.

    Raises:
        AxesError: if there are too few.
    """
    sizes = [size, *[inner for _, inner in grid.inner]]
    needed = int(np.prod(sizes))
    found = list(local_devices() if grid.devices is None else grid.devices)
    if needed > len(found):
        inside = f" ({' x '.join(map(str, sizes))} with the pmaps inside)" if grid.inner else ""
        raise errors.AxesError(
            CALL,
            f"at most {len(found)} positions, one for each device, of {function_name(function)!r}",
            f"{needed}{inside}",
            fix="Map several positions on one device with `vmap` inside, or use more devices "
            "(for CPU: FUNCTRAX_NUM_CPU_DEVICES).",
        )
    names = (name, *[inner for inner, _ in grid.inner])
    return Mesh(np.array(found[:needed], dtype=object).reshape(sizes), names)


def _in_axes(
    function: Any, in_axes: Any, args: Any, kwargs: Any, in_tree: Any, values: Sequence[Value]
) -> list[int | None]:
    """Return the mapped axis of each argument leaf, checked and non-negative."""
    prefix = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(args)
    whole = (prefix, dict.fromkeys(kwargs, 0))
    axes = tree.broadcast_prefix(whole, (args, kwargs), tree.is_none, CALL, "in_axes")
    found: list[int | None] = []
    for index, (x, axis) in enumerate(zip(values, axes, strict=True)):
        rank = x.aval.ndim
        if axis is not None and not -rank <= axis < rank:
            raise errors.AxesError(
                CALL,
                f"an axis of argument `{argument_names(function, in_tree)[index]}` to map",
                f"axis {axis} of {x.aval!r}",
                fix="Give it `None` in in_axes if every device is to have all of it.",
            )
        found.append(None if axis is None else axis % rank)
    return found


def _size(
    function: Any,
    options: _Options,
    in_tree: Any,
    values: Sequence[Value],
    axes: Sequence[int | None],
) -> int:
    """Return the size of the mapped axis.

    Raises:
        AxesError: if mapped arguments differ in it, naming them, or there is none.
    """
    mapped = [
        (i, x.aval.shape[a])
        for i, (x, a) in enumerate(zip(values, axes, strict=True))
        if a is not None
    ]
    sizes = {size for _, size in mapped}
    if 0 in sizes:
        i = next(i for i, size in mapped if size == 0)
        name = argument_names(function, in_tree)[i]
        raise errors.AxesError(
            CALL, f"argument `{name}` to have at least one position to map", f"{values[i].aval!r}"
        )
    if options.axis_size is not None:
        sizes.add(options.axis_size)
    if len(sizes) == 1:
        (size,) = sizes
        allowed = len(local_devices() if options.devices is None else options.devices)
        if mapped and size > allowed and _tracing.grid is None:
            name = argument_names(function, in_tree)[mapped[0][0]]
            owner, more = "devices= has", "give more devices"
            if options.devices is None:
                owner = "this process has"
                more = "use more devices (for CPU: FUNCTRAX_NUM_CPU_DEVICES)"
            raise errors.AxesError(
                CALL,
                f"argument `{name}` to have a leading size of at most {allowed}",
                f"leading size {size}; {owner} {allowed} devices",
                fix=f"Map several positions on one device with `vmap` inside, or {more}.",
            )
        return size
    if not sizes:
        raise errors.AxesError(
            CALL,
            f"at least one mapped argument of {function_name(function)!r}",
            "none",
            fix="Pass `axis_size`, or an axis in in_axes.",
        )
    names = argument_names(function, in_tree)
    got = ", ".join(f"`{names[i]}`: {size}" for i, size in mapped)
    expected = "mapped arguments of one leading size"
    if options.axis_size is not None:
        expected += f", the axis_size {options.axis_size}"
    fix = "Give an argument `None` in in_axes if every device is to have all of it."
    raise errors.AxesError(CALL, expected, got, fix=fix)


def _out_axes(function: Any, out_axes: Any, out_tree: Any) -> list[int | None]:
    if out_axes is None or isinstance(out_axes, int):
        return [out_axes] * out_tree.num_leaves
    return tree.broadcast_prefix(
        out_axes, tree.results_of(out_tree), tree.is_none, CALL, "out_axes"
    )
