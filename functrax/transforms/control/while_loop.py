"""`while_loop`: a loop that ends when its condition says so.

Operands are what the condition captured, what the body captured, and the carry's start; results are
the last carry. Its reverse mode is in `while_reverse`.
"""

from collections.abc import Callable, Sequence
from typing import Any

from functrax import errors
from functrax.core import dtypes, tree
from functrax.core.config import config
from functrax.core.jaxpr import Jaxpr, eval_jaxpr, program_cache
from functrax.core.primitive import BatchAxis, declare, registry
from functrax.core.trace import Value, as_value, bind, diverging, vary
from functrax.core.types import NO_AXES, ShapedArray, short_types
from functrax.primitives.rules import Dim, Tangent, move_batch_axis, zeros
from functrax.transforms.batch import batch_jaxpr
from functrax.transforms.calls import place_of
from functrax.transforms.control.bodies import (
    check_divergent,
    check_structure,
    int32,
    is_known,
    of_lanes,
    operands_of,
    physical,
    reordered,
    split_at,
    spread,
    trace_body,
    trace_carrying,
)
from functrax.transforms.control.prune import prune_while
from functrax.transforms.control.trim import bind_loop
from functrax.transforms.control.while_reverse import partial_while, transpose_while
from functrax.transforms.flat import as_array, check_callable, function_name
from functrax.transforms.jvp import jvp_jaxpr
from functrax.transforms.stage import stage_open


def _abstract_eval(
    *avals: ShapedArray,
    cond: Jaxpr,
    body: Jaxpr,
    num_cond_consts: int,
    max_steps: int | None = None,
) -> tuple[ShapedArray, ...]:
    count = len(cond.invars) - num_cond_consts
    carry = body.in_avals[len(body.invars) - count :]
    expected = [*cond.in_avals[:num_cond_consts], *body.in_avals]
    if [aval.strong() for aval in avals] != [aval.strong() for aval in expected]:
        raise errors.JaxprError(
            "while", f"operands of types ({short_types(expected)})", f"({short_types(avals)})"
        )
    return carry


def _split(items: Sequence[Any], params: dict[str, Any]) -> list[Sequence[Any]]:
    """Split what there is one of per operand into condition's and body's consts, and carry."""
    carry = len(params["cond"].invars) - params["num_cond_consts"]
    return split_at(items, params["num_cond_consts"], len(params["body"].invars) - carry)


# Forward mode -------------------------------------------------------------------------------------


@program_cache
def _pushed(
    cond: Jaxpr, body: Jaxpr, num_cond_consts: int, nonzero: tuple[bool, ...]
) -> tuple[Jaxpr, Jaxpr, list[Value], tuple[bool, ...]]:
    """Push the body forward: ``(consts, tangents | carry, tangents)``; the condition looks at the
    primals alone.
    """
    carry = len(cond.invars) - num_cond_consts
    consts = len(body.invars) - carry
    consts_nz, carry_nz = nonzero[:consts], nonzero[consts:]
    while True:
        pushed, captured, out_nz = jvp_jaxpr(body, (*consts_nz, *carry_nz), carry_nz)
        if out_nz == carry_nz:
            break
        carry_nz = tuple(a or b for a, b in zip(carry_nz, out_nz, strict=True))
    new, total = len(captured), len(body.invars)
    tangents = range(new + total, len(pushed.invars))
    order = [
        *range(new + consts),
        *tangents[: sum(consts_nz)],
        *range(new + consts, new + total),
        *tangents[sum(consts_nz) :],
    ]

    def running(*values: Value) -> list[Value]:
        return eval_jaxpr(cond, (), *values[: len(cond.invars)])

    carry_avals = body.in_avals[consts:]
    carry_t = [a for a, has in zip(carry_avals, carry_nz, strict=True) if has]
    condition, _ = stage_open(running, [*cond.in_avals, *carry_t], name=cond.name)
    return condition, reordered(pushed, order), captured, carry_nz


