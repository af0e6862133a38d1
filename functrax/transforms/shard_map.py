"""`shard_map`: a function that each device runs on its own part of the arguments."""

import functools
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from functrax import errors
from functrax.core import tree
from functrax.core.trace import Tracer, Value, bind, named_axes, state, vary
from functrax.sharding.mesh import Mesh, current_mesh
from functrax.sharding.shardings import NamedSharding
from functrax.sharding.spec import PartitionSpec
from functrax.transforms.control.bodies import trace_body
from functrax.transforms.flat import (
    argument_names,
    argument_values,
    as_array,
    check_callable,
    function_name,
    path_of,
    shown,
)
from functrax.transforms.manual import REPLICATED, Manual, Specs, manual_p
from functrax.transforms.traced import trace_function

CALL = "shard_map"


def shard_map(
    f: Callable[..., Any] | None = None,
    /,
    *,
    out_specs: Any,
    in_specs: Any = None,
    mesh: Mesh | None = None,
    axis_names: AbstractSet[Any] = frozenset(),
    check_vma: bool = True,
    check: bool | None = None,
) -> Any:
    """Map a function over the parts of its arguments: each device runs it on what it holds.

    Inside, collectives such as `lax.psum` work along the axes of the mesh by name. Types say along
    which axes a value may differ between devices (printed as ``f32[4]{x}``), so that gradients are
    those of the whole computation: that of a replicated value is summed over the devices.

    Args:
        f: a function of pytrees of arrays. Without it, a decorator is returned.
        out_specs: how parts of the results are put together: a `PartitionSpec`, or a tree prefix of
            these. Along axes that a spec does not mention all devices must have the same result.
        in_specs: how arguments are divided: a `PartitionSpec`, or a tree prefix of the tuple of
            arguments. None takes arrays as their own shardings divide them.
        mesh: the devices; by default those of the `shard_map` around it, or the mesh of `set_mesh`.
        axis_names: the axes along which f sees its own part; all by default. The others are left to
            the compiler.
        check_vma: False leaves out the types of what varies: results are believed to be replicated
            where out_specs say so, and gradients through collectives are JAX's without its check.
        check: another name of check_vma.

    Returns:
        A function of whole arrays that returns whole arrays.

    Raises:
        ArgumentError: without a mesh, for an axis that the mesh does not have, or a result that may
            differ along an axis that its spec does not mention, naming it and the line.
        ShapeError: for an argument that is not divisible.
        TreeError: if specs are not a prefix.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> from functrax.sharding import Mesh, PartitionSpec as P
        >>> mesh = Mesh(functrax.devices("cpu")[:1], "x")
        >>> total = lambda x: functrax.lax.psum(x.sum(), "x")
        >>> functrax.shard_map(total, mesh=mesh, in_specs=P("x"), out_specs=P())(jnp.arange(4))
        Array(6, dtype=int32)
    """
    if f is None:
        return functools.partial(
            shard_map,
            out_specs=out_specs,
            in_specs=in_specs,
            mesh=mesh,
            axis_names=axis_names,
            check_vma=check_vma,
            check=check,
        )
    check_callable(f, CALL)
    function, is_checked = f, check_vma if check is None else check

    @functools.wraps(function)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        try:
            if kwargs:
                raise errors.ArgumentError(
                    CALL,
                    f"positional arguments of {function_name(function)!r}, which in_specs describe",
                    f"the keyword {next(iter(kwargs))!r}",
                    fix="Pass it by position, or bind it with `functools.partial`.",
                )
            manual = _manual(mesh, axis_names, is_checked)
            leaves, in_tree = tree.flatten((args, {}))
            names = lambda: argument_names(function, in_tree)  # noqa: E731
            values = argument_values(CALL, leaves, names)
            specs = _in_specs(in_specs, args, values)
            results, out_tree = run_manual(function, manual, values, in_tree, specs, out_specs)
            return out_tree.unflatten(map(as_array, results))
        except Exception as error:
            raise errors.filter_traceback(error) from error.__cause__

    return mapped


