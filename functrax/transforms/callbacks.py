"""Calls of Python functions from inside of programs: `pure_callback`, `io_callback` and
`debug_callback`.

Outside of `jit` they are called at once. In a program each is one equation with the function as a
parameter; what it returns is checked against the types that the program was compiled for.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from functrax import errors
from functrax.core import dtypes, tree
from functrax.core.config import config
from functrax.core.jaxpr import NO_EFFECTS
from functrax.core.primitive import BatchAxis, Refusal, Rule, declare, registry
from functrax.core.trace import VALUES, Value, as_value, bind
from functrax.core.types import ShapedArray
from functrax.lowering.order import ORDER
from functrax.primitives.keys import random_unwrap
from functrax.primitives.rules import Dim, Tangent
from functrax.runtime.array import DeviceArray, put_numpy
from functrax.runtime.devices import Device, default_backend, default_device
from functrax.runtime.dispatch import check_operands
from functrax.sharding.shardings import SingleDeviceSharding
from functrax.transforms.flat import abstractify, check_callable, function_name, path_of, shown
from functrax.transforms.lanes import (
    check_vmap_method,
    lane_by_lane,
    map_by_method,
    stacked_types,
)
from functrax.xla.callbacks import checked_results, host_function


class HostCall:
    """A user's function of pytrees as one of arrays; the parameter of an equation.

    Args:
        function: gets NumPy arrays in the structure of the arguments.
        in_tree: the structure of ``(args, kwargs)``.
        static: the leaves of it that are not arrays, by position.
        out_tree: the structure that it must return, or None if what it returns is ignored.
        call: what the user called.
    """

    __slots__ = ("__name__", "call", "function", "in_tree", "out_tree", "static")

    def __init__(
        self,
        function: Callable[..., Any],
        in_tree: Any,
        static: dict[int, Any],
        out_tree: Any,
        call: str,
    ) -> None:
        """Keep everything."""
        self.__name__ = function_name(function)
        self.function = function
        self.in_tree = in_tree
        self.static = static
        self.out_tree = out_tree
        self.call = call

    def __call__(self, *arrays: Any) -> list[Any]:
        """Call the function and return the leaves of its result."""
        dynamic = iter(arrays)
        count = len(arrays) + len(self.static)
        leaves = [self.static[i] if i in self.static else next(dynamic) for i in range(count)]
        args, kwargs = self.in_tree.unflatten(leaves)
        if default_backend() == "cpu":
            result = self.function(*args, **kwargs)
        else:  # the device waits for this function, so what it computes is computed elsewhere
            with config.scope(default_device="cpu"):
                result = self.function(*args, **kwargs)
        if self.out_tree is None:
            return []
        results, out_tree = tree.flatten(result)
        if out_tree != self.out_tree:
            raise errors.TreeError(
                self.call,
                f"{self.__name__!r} to return the structure {self.out_tree}",
                f"{out_tree}",
                fix="Return what its result_shape_dtypes say.",
            )
        return results


# The primitives -----------------------------------------------------------------------------------


def _abstract_eval(
    *_: ShapedArray, out_types: tuple[ShapedArray, ...], threaded: bool = False, **__: Any
) -> tuple[ShapedArray, ...]:
    return (ORDER, *out_types) if threaded else out_types


def _evaluate(
    *operands: Any, host: HostCall, out_types: tuple[ShapedArray, ...], **_: Any
) -> list[Value]:
    """Call the function now."""
    check_operands(operands)
    placed = [x for x in operands if type(x) is DeviceArray and type(x.device) is Device]
    device = placed[0].device if placed else default_device()
    committed = any(x.committed for x in placed)
    results = host(*[x.numpy() for x in operands])
    arrays = checked_results(results, [(a.shape, a.dtype) for a in out_types], host.call)
    return [
        put_numpy(value, aval, device, committed)
        for value, aval in zip(arrays, out_types, strict=True)
    ]


def _lower(
    b: Any,
    *operands: Any,
    host: HostCall,
    out_types: tuple[ShapedArray, ...],
    threaded: bool = False,
    **params: Any,
) -> list[Any]:
    """Call the function; in order, behind a boolean that it passes on."""
    types = [(aval.shape, aval.dtype) for aval in out_types]
    function = host
    if threaded:
        types = [(ORDER.shape, ORDER.dtype), *types]
        function = lambda order, *arrays: [order, *host(*arrays)]  # noqa: E731
    return b.host_call(
        host_function(function, types, host.call),
        operands,
        has_side_effect="vmap_method" not in params,
        call=host.call,
        **{key: params[key] for key in ("device", "partitioned") if key in params},
    )


def _recorded(name: str) -> Rule:
    """Record the call: what it returns is known when all operands are."""
    return lambda trace, operands, _, params: trace.record(registry[name], operands, params)


def _pure_batch(
    axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any
) -> Any:
    """Map by the user's choice of `vmap_method`."""
    return map_by_method(
        params["vmap_method"],
        axis,
        operands,
        dims,
        f"pure_callback of {params['host'].__name__!r}",
        lambda *row: bind(pure_callback_p, *row, **params),
        lambda *all_rows: bind(
            pure_callback_p,
            *all_rows,
            **{**params, "out_types": stacked_types(axis, params["out_types"])},
        ),
    )


