"""`device_put`: where arrays are, also under transforms."""

from collections.abc import Sequence
from typing import Any

from functrax import errors
from functrax.core import tree
from functrax.core.primitive import BatchAxis
from functrax.core.trace import Tracer, Value, bind, check_live
from functrax.core.types import ShapedArray
from functrax.primitives.rules import Dim, declare_linear
from functrax.runtime.array import DeviceArray
from functrax.runtime.devices import Device, check_here, devices_of
from functrax.runtime.layout import Place
from functrax.runtime.transfer import place
from functrax.sharding import NamedSharding, PartitionSpec, SingleDeviceSharding
from functrax.sharding.mesh import Mesh
from functrax.sharding.shardings import DEFAULT_KIND
from functrax.transforms.constraint import as_sharding, check_not_mapped, names_nothing, with_dim
from functrax.transforms.flat import path_of

CALL = "device_put"


def device_put(
    x: Any,
    device: Any = None,
    *,
    src: Any = None,
    donate: Any = False,
    may_alias: Any = None,
) -> Any:
    """Put arrays on a device, or divide them among several.

    Placed arrays are committed: computations follow them, and two committed to different devices do
    not mix.

    Args:
        x: pytree of arrays, NumPy arrays and numbers.
        device: a `Device`, a platform (``"cpu"``), a sharding, a `PartitionSpec` in the mesh of
            `set_mesh`, None to leave arrays where they are and put the rest on the default device,
            or a tree prefix of these.
        src: where the arrays are; not needed, as they know. A tree prefix too.
        donate: whether to give up arrays that are moved: using them afterwards is an error. A bool
            or a tree prefix of them.
        may_alias: True may share the memory of NumPy arrays, which must then never change; False
            never shares memory, None only that of arrays, which cannot change. Or a tree prefix.

    Returns:
        The same tree of arrays.

    Raises:
        ArgumentError: for leaves that are not arrays or numbers, or another kind of device.
        DeviceError: for a device of another process.
        TreeError: if device, src, donate or may_alias is not a prefix of x.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.device_put(jnp.arange(3), functrax.devices("cpu")[0])
        Array([0, 1, 2], dtype=int32)
    """
    leaves, structure = tree.flatten(x)
    if device is None and donate is False and may_alias is None:  # what most calls ask for
        return structure.unflatten(
            [
                _live(x) if isinstance(x, Tracer) else _placed(x, structure, i)
                for i, x in enumerate(leaves)
            ]
        )
    options = [
        _for_leaves(device, x, len(leaves), "device"),
        _for_leaves(src, x, len(leaves), "src"),
        _for_leaves(donate, x, len(leaves), "donate"),
        _for_leaves(may_alias, x, len(leaves), "may_alias"),
    ]
    return structure.unflatten(
        [
            _put(leaf, structure, i, *each)
            for i, (leaf, *each) in enumerate(zip(leaves, *options, strict=True))
        ]
    )


def _live(tracer: Tracer) -> Tracer:
    check_live(tracer, f"as an argument of {CALL}")
    return tracer


def _placed(
    leaf: Any,
    structure: Any,
    index: int,
    device: Device | NamedSharding | None = None,
    donate: bool = False,
    may_alias: bool | None = None,
) -> Value:
    """Place one leaf; an error says which one it is.

    Raises:
        ArgumentError: if it is not an array or number.
    """
    try:
        return place(leaf, device, donate, may_alias)
    except errors.ArgumentError as error:
        path = path_of(structure, index)
        if not path:
            raise
        expected = f"{error.expected} at {path}"
        raise errors.ArgumentError(CALL, expected, error.got, fix=error.fix) from error


def _for_leaves(prefix: Any, x: Any, count: int, name: str) -> list[Any]:
    if prefix is None or isinstance(prefix, bool | Device | str | NamedSharding):
        return [prefix] * count
    return tree.broadcast_prefix(prefix, x, tree.is_none, CALL, name)