def _jvp(primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any) -> Any:
    """Push the body forward; the carry is a pair wherever a tangent reaches it."""
    count = params["num_cond_consts"]
    nonzero = tuple(t is not None for t in tangents[count:])
    cond, body, captured, carry_nz = _pushed(params["cond"], params["body"], count, nonzero)
    cond_consts, consts, carry = _split(primals, params)
    _, consts_t, carry_t = _split(tangents, params)
    given = [t for t in consts_t if t is not None]
    pairs = [
        zeros(x.aval) if t is None else t
        for x, t, has in zip(carry, carry_t, carry_nz, strict=True)
        if has
    ]
    operands = [*cond_consts, *captured, *consts, *given, *carry, *pairs]
    results = bind(while_p, *operands, **{**params, "cond": cond, "body": body})
    out_t = iter(results[len(carry) :])
    return results[: len(carry)], [next(out_t) if has else None for has in carry_nz]


# Mapping ------------------------------------------------------------------------------------------


def _batch(axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any) -> Any:
    """Map condition and body; with a mapped condition, lanes that have ended stand still.

    The loop goes on while any lane does. In a step, a lane that has ended computes on the carry of
    one that has not, so that nothing happens there that would not happen anyway, and keeps its own.
    """
    cond, body = params["cond"], params["body"]
    cond_consts, consts, carry = _split(operands, params)
    cond_d, consts_d, carry_d = (tuple(part) for part in _split(dims, params))
    mapped = tuple(d is not None for d in carry_d)
    while True:
        carried = tuple(0 if m else None for m in mapped)
        step, captured, outs = batch_jaxpr(body, axis, (*consts_d, *carried), mapped)
        check, more, (pred_d,) = batch_jaxpr(cond, axis, (*cond_d, *carried), (False,))
        after = tuple(d is not None or pred_d is not None for d in outs)
        if after == mapped:
            break
        mapped = after
    carry = [
        move_batch_axis(axis, x, d) if m else x
        for x, d, m in zip(carry, carry_d, mapped, strict=True)
    ]
    cond_consts, consts = [*more, *cond_consts], [*captured, *consts]
    changed = {**params, "cond": check, "body": step, "num_cond_consts": len(cond_consts)}
    if pred_d is not None:
        lanes_apart = axis.name is None or axis.name not in body.axis_names | cond.axis_names
        changed["cond"], changed["body"] = _with_lanes(
            check, step, len(cond_consts), len(consts), lanes_apart
        )
        consts = [*cond_consts, *consts]
    results = bind(while_p, *cond_consts, *consts, *carry, **changed)
    return results, [0 if m else None for m in mapped]


@program_cache
def _with_lanes(
    cond: Jaxpr, body: Jaxpr, num_cond_consts: int, num_consts: int, lanes_apart: bool
) -> tuple[Jaxpr, Jaxpr]:
    """Return condition and body of a loop whose lanes end at different times."""

    def running(*values: Value) -> list[Value]:
        (goes_on,) = eval_jaxpr(cond, (), *values)
        return [bind(registry["reduce_or"], goes_on, axes=(0,))[0]]

    def step(*values: Value) -> list[Value]:
        cond_consts, consts, carry = split_at(values, num_cond_consts, num_consts)
        (goes_on,) = eval_jaxpr(cond, (), *cond_consts, *carry)
        given = [of_lanes(x, goes_on) for x in carry] if lanes_apart else carry
        after = eval_jaxpr(body, (), *consts, *given)
        return [
            bind(registry["select_n"], spread(goes_on, old.aval.shape), old, new)[0]
            for old, new in zip(carry, after, strict=True)
        ]

    check, _ = stage_open(running, cond.in_avals, name=cond.name)
    in_avals = [*cond.in_avals[:num_cond_consts], *body.in_avals]
    result, _ = stage_open(step, in_avals, name=body.name)
    return check, result


# Lowering -----------------------------------------------------------------------------------------