def _effect_batch(name: str) -> Rule:
    """Map: once for each lane."""

    def batch(
        axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any
    ) -> Any:
        if params["ordered"]:
            raise errors.MissingRuleError(
                "vmap",
                f"{params['host'].call} without `ordered=True`: lanes have no order",
                f"one of {params['host'].__name__!r}",
                fix="Call it without `ordered=True`, or outside of `vmap`.",
            )
        called = lambda *row: bind(registry[name], *row, **params)  # noqa: E731
        return lane_by_lane(axis, operands, dims, called)

    return batch


def _debug_jvp(primals: Sequence[Value], tangents: Sequence[Tangent], **params: Any) -> Any:
    """See the primals; there is nothing to differentiate."""
    bind(debug_callback_p, *primals, **params)
    return [], []


def _debug_transpose(cotangents: Sequence[Tangent], *operands: Any, **_: Any) -> list[Tangent]:
    """Nothing flows back."""
    return [None] * len(operands)


_NO_DERIVATIVE = Refusal(
    "unknown",
    "What a Python function computes has no derivative: give it one with `custom_jvp` or "
    "`custom_vjp`, or stop gradients in front of it.",
)


def _effects(kind: str) -> Callable[[dict[str, Any]], frozenset[str]]:
    plain, ordered = frozenset({kind}), frozenset({kind, "ordered"})
    return lambda params: ordered if params["ordered"] else plain


pure_callback_p = declare(
    "pure_callback",
    abstract_eval=_abstract_eval,
    jvp=_NO_DERIVATIVE,
    transpose=_NO_DERIVATIVE,
    batch=_pure_batch,
    lower=_lower,
    partial=_recorded("pure_callback"),
    evaluate=_evaluate,
    effects=lambda params: NO_EFFECTS,
)
io_callback_p = declare(
    "io_callback",
    abstract_eval=_abstract_eval,
    jvp=_NO_DERIVATIVE,
    transpose=_NO_DERIVATIVE,
    batch=_effect_batch("io_callback"),
    lower=_lower,
    partial=_recorded("io_callback"),
    evaluate=_evaluate,
    effects=_effects("io"),
)
debug_callback_p = declare(
    "debug_callback",
    abstract_eval=_abstract_eval,
    jvp=_debug_jvp,
    transpose=_debug_transpose,
    batch=_effect_batch("debug_callback"),
    lower=_lower,
    partial=_recorded("debug_callback"),
    evaluate=_evaluate,
    effects=_effects("debug"),
)

# The functions ------------------------------------------------------------------------------------