def _put(
    leaf: Any,
    structure: Any,
    index: int,
    device: Any,
    src: Any,
    donate: bool,
    may_alias: bool | None,
) -> Value:
    target = None if device is None else as_device(device)
    if not isinstance(leaf, Tracer):
        return _placed(leaf, structure, index, target, donate, may_alias)
    if target is None:
        return leaf
    check_live(leaf, "by `device_put`")
    known = leaf.concrete()
    if src is not None:
        source = as_device(src)
    else:
        source = known.device if type(known) is DeviceArray else None
    if isinstance(target, NamedSharding):
        check_not_mapped(target, CALL)
        target.check_shape(leaf.shape, CALL)
    return bind(device_put_p, leaf, device=target, src=source)[0]


def as_device(wanted: Any, call: str = CALL) -> Device | NamedSharding:
    """Return the place that a user named.

    Args:
        wanted: a device, a platform, or a sharding.
        call: the user's function, for messages.

    Raises:
        ArgumentError: for something else.
        DeviceError: for a device of another process.
    """
    found = wanted
    if isinstance(wanted, SingleDeviceSharding):
        found = wanted.device
        if wanted.memory_kind != DEFAULT_KIND:  # what lies elsewhere is an array over a mesh
            mesh, kind = Mesh([found], "device"), wanted.memory_kind
            found = NamedSharding(mesh, PartitionSpec(), memory_kind=kind)
    if isinstance(found, str):
        found = devices_of(found, call)[0]
    if isinstance(found, PartitionSpec):
        found = as_sharding(found, call)
    if isinstance(found, NamedSharding):
        return found
    if not isinstance(found, Device):
        raise errors.ArgumentError(
            call,
            "a device, a platform, a sharding, or a pytree of them as device",
            f"{wanted!r} of type {errors.type_name(wanted)}",
            fix="Take one of `functrax.devices()`.",
        )
    check_here((found,), call)
    if found.process_index != found.client.process_index:
        got = f"{found} of process {found.process_index}"
        raise errors.DeviceError(call, "a device of this process", got)
    return found


# The primitive, for values that are traced by grad and vmap ---------------------------------------


def _abstract_eval(operand: ShapedArray, *, device: Place, src: Place | None) -> tuple[ShapedArray]:
    return (operand,)


def _evaluate(operand: Value, *, device: Place, src: Place | None) -> list[DeviceArray]:
    return [place(operand, device)]


def _transpose(
    cotangents: Sequence[Value], operand: Any, *, device: Place, src: Place | None
) -> Sequence[Value]:
    """Put the cotangent back where the operand was."""
    return cotangents if src is None else bind(device_put_p, *cotangents, device=src, src=device)


def _batch(
    axis: BatchAxis,
    operands: Sequence[Value],
    dims: Sequence[Dim],
    *,
    device: Place,
    src: Place | None,
) -> tuple[Any, Sequence[Dim]]:
    device, src = with_dim(device, dims[0]), with_dim(src, dims[0])
    return bind(device_put_p, *operands, device=device, src=src), dims


def _meshes(params: dict[str, Any]) -> tuple[Mesh, ...]:
    return (params["device"].mesh,) if isinstance(params["device"], NamedSharding) else ()


def _lower(b: Any, x: Any, *, device: Place, src: Place | None) -> Any:
    """A compiled program runs where its arguments are: the identity if that is what is meant."""
    if isinstance(device, NamedSharding):
        if device.memory_kind != DEFAULT_KIND:
            raise errors.DeviceError(
                CALL,
                "results of compiled functions to leave the device's own memory by out_shardings",
                f"a traced value to put into {device.memory_kind!r}",
                fix="Pass `jit(f, out_shardings=sharding)`, or place it after the call.",
            )
        return b.constrain(x, device)
    if b.platform == device.platform and not device.has_peers:
        return x
    raise errors.DeviceError(
        CALL,
        "to be called outside of compiled functions, which run where their arguments are",
        f"a traced value to put on {device}",
        fix="Place the arguments before the call, or its results after it.",
    )


device_put_p = declare_linear(
    "device_put",
    abstract_eval=_abstract_eval,
    transpose=_transpose,
    batch=_batch,
    lower=_lower,
    evaluate=_evaluate,
    axis_names=names_nothing,
    meshes=_meshes,
    lowers_keys=True,
)