def _lower(
    b: Any, *operands: Any, cond: Jaxpr, body: Jaxpr, num_cond_consts: int, **_: Any
) -> list[Any]:
    """Write a `while`; captured values are used from outside of it."""
    params = {"cond": cond, "body": body, "num_cond_consts": num_cond_consts}
    cond_consts, consts, carry = _split(operands, params)
    types = [physical(aval) for aval in b.out_types]

    def running(*values: Any) -> list[Any]:
        return b.lower_jaxpr(cond, [*cond_consts, *values], cond.name or "cond")

    def step(*values: Any) -> list[Any]:
        return b.lower_jaxpr(body, [*consts, *values], body.name or "body")

    operation = b.multi_op("stablehlo.while", carry, types, regions=2)
    b.region(operation.regions[0], types, running)
    b.region(operation.regions[1], types, step)
    return list(operation.results)


while_p = declare(
    "while",
    abstract_eval=_abstract_eval,
    jvp=_jvp,
    transpose=transpose_while,
    batch=_batch,
    lower=_lower,
    partial=partial_while,
    prune=prune_while,
    axis_names=lambda params: params["cond"].axis_names | params["body"].axis_names,
    lowers_keys=True,
)

# The function -------------------------------------------------------------------------------------


def while_loop(
    cond_fun: Callable[[Any], Any],
    body_fun: Callable[[Any], Any],
    init_val: Any,
    *,
    max_steps: int | None = None,
) -> Any:
    """Loop while a condition holds: ``while cond_fun(val): val = body_fun(val)``.

    It differentiates in both modes, also when the number of steps is not known. Reverse mode needs
    the carry of every step, in reverse order: with `max_steps` they are all kept; without, a fixed
    number of them is, and the others are computed again, in O(n log n) steps for n of the loop.
    Reverse mode of reverse mode makes large programs; for second and higher derivatives, forward
    mode around it (`jacfwd` of `grad`, as in `hessian`) or `max_steps` compile much faster.

    Args:
        cond_fun: the carry -> boolean scalar.
        body_fun: the carry -> the carry, with the same structure, shapes and dtypes. Python numbers
            at the start take the dtype that the body returns.
        init_val: the carry at the start, a pytree of arrays.
        max_steps: the most steps that the loop takes, which it ends after.

    Returns:
        The last carry.

    Raises:
        TreeError, ShapeError, DtypeError: if the body changes the carry's structure or types, or
            the condition does not return a boolean scalar.

    Example:
        >>> import functrax
        >>> def root(a):  # Newton's iteration
        ...     ended = lambda x: abs(x * x - a) > 1e-6
        ...     return functrax.lax.while_loop(ended, lambda x: (x + a / x) / 2, a)
        >>> x, slope = functrax.value_and_grad(root)(4.0)
        >>> round(float(x), 4), round(float(slope), 4)
        (2.0, 0.25)

    Source: Stumm and Walther, "New algorithms for optimal online checkpointing", SIAM J. Sci.
    Comput. 32(2), 2010; Wang, Moin and Iaccarino, "Minimal repetition dynamic checkpointing
    algorithm for unsteady adjoint calculation", SIAM J. Sci. Comput. 31(4), 2009.
    """
    check_callable(cond_fun, "while_loop")
    check_callable(body_fun, "while_loop")
    if max_steps is not None and (isinstance(max_steps, bool) or not isinstance(max_steps, int)):
        raise errors.ArgumentError("while_loop", "max_steps as an int or None", repr(max_steps))
    if max_steps is not None and max_steps < 0:
        raise errors.ArgumentError("while_loop", "max_steps of at least 0", str(max_steps))
    if config.disable_jit:
        init_val, max_steps, ended = _in_python(cond_fun, body_fun, init_val, max_steps)
        if ended:
            return init_val
    carry, structure = operands_of("while_loop", "init_val", init_val)
    in_tree = tree.structure(((init_val,), {}))
    structured = lambda out_tree: check_structure(  # noqa: E731
        "while_loop", body_fun, "a carry", structure, out_tree
    )
    apart = NO_AXES
    while True:
        with diverging(apart):
            body, carry = trace_carrying(
                "while_loop", "the carry", body_fun, in_tree, structure, carry, structured
            )
            types = [x.aval for x in carry]
            truth = _truth(cond_fun)
            cond = trace_body("while_loop", cond_fun, in_tree, types, truth, key="truth")
        (decides,) = cond.jaxpr.out_avals
        if decides.varying <= apart:
            break
        apart = decides.varying
        carry = [vary(x, apart) for x in carry]  # each device takes steps of its own
    check_divergent("while_loop", decides, [cond.jaxpr, body.jaxpr])
    check, step, count = cond.jaxpr, body.jaxpr, len(cond.consts)
    if max_steps is not None:
        check, step = _bounded(check, step, count, max_steps)
        carry = [int32(0), *carry]
    results = bind_loop(
        "while_loop",
        while_p,
        *cond.consts,
        *body.consts,
        *carry,
        captured=count + len(body.consts),
        cond=check,
        body=step,
        num_cond_consts=count,
        max_steps=max_steps,
    )
    return structure.unflatten(results[len(carry) - len(types) :])