def _flat_call(
    call: str,
    function: Callable[..., Any],
    args: Any,
    kwargs: Any,
    out_tree: Any,
    may_be_static: bool,
) -> tuple[HostCall, list[Value]]:
    """Separate arrays from what else is among the arguments.

    Raises:
        ArgumentError: for other things than arrays, where they are not allowed.
        KeyTypeError: for PRNG keys, except to look at: Python has no such arrays.
    """
    check_callable(function, call)
    leaves, in_tree = tree.flatten((args, kwargs))
    static: dict[int, Any] = {}
    values: list[Value] = []
    for index, leaf in enumerate(leaves):
        is_array = isinstance(leaf, VALUES) or hasattr(leaf, "__array__")
        if may_be_static and not is_array and not isinstance(leaf, bool | int | float | complex):
            static[index] = leaf
            continue
        try:
            value = as_value(leaf, call)
        except errors.IntegerOverflowError:
            raise
        except errors.FunctraxError as error:
            raise errors.ArgumentError(
                call,
                f"argument{path_of(in_tree, index)} of {function_name(function)!r} to be an array",
                shown(leaf),
                fix="Let the function close over it.",
            ) from error
        if dtypes.is_extended(value.aval.dtype):
            if not may_be_static:
                raise errors.KeyTypeError(
                    call, "arrays of numbers", f"{value.aval!r}", fix="Pass `random.key_data(key)`."
                )
            value = random_unwrap(value)
        values.append(value)
    return HostCall(function, in_tree, static, out_tree, call), values


def result_types(call: str, result_shape_dtypes: Any) -> tuple[tuple[ShapedArray, ...], Any]:
    """Return the types and the structure of results that the user declares."""
    leaves, out_tree = tree.flatten(result_shape_dtypes)
    types = tuple(abstractify(leaf, call).strong() for leaf in leaves)
    for aval in types:
        if dtypes.is_extended(aval.dtype):
            raise errors.KeyTypeError(
                call, "results that are numbers", f"{aval!r}", fix="Return the key's words."
            )
    return types, out_tree


def pure_callback(
    callback: Callable[..., Any],
    result_shape_dtypes: Any,
    *args: Any,
    sharding: Any = None,
    vmap_method: str | None = None,
    **kwargs: Any,
) -> Any:
    """Call a Python function that does nothing but compute, from inside of a program.

    It may be called more than once, or never, if nobody uses what it returns. It may use functrax.

    Args:
        callback: gets read-only NumPy arrays in the structure of the arguments, and returns arrays.
        result_shape_dtypes: pytree of `ShapeDtypeStruct` or arrays: what it returns.
        *args: pytrees of arrays.
        sharding: a `SingleDeviceSharding`: a program over several devices calls once, with whole
            values, in the process of this one. Inside of `shard_map` and `pmap` each device calls.
        vmap_method: what `vmap` does. ``"sequential"``: a loop, one call per lane;
            ``"sequential_unrolled"``: one call after another; ``"expand_dims"``: one call, in which
            mapped arguments and all results have a leading axis, and the other arguments one of
            size 1; ``"broadcast_all"``: the same with all leading axes of full size. None refuses.
        **kwargs: pytrees of arrays.

    Returns:
        What the function returns, as arrays.

    Raises:
        TreeError, ShapeError, DtypeError: if the function returns something else than it should;
            raised when the program runs. Its own exceptions come as they are.
        MissingRuleError: for derivatives, and `vmap` without a method.

    Example:
        >>> import functrax, numpy as np
        >>> def f(x):
        ...     return functrax.pure_callback(np.sinc, x, x, vmap_method="expand_dims")
        >>> functrax.jit(f)(functrax.numpy.float32(0.5))
        Array(0.63661975, dtype=float32)
    """
    on = _calling_device("pure_callback", sharding)
    check_vmap_method("pure_callback", vmap_method)
    types, out_tree = result_types("pure_callback", result_shape_dtypes)
    host, values = _flat_call("pure_callback", callback, args, kwargs, out_tree, False)
    options = {"host": host, "out_types": types, "vmap_method": vmap_method, **on}
    results = bind(pure_callback_p, *values, **options)
    return out_tree.unflatten(results)


