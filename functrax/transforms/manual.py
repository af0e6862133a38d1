"""The primitive of `shard_map` and `pmap`: a program that each device runs on its own part.

Its arguments and results are whole arrays; the program inside sees the parts. With types that say
along which axes values vary (``check``), its transforms are those of the program inside: a gradient
of a replicated value is summed where the value began to vary, by the transpose of `pvary`. Without,
they are JAX's: cotangents of replicated results are divided among the devices, those of replicated
arguments are summed over them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from functrax import errors
from functrax.core.jaxpr import Jaxpr, eval_jaxpr, program_cache
from functrax.core.primitive import BatchAxis, declare
from functrax.core.trace import NamedAxis, Value, bind, current, named_axes, state
from functrax.core.types import NO_AXES, ShapedArray
from functrax.primitives.collectives.sums import psum, transposing_whole
from functrax.primitives.elementwise import mul
from functrax.primitives.rules import Dim, is_linear, reshape, scalar
from functrax.sharding.mesh import Mesh
from functrax.sharding.shardings import NamedSharding
from functrax.sharding.spec import PartitionSpec
from functrax.transforms.batch import batch_jaxpr
from functrax.transforms.constraint import sharding_constraint_p
from functrax.transforms.jvp import Tangent, jvp_jaxpr
from functrax.transforms.partial import RecordTrace, partial_eval_jaxpr
from functrax.transforms.stage import stage_open
from functrax.transforms.transpose import transpose_jaxpr

Specs = tuple[PartitionSpec, ...]
REPLICATED = PartitionSpec()


class Manual(NamedTuple):
    """What the equations of one `shard_map` have in common.

    Attributes:
        mesh: the devices.
        axes: the axes of the mesh along which the program sees its own part, in the mesh's order.
        check: whether types say along which of them values vary.
    """

    mesh: Mesh
    axes: tuple[Any, ...]
    check: bool

    def named(self) -> tuple[NamedAxis, ...]:
        """Return the axes as they are in scope inside."""
        sizes = dict(self.mesh.shape_tuple)
        return tuple(NamedAxis(name, sizes[name], self.check, self.mesh) for name in self.axes)

    def part(self, aval: ShapedArray, spec: PartitionSpec) -> ShapedArray:
        """Return the type of a part of an array."""
        parts = NamedSharding(self.mesh, spec).parts(aval.ndim)
        shape = tuple(size // n for size, n in zip(aval.shape, parts, strict=True))
        varying = aval.varying.union(spec.axes()) if self.check else aval.varying
        return aval.update(shape=shape, varying=varying)

    def whole(self, aval: ShapedArray, spec: PartitionSpec) -> ShapedArray:
        """Return the type of the array whose parts have this type."""
        parts = NamedSharding(self.mesh, spec).parts(aval.ndim)
        shape = tuple(size * n for size, n in zip(aval.shape, parts, strict=True))
        return aval.update(shape=shape, varying=aval.varying.difference(self.axes))

    def unmentioned(self, spec: PartitionSpec) -> tuple[Any, ...]:
        """Return the axes that do not divide an array."""
        used = spec.axes()
        return tuple(name for name in self.axes if name not in used)

    def size(self, names: Sequence[Any]) -> int:
        """Return the number of positions along some axes."""
        return self.mesh.axis_size(names)


def _abstract_eval(
    *avals: ShapedArray,
    jaxpr: Jaxpr,
    manual: Manual,
    in_specs: Specs,
    out_specs: Specs,
    name: str,
) -> tuple[ShapedArray, ...]:
    for aval, var, spec in zip(avals, jaxpr.invars, in_specs, strict=True):
        part = manual.part(aval, spec)
        if part.strong() is not var.aval.strong():
            got = f"{part!r} of {aval!r} by {spec!r}"
            raise errors.InternalError(name, f"a part of type {var.aval!r}", got)
    for i, (aval, spec) in enumerate(zip(jaxpr.out_avals, out_specs, strict=True)):
        loose = [axis for axis in manual.unmentioned(spec) if axis in aval.varying]
        if loose:
            raise errors.ArgumentError(
                name,
                f"leaf {i} of the results, tangents or gradients to be the same along {loose}, as "
                f"its spec {spec!r} says",
                f"{aval!r}, made by {_maker(jaxpr, i)}",
                fix="Sum it over the devices where it is made: `lax.psum`.",
            )
    outs = zip(jaxpr.out_avals, out_specs, strict=True)
    return tuple(manual.whole(aval, spec) for aval, spec in outs)


def _maker(jaxpr: Jaxpr, index: int) -> str:
    """Return the operation that makes a result, and its line."""
    var = jaxpr.outvars[index]
    for eqn in jaxpr.eqns:
        if var in eqn.outvars:
            return f"{eqn.primitive.name} at {eqn.source}" if eqn.source else eqn.primitive.name
    return "nobody: it is an argument"


# Forward ------------------------------------------------------------------------------------------


def _jvp(primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any) -> Any:
    """Push forward the program inside; tangents lie like primals."""
    jaxpr, in_specs, out_specs = params["jaxpr"], params["in_specs"], params["out_specs"]
    nonzero = tuple(tangent is not None for tangent in tangents)
    with named_axes(*params["manual"].named()):
        pushed, consts, out_nonzero = jvp_jaxpr(jaxpr, nonzero)
    given = [tangent for tangent in tangents if tangent is not None]
    params = params | {
        "jaxpr": pushed,
        "in_specs": (*_replicated(consts), *in_specs, *_picked(in_specs, nonzero)),
        "out_specs": (*out_specs, *_picked(out_specs, out_nonzero)),
    }
    results = bind(manual_p, *consts, *primals, *given, **params)
    count = len(jaxpr.outvars)
    tangents_out = iter(results[count:])
    return results[:count], [next(tangents_out) if has else None for has in out_nonzero]


def _replicated(values: Sequence[Any]) -> Specs:
    return (REPLICATED,) * len(values)


def _picked(specs: Specs, wanted: Sequence[bool]) -> Specs:
    return tuple(spec for spec, keep in zip(specs, wanted, strict=True) if keep)


# Backward -----------------------------------------------------------------------------------------


def _partial(
    trace: RecordTrace, operands: Sequence[Value], unknown: Sequence[bool], params: dict[str, Any]
) -> Any:
    """Run what the known operands determine; what the rest needs of it stays on its device."""
    manual, in_specs, out_specs = params["manual"], params["in_specs"], params["out_specs"]
    with named_axes(*manual.named()):
        split = partial_eval_jaxpr(params["jaxpr"], tuple(unknown))
        known_jaxpr, consts, rest, out_unknown, forwarded = split
        count = out_unknown.count(False)
        kept_specs = tuple(
            PartitionSpec(_axes_of(manual, aval)) if _axes_of(manual, aval) else REPLICATED
            for aval in known_jaxpr.out_avals[count:]
        )
        known_jaxpr = _with_rows(known_jaxpr, count, kept_specs)
        kept = iter(kept_specs)
        known_in = [spec for spec, later in zip(in_specs, unknown, strict=True) if not later]
        residual_specs = tuple(next(kept) if i is None else known_in[i] for i in forwarded)
        taken = tuple(
            spec if index is None else REPLICATED
            for spec, index in zip(residual_specs, forwarded, strict=True)
        )
        rest = _without_rows(rest, taken)
    known = [x for x, later in zip(operands, unknown, strict=True) if not later]
    run = params | {
        "jaxpr": known_jaxpr,
        "in_specs": (*_replicated(consts), *known_in),
        "out_specs": (*_picked(out_specs, [not later for later in out_unknown]), *kept_specs),
    }
    with current(trace.parent):
        results = bind(manual_p, *consts, *known, **run)
    computed = iter(results[count:])
    residuals = [next(computed) if index is None else known[index] for index in forwarded]
    undetermined = [x for x, later in zip(operands, unknown, strict=True) if later]
    later = params | {
        "jaxpr": rest,
        "in_specs": (*residual_specs, *_picked(in_specs, unknown)),
        "out_specs": _picked(out_specs, out_unknown),
    }
    recorded = iter(trace.record(manual_p, [*residuals, *undetermined], later))
    determined = iter(results[:count])
    return [next(recorded) if is_later else next(determined) for is_later in out_unknown]


def _axes_of(manual: Manual, aval: ShapedArray) -> tuple[Any, ...]:
    """Return the axes along which parts of a residual differ: all of them if types do not say."""
    return tuple(a for a in manual.axes if not manual.check or a in aval.varying)


@program_cache
def _with_rows(jaxpr: Jaxpr, count: int, specs: Specs) -> Jaxpr:
    """Give the results behind the first `count` a leading axis, along which parts are joined."""

    def run(*values: Value) -> list[Value]:
        results = eval_jaxpr(jaxpr, (), *values)
        kept = zip(results[count:], specs, strict=True)
        return [*results[:count], *[_row(x, spec) for x, spec in kept]]

    return _restaged(run, jaxpr.in_avals, jaxpr.name)


def _row(x: Value, spec: PartitionSpec) -> Value:
    return reshape(x, (1, *x.aval.shape)) if len(spec) else x


@program_cache
def _without_rows(jaxpr: Jaxpr, specs: Specs) -> Jaxpr:
    """Take the leading axes of the first arguments away again."""
    avals = list(jaxpr.in_avals)

    def run(*values: Value) -> list[Value]:
        whole = [
            reshape(x, aval.shape) if aval is not x.aval else x
            for x, aval in zip(values, jaxpr.in_avals, strict=True)
        ]
        return eval_jaxpr(jaxpr, (), *whole)

    for i, spec in enumerate(specs):
        if len(spec):
            avals[i] = avals[i].update(shape=(1, *avals[i].shape))
    return _restaged(run, avals, jaxpr.name)


def _restaged(run: Any, avals: Sequence[ShapedArray], name: str) -> Jaxpr:
    jaxpr, consts = stage_open(run, avals, name=name)
    if consts:
        raise errors.InternalError(name, "a program that captures nothing", f"{len(consts)} values")
    return jaxpr


def _transpose(cotangents: Sequence[Tangent], *operands: Any, **params: Any) -> list[Tangent]:
    """Transpose the program inside; cotangents lie like what they belong to."""
    manual, in_specs, out_specs = params["manual"], params["in_specs"], params["out_specs"]
    linear = tuple(map(is_linear, operands))
    nonzero = tuple(cotangent is not None for cotangent in cotangents)
    with named_axes(*manual.named()), transposing_whole():
        transposed, consts, out_nonzero = transpose_jaxpr(params["jaxpr"], linear, nonzero)
        wanted = _picked(_picked(in_specs, linear), out_nonzero)
        given_specs = _picked(out_specs, nonzero)
        if not manual.check:
            transposed = _summed(transposed, manual, len(given_specs), given_specs, wanted)
    known = [x for x in operands if not is_linear(x)]
    given = [cotangent for cotangent in cotangents if cotangent is not None]
    known_specs = _picked(in_specs, [not flag for flag in linear])
    params = params | {
        "jaxpr": transposed,
        "in_specs": (*_replicated(consts), *known_specs, *given_specs),
        "out_specs": wanted,
    }
    results = iter(bind(manual_p, *consts, *known, *given, **params))
    pulled = iter([next(results) if has else None for has in out_nonzero])
    return [next(pulled) if is_linear(x) else None for x in operands]


@program_cache
def _summed(jaxpr: Jaxpr, manual: Manual, count: int, given: Specs, wanted: Specs) -> Jaxpr:
    """Divide the last `count` arguments and sum the results over axes that specs do not mention.

    Without types nobody knows whether the devices that hold one result share its cotangent, or an
    argument its own: this takes it that they do.
    """

    def run(*values: Value) -> list[Value]:
        first = len(values) - count
        parts = [
            mul(x, scalar(1 / manual.size(rest), x.aval.dtype)) if rest else x
            for x, rest in zip(values[first:], map(manual.unmentioned, given), strict=True)
        ]
        results = eval_jaxpr(jaxpr, (), *values[:first], *parts)
        return [
            psum(x, rest) if rest else x
            for x, rest in zip(results, map(manual.unmentioned, wanted), strict=True)
        ]

    return _restaged(run, jaxpr.in_avals, jaxpr.name)


# Mapped and written -------------------------------------------------------------------------------


def _batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any
) -> tuple[Any, Sequence[Dim]]:
    """Map the program inside: the new axis is not divided, unless `vmap` says so."""
    manual = params["manual"]
    if axis.name in manual.axes:
        raise errors.ArgumentError(
            "vmap",
            f"an axis_name that no {params['name']} inside of it has",
            repr(axis.name),
            fix="Give one of them another name.",
        )
    with named_axes(*manual.named()):
        mapped, consts, out_dims = batch_jaxpr(params["jaxpr"], axis, tuple(dims))
    in_specs = _wider(params["in_specs"], dims)
    out_specs = _wider(params["out_specs"], out_dims)
    around = [one.name for one in state.axes if one.mesh is not None]
    along = tuple(n for n in axis.spmd if n in manual.mesh.axis_names and n not in around)
    if along:
        # What lies along axes that the program does not use is the compiler's business.
        used = mapped.axis_names.union(*[spec.axes() for spec in (*in_specs, *out_specs)])
        if taken := [name for name in along if name in used]:
            raise errors.ArgumentError(
                "vmap",
                f"spmd_axis_name of axes that the {params['name']} inside does not use",
                ", ".join(map(repr, taken)),
                fix="Map it along another axis of the mesh.",
            )
        manual = manual._replace(axes=tuple(n for n in manual.axes if n not in along))
        whole = _wider(params["in_specs"], dims, along)
        operands = [
            x if dim is None else _lying(x, NamedSharding(manual.mesh, spec))
            for x, dim, spec in zip(operands, dims, whole, strict=True)
        ]
    params = params | {
        "jaxpr": mapped,
        "manual": manual,
        "in_specs": (*_replicated(consts), *in_specs),
        "out_specs": out_specs,
    }
    return bind(manual_p, *consts, *operands, **params), out_dims


def _lying(x: Value, sharding: NamedSharding) -> Value:
    sharding.check_shape(x.aval.shape, "vmap")
    return bind(sharding_constraint_p, x, sharding=sharding)[0]


def _wider(specs: Specs, dims: Sequence[Dim], entry: Any = None) -> Specs:
    found: list[PartitionSpec] = []
    for spec, dim in zip(specs, dims, strict=True):
        if dim is not None:
            entries = [*spec, *[None] * (dim - len(spec))]
            spec = PartitionSpec(*entries[:dim], entry, *entries[dim:])
        found.append(spec)
    return tuple(found)


def _lower(
    b: Any,
    *operands: Any,
    jaxpr: Jaxpr,
    manual: Manual,
    in_specs: Specs,
    out_specs: Specs,
    name: str,
) -> Any:
    return b.manual_computation(
        operands,
        [NamedSharding(manual.mesh, spec) for spec in in_specs],
        [NamedSharding(manual.mesh, spec) for spec in out_specs],
        manual.mesh,
        manual.axes,
        jaxpr.in_avals,
        lambda *parts: b.lower_jaxpr(jaxpr, parts, name),
    )


def _axis_names(params: dict[str, Any]) -> frozenset[Any]:
    """Return the axes that the program inside takes from around it."""
    return params["jaxpr"].axis_names.difference(params["manual"].axes) or NO_AXES


manual_p = declare(
    "shard_map",
    abstract_eval=_abstract_eval,
    jvp=_jvp,
    transpose=_transpose,
    batch=_batch,
    lower=_lower,
    partial=_partial,
    axis_names=_axis_names,
    meshes=lambda params: (params["manual"].mesh,),
    lowers_keys=True,
)