def _manual(mesh: Mesh | None, axis_names: AbstractSet[Any], check: bool) -> Manual:
    """Return the axes that a call maps.

    Raises:
        ArgumentError: without a mesh, for an axis that it lacks, or one that is mapped already.
    """
    around = [axis.name for axis in state.axes if axis.mesh is not None]
    if mesh is None:
        meshes = [axis.mesh for axis in state.axes if axis.mesh is not None]
        mesh = meshes[-1] if meshes else current_mesh()
    if not isinstance(mesh, Mesh):
        raise errors.ArgumentError(
            CALL,
            "a mesh",
            shown(mesh),
            fix="Pass `mesh=`, or call it inside `with set_mesh(mesh):`.",
        )
    other = next((one for one in state.axes if one.mesh not in (None, mesh)), None)
    if other is not None:
        raise errors.ArgumentError(
            CALL,
            f"the mesh of what is mapped around it, {other.mesh!r}",
            f"{mesh!r}",
            fix="Leave out `mesh`, and map axes that are left by `axis_names`.",
        )
    if around and not set(mesh.axis_names).difference(around):
        raise errors.ArgumentError(
            CALL,
            f"an axis of {mesh!r} that is not mapped around it already",
            f"none: {', '.join(map(repr, around))} are",
            fix="Name fewer in the `axis_names` of the outer one, or call the function itself.",
        )
    wanted = set(axis_names) or set(mesh.axis_names).difference(around)
    for name in wanted:
        if name not in mesh.axis_names:
            raise errors.ArgumentError(CALL, f"axis_names of {mesh!r}", repr(name))
        if name in around:
            raise errors.ArgumentError(
                CALL,
                "axes that no shard_map around it maps",
                repr(name),
                fix=f"Axes left: {sorted(set(mesh.axis_names).difference(around), key=str)}.",
            )
    return Manual(mesh, tuple(name for name in mesh.axis_names if name in wanted), check)


def _in_specs(in_specs: Any, args: tuple[Any, ...], values: Sequence[Value]) -> Specs:
    if in_specs is None:
        shardings = [getattr(x, "sharding", None) for x in values]
        specs = [s.spec if isinstance(s, NamedSharding) else REPLICATED for s in shardings]
        return tuple(specs)
    if isinstance(in_specs, PartitionSpec):
        return (in_specs,) * len(values)
    prefix = tuple(in_specs) if isinstance(in_specs, list) else in_specs
    return _checked_specs(tree.broadcast_prefix(prefix, args, tree.is_none, CALL, "in_specs"))


def _checked_specs(specs: Sequence[Any]) -> Specs:
    for spec in specs:
        if spec is not None and not isinstance(spec, PartitionSpec):
            raise errors.ArgumentError(CALL, "specs that are PartitionSpec", shown(spec))
    return tuple(REPLICATED if spec is None else spec for spec in specs)


def run_manual(
    function: Callable[..., Any],
    manual: Manual,
    values: Sequence[Value],
    in_tree: Any,
    in_specs: Specs,
    out_specs: Any,
    call: str = CALL,
) -> tuple[list[Value], Any]:
    """Trace a function at the types of the parts of its arguments, and bind it.

    Args:
        function: of pytrees of parts.
        manual: the axes along which it sees parts.
        values: the leaves of its arguments, whole.
        in_tree: their structure.
        in_specs: how each is divided.
        out_specs: a tree prefix of how results are put together, or a function that returns a spec
            for each leaf of their structure once it is known.
        call: the user's transform, for messages.

    Returns:
        The leaves of the result and its structure.
    """
    names = lambda index: argument_names(function, in_tree)[index]  # noqa: E731
    avals = [
        _part(manual, x, spec, call, functools.partial(names, i))
        for i, (x, spec) in enumerate(zip(values, in_specs, strict=True))
    ]

    def fit(out_tree: Any, results: list[Value]) -> list[Value]:
        specs = _flat_specs(out_specs, out_tree, call)
        return [
            _result(manual, x, spec, call, function, path_of(out_tree, i))
            for i, (x, spec) in enumerate(zip(results, specs, strict=True))
        ]

    with named_axes(*manual.named()):
        if callable(out_specs):
            body = trace_function(function, in_tree, avals, call=call, fit=fit)
        else:
            key = (manual, in_specs, _key_of(out_specs))
            body = trace_body(call, function, in_tree, avals, fit, key)
    results = bind(
        manual_p,
        *body.consts,
        *values,
        jaxpr=body.jaxpr,
        manual=manual,
        in_specs=(REPLICATED,) * len(body.consts) + in_specs,
        out_specs=_flat_specs(out_specs, body.out_tree, call),
        name=call,
    )
    return results, body.out_tree