def io_callback(
    callback: Callable[..., Any],
    result_shape_dtypes: Any,
    *args: Any,
    sharding: Any = None,
    ordered: bool = False,
    **kwargs: Any,
) -> Any:
    """Call a Python function that does something, from inside of a program: once each time.

    Args:
        callback: gets read-only NumPy arrays in the structure of the arguments, and returns arrays.
        result_shape_dtypes: pytree of `ShapeDtypeStruct` or arrays: what it returns; may be None.
        *args: pytrees of arrays.
        sharding: a `SingleDeviceSharding`: a program over several devices calls once, with whole
            values, in the process of this one. Inside of `shard_map` and `pmap` each device calls.
        ordered: whether calls happen in the order in which the program says them. `vmap` refuses
            it.
        **kwargs: pytrees of arrays.

    Returns:
        What the function returns, as arrays. Under `vmap` it is called once for each lane.

    Raises:
        TreeError, ShapeError, DtypeError: if the function returns something else than it should;
            raised when the program runs. Its own exceptions come as they are.
        MissingRuleError: for derivatives, and for `vmap` of ordered calls.

    Example:
        >>> import functrax
        >>> from functrax.experimental import io_callback
        >>> seen = []
        >>> f = functrax.jit(lambda x: io_callback(lambda y: seen.append(float(y)), None, x))
        >>> f(1.5)
        >>> seen
        [1.5]
    """
    on = _calling_device("io_callback", sharding)
    types, out_tree = result_types("io_callback", result_shape_dtypes)
    host, values = _flat_call("io_callback", callback, args, kwargs, out_tree, False)
    options = {"host": host, "out_types": types, "ordered": bool(ordered), **on}
    results = bind(io_callback_p, *values, **options)
    return out_tree.unflatten(results)


def debug_callback(
    callback: Callable[..., Any] | None = None,
    *args: Any,
    ordered: bool = False,
    partitioned: bool = False,
    **kwargs: Any,
) -> Callable[..., Any] | None:
    """Call a Python function to look at values inside of a program; what it returns is ignored.

    It changes nothing: derivatives pass by, `vmap` calls it for each lane, and a part of a program
    that is not needed but for it stays.

    Args:
        callback: gets read-only NumPy arrays, and anything that is not an array as it is. Arrays
            of PRNG keys arrive as their words. Without one, a function is returned that takes it.
        *args: pytrees.
        ordered: whether calls happen in the order in which the program says them.
        partitioned: whether each device calls with its own part, as it does inside of `shard_map`
            and `pmap`; elsewhere in a program over several devices that is an error.
        **kwargs: pytrees.

    Raises:
        MissingRuleError: for `vmap` of ordered calls.

    Example:
        >>> import functrax
        >>> @functrax.jit
        ... def f(x):
        ...     functrax.debug.callback(lambda y: print("seen", y), x)
        ...     return x * 2
        >>> _ = f(1.5)
        seen 1.5
    """
    if callback is None:
        return functools.partial(debug_callback, ordered=ordered, partitioned=partitioned)
    host, values = _flat_call("debug.callback", callback, args, kwargs, None, True)
    options = {"host": host, "out_types": (), "ordered": bool(ordered)}
    bind(debug_callback_p, *values, **options, **({"partitioned": True} if partitioned else {}))
    return None


def effects_barrier() -> None:
    """Wait until the effects of programs have happened; for JAX's users, as there is no need.

    A call of a program that calls Python functions returns when the program has ended.

    Example:
        >>> import functrax
        >>> functrax.jit(lambda x: functrax.debug.print("x is {}", x))(3.0)
        x is 3.0
        >>> functrax.effects_barrier()
    """


def _calling_device(call: str, sharding: Any) -> dict[str, Device]:
    """Return the parameter that says which device calls, if the user does.

    Raises:
        ArgumentError: for another kind of sharding.
    """
    if sharding is None:
        return {}
    if not isinstance(sharding, SingleDeviceSharding):
        fix = "Call it inside of `shard_map` for each device to call with its part."
        raise errors.ArgumentError(
            call, "sharding as a SingleDeviceSharding", shown(sharding), fix=fix
        )
    return {"device": sharding.device}
