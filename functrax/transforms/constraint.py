"""`with_sharding_constraint` and `reshard`: how values of a program lie on a mesh of devices."""

from collections.abc import Sequence
from typing import Any

from functrax import errors
from functrax.core import tree
from functrax.core.primitive import BatchAxis
from functrax.core.trace import Tracer, Value, as_value, bind, state
from functrax.core.types import NO_AXES, ShapedArray
from functrax.primitives.rules import Dim, declare_linear
from functrax.runtime.array import DeviceArray
from functrax.runtime.transfer import place
from functrax.sharding.mesh import current_mesh
from functrax.sharding.shardings import NamedSharding, SingleDeviceSharding
from functrax.sharding.spec import UNCONSTRAINED, PartitionSpec
from functrax.transforms.flat import path_of


def with_sharding_constraint(x: Any, shardings: Any) -> Any:
    """Say how arrays are to lie on the devices of a mesh.

    Inside of `jit` it is a constraint for the compiler, which moves data if it has to. Outside, the
    arrays are moved at once. It is differentiable: cotangents lie in the same way.

    Args:
        x: pytree of arrays.
        shardings: a `NamedSharding`, a `PartitionSpec` in the mesh of `set_mesh`, None for no
            constraint, or a tree prefix of these.

    Returns:
        The same tree of equal arrays.

    Raises:
        ArgumentError: for another kind of sharding, or a spec when no mesh is set.
        ShapeError: for a spec with more entries than an array has dimensions, or that does not
            divide one evenly.
        TreeError: if shardings is not a prefix of x.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> from functrax.sharding import Mesh, NamedSharding, PartitionSpec as P
        >>> rows = NamedSharding(Mesh(functrax.devices("cpu")[:1], "x"), P("x"))
        >>> functrax.jit(lambda x: functrax.lax.with_sharding_constraint(x * 2, rows))(jnp.ones(2))
        Array([2., 2.], dtype=float32)
    """
    return _constrained(x, shardings, "with_sharding_constraint")


def reshard(xs: Any, out_shardings: Any) -> Any:
    """Bring arrays to shardings; see `with_sharding_constraint`, which differs in name alone here:
    types hold no shardings.
    """
    return _constrained(xs, out_shardings, "reshard")


def _constrained(x: Any, shardings: Any, call: str) -> Any:
    leaves, structure = tree.flatten(x)
    wanted = shardings_for(shardings, x, len(leaves), call, "shardings")
    return structure.unflatten(
        [
            leaf if one is None else _one(leaf, one, call, path_of(structure, i))
            for i, (leaf, one) in enumerate(zip(leaves, wanted, strict=True))
        ]
    )


def shardings_for(
    prefix: Any, x: Any, count: int, call: str, name: str
) -> list[NamedSharding | SingleDeviceSharding | None]:
    """Return a sharding, or None, for each leaf of a tree.

    Raises:
        ArgumentError: for another kind of sharding, or a spec when no mesh is set.
        TreeError: if there is no one for each leaf.
    """
    if prefix is None:
        return [None] * count
    if isinstance(prefix, NamedSharding | SingleDeviceSharding | PartitionSpec):
        return [as_sharding(prefix, call)] * count
    found = tree.broadcast_prefix(prefix, x, tree.is_none, call, name)
    return [None if one is None else as_sharding(one, call) for one in found]


def as_sharding(wanted: Any, call: str) -> NamedSharding | SingleDeviceSharding:
    """Return the sharding that a user named: itself, or that of a spec in the mesh of `set_mesh`.

    Raises:
        ArgumentError: for something else, or a spec when no mesh is set.
    """
    if isinstance(wanted, NamedSharding | SingleDeviceSharding):
        return wanted
    if not isinstance(wanted, PartitionSpec):
        got = f"{wanted!r} of type {errors.type_name(wanted)}"
        raise errors.ArgumentError(call, "a sharding or a PartitionSpec", got)
    mesh = current_mesh()
    if mesh is None:
        raise errors.ArgumentError(
            call,
            "a mesh for the spec",
            f"{wanted!r}, and no mesh is set",
            fix="Write `NamedSharding(mesh, spec)`, or call it inside `with set_mesh(mesh):`.",
        )
    return NamedSharding(mesh, wanted)