@program_cache
def _bounded(cond: Jaxpr, body: Jaxpr, num_cond_consts: int, max_steps: int) -> tuple[Jaxpr, Jaxpr]:
    """Return condition and body of the loop that counts its steps and ends after the last."""
    count = len(cond.invars) - num_cond_consts
    consts = len(body.invars) - count

    def running(*values: Value) -> list[Value]:
        own, (steps, *carry) = split_at(values, num_cond_consts)
        (goes_on,) = eval_jaxpr(cond, (), *own, *carry)
        (more,) = bind(registry["lt"], steps, int32(max_steps))
        return [bind(registry["and"], goes_on, more)[0]]

    def step(*values: Value) -> list[Value]:
        own, (steps, *carry) = split_at(values, consts)
        (after,) = bind(registry["add"], steps, int32(1))
        return [after, *eval_jaxpr(body, (), *own, *carry)]

    def counted(avals: Sequence[ShapedArray], place: int) -> list[ShapedArray]:
        return [*avals[:place], int32(0).aval, *avals[place:]]

    check, _ = stage_open(running, counted(cond.in_avals, num_cond_consts), name=cond.name)
    result, _ = stage_open(step, counted(body.in_avals, consts), name=body.name)
    return check, result


def _truth(cond_fun: Callable[..., Any]) -> Any:
    def fit(structure: Any, results: list[Value]) -> list[Value]:
        types = [x.aval for x in results]
        is_one = structure == tree.LEAF
        if not is_one or types[0].shape or not dtypes.is_bool(types[0].dtype):
            raise errors.ShapeError(
                "while_loop",
                f"{function_name(cond_fun)!r} to return one boolean scalar",
                short_types(types) if is_one else f"{structure}",
                where=place_of(cond_fun),
                fix="Reduce it with `.any()` or `.all()`, or compare it with something.",
            )
        return results

    return fit


def _in_python(
    cond_fun: Any, body_fun: Any, val: Any, max_steps: int | None
) -> tuple[Any, int | None, bool]:
    """Run the loop in Python, as `disable_jit` asks for, as long as the condition is known.

    Returns:
        The carry, the steps that are left, and whether the loop has ended.
    """
    while max_steps is None or max_steps > 0:
        leaves, structure = tree.flatten(cond_fun(val))
        values = [as_value(x, "while_loop") for x in leaves]
        (goes_on,) = _truth(cond_fun)(structure, values)
        if not is_known(goes_on):  # mapped or traced, perhaps not before some steps
            return val, max_steps, False
        if not bool(as_array(goes_on)):
            break
        val = body_fun(val)
        max_steps = None if max_steps is None else max_steps - 1
    return val, max_steps, True