def _flat_specs(out_specs: Any, out_tree: Any, call: str) -> Specs:
    if callable(out_specs):
        later: Any = out_specs
        return later(out_tree)
    if isinstance(out_specs, PartitionSpec):
        return (out_specs,) * out_tree.num_leaves
    whole = tree.results_of(out_tree)
    return _checked_specs(tree.broadcast_prefix(out_specs, whole, tree.is_none, call, "out_specs"))


def _key_of(out_specs: Any) -> Any:
    leaves, structure = tree.flatten(out_specs, tree.is_none)
    return structure, tuple(leaves)


def _part(manual: Manual, x: Value, spec: PartitionSpec, call: str, name: Callable[[], str]) -> Any:
    """Return the type of the part of an argument that a device sees.

    Raises:
        ArgumentError: for a spec with an axis that is not mapped.
        ShapeError: if it is not divisible.
    """
    for axis in spec.axes():
        if axis not in manual.axes:
            raise errors.ArgumentError(
                call,
                f"specs with the mapped axes {manual.axes}",
                f"{spec!r} for argument `{name()}`",
            )
    sharding = NamedSharding(manual.mesh, spec)
    parts = sharding.parts(x.aval.ndim) if len(spec) <= x.aval.ndim else (0,)
    if 0 in parts or any(size % n for size, n in zip(x.aval.shape, parts, strict=True)):
        sharding.check_shape(x.aval.shape, call, f"argument `{name()}`")
    return manual.part(x.aval, spec)


def _result(
    manual: Manual,
    x: Value,
    spec: PartitionSpec,
    call: str,
    function: Callable[..., Any],
    path: str,
) -> Value:
    """Check a result against its spec, and return it varying along the axes that divide it.

    Raises:
        ShapeError: for more entries than dimensions.
        ArgumentError: if it may differ where its spec says that it does not, or names another axis.
    """
    what = f"the result{path} of {function_name(function)!r}"
    if len(spec) > x.aval.ndim:
        got = f"{spec!r} for {x.aval!r}"
        raise errors.ShapeError(call, f"out_specs with at most {x.aval.ndim} entries: {what}", got)
    for axis in spec.axes():
        if axis not in manual.axes:
            expected = f"out_specs with the mapped axes {manual.axes}"
            raise errors.ArgumentError(call, expected, f"{spec!r} for {what}")
    if not manual.check:
        return x
    loose = [name for name in manual.unmentioned(spec) if name in x.aval.varying]
    if loose:
        made = x.origin() if isinstance(x, Tracer) else ""
        axes = ", ".join(map(repr, loose))
        if call != CALL:
            raise errors.AxesError(
                call,
                f"{what} to be the same on all devices, as its None in out_axes says",
                f"{x.aval!r}" + (f" made at {made}" if made else ""),
                fix="Reduce it (`lax.psum`), or give its axis in out_axes.",
            )
        raise errors.ArgumentError(
            call,
            f"{what} to be the same along {axes}, which its spec {spec!r} does not mention",
            f"{x.aval!r}"
            + (f" made at {made}" if made else "")
            + f", which may differ along {axes}",
            fix=f"Reduce it (`lax.psum(x, {loose[0]!r})`), mention the axis in out_specs, or pass "
            "`check_vma=False` if you know better.",
        )
    return vary(x, frozenset(spec.axes()))