def _one(leaf: Any, sharding: NamedSharding | SingleDeviceSharding, call: str, path: str) -> Value:
    value = as_value(leaf, call)
    if isinstance(sharding, SingleDeviceSharding):
        if isinstance(leaf, Tracer):
            expected = "a NamedSharding for a traced value, or a sharding over its devices"
            raise errors.ArgumentError(call, expected, repr(sharding))
        return place(value, sharding.device)
    check_not_mapped(sharding, call)
    sharding.check_shape(value.aval.shape, call, f"the array{path}")
    return bind(sharding_constraint_p, value, sharding=sharding)[0]


def check_not_mapped(sharding: NamedSharding, call: str) -> None:
    """Raise if a sharding divides what each device has a part of already.

    Raises:
        ArgumentError: naming the axis, or the mesh that differs.
    """
    mapped = [axis for axis in state.axes if axis.mesh is not None]
    if not mapped or not sharding.used:
        return
    mesh, names = mapped[-1].mesh, [axis.name for axis in mapped]
    taken = sorted(sharding.used.intersection(names), key=str)
    if taken or sharding.mesh is not mesh:
        left = [name for name in mesh.axis_names if name not in names]
        raise errors.ArgumentError(
            call,
            f"a sharding along axes of {mesh!r} that no shard_map or pmap around it maps: "
            + (", ".join(map(repr, left)) or "there are none"),
            f"{sharding!r}",
            fix="Each device has its part already: leave it out, or call it outside.",
        )


# The primitive ------------------------------------------------------------------------------------


def with_dim(sharding: Any, dim: int | None, entry: Any = None) -> Any:
    """Return a sharding of arrays with one more dimension; anything else as it is."""
    if dim is None or not isinstance(sharding, NamedSharding):
        return sharding
    entries = [*sharding.spec]
    entries += [None] * (dim - len(entries))
    entries.insert(dim, entry)
    return sharding.with_spec(entries)


def names_nothing(params: dict[str, Any]) -> frozenset[Any]:
    """Return that an equation refers to no axis in scope: it must stay as it is, however it varies,
    and may name a mesh.
    """
    return NO_AXES


def _abstract_eval(x: ShapedArray, *, sharding: NamedSharding) -> tuple[ShapedArray]:
    return (x,)


def _evaluate(x: Value, *, sharding: NamedSharding) -> list[DeviceArray]:
    return [place(x, sharding)]


def _transpose(
    cotangents: Sequence[Value], operand: Any, *, sharding: NamedSharding
) -> Sequence[Value]:
    """Let the cotangent lie like the value."""
    return bind(sharding_constraint_p, *cotangents, sharding=sharding)


def _batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], *, sharding: NamedSharding
) -> Any:
    """Leave the mapped axis to the compiler, unless `vmap` says how it lies (spmd_axis_name)."""
    free = tuple(name for name in axis.spmd if name not in sharding.used)
    wider = with_dim(sharding, dims[0], free or UNCONSTRAINED)
    return bind(sharding_constraint_p, operands[0], sharding=wider), dims


def _lower(b: Any, x: Any, *, sharding: NamedSharding) -> Any:
    return b.constrain(x, sharding)


sharding_constraint_p = declare_linear(
    "sharding_constraint",
    abstract_eval=_abstract_eval,
    transpose=_transpose,
    batch=_batch,
    lower=_lower,
    evaluate=_evaluate,
    axis_names=names_nothing,
    meshes=lambda params: (params["sharding"].mesh,),
    lowers_keys=True,
)
