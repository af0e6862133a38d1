"""Derivatives for users: `jvp`, `linearize`, `vjp`, `linear_transpose`, `grad` and what is made of
them.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec

import numpy as np

from functrax import errors
from functrax.core import dtypes, tree
from functrax.core.jaxpr import eval_jaxpr
from functrax.core.primitive import BatchAxis
from functrax.core.trace import Array, Value, as_value, bind
from functrax.core.types import ShapedArray
from functrax.primitives.convert import convert_element_type
from functrax.primitives.elementwise import add, eq
from functrax.primitives.rules import full, has_tangent, move_batch_axis, zeros
from functrax.primitives.shape import iota_p, reshape
from functrax.primitives.slice import slice
from functrax.transforms.batch import batch_flat
from functrax.transforms.flat import (
    FlatFunction,
    abstractify,
    argument_names,
    as_array,
    check_callable,
    function_name,
)
from functrax.transforms.jvp import jvp_flat
from functrax.transforms.partial import linearize_flat, record_flat
from functrax.transforms.transpose import backward_pass

P = ParamSpec("P")

# Arguments and results ----------------------------------------------------------------------------


def _values(call: str, leaves: Sequence[Any]) -> list[Array]:
    return [as_array(as_value(x, call)) for x in leaves]


def _float0_zeros(aval: ShapedArray) -> Any:
    """The zero tangent of an integer or boolean value, as users see it."""
    return np.zeros(aval.shape, dtypes.float0)


class _WithAux:
    """A function whose result is (out, aux): flattens out, and keeps aux aside with its traced
    leaves replaced.
    """

    def __init__(
        self, function: Callable[..., Any], in_tree: Any, call: str, has_aux: bool
    ) -> None:
        self.flat = FlatFunction(self.run, in_tree, call)
        self.function = function
        self.has_aux = has_aux
        self.count = 0
        self.aux_tree: Any = None
        self.aux: list[Any] = []

    def run(self, *args: Any, **kwargs: Any) -> Any:
        result = self.function(*args, **kwargs)
        if not self.has_aux:
            return result
        if not (isinstance(result, tuple) and len(result) == 2):
            raise errors.ArgumentError(
                self.flat.call,
                f"{function_name(self.function)!r} to return a pair (output, aux), because "
                "has_aux=True",
                f"{type(result).__name__}",
            )
        out, aux = result
        self.aux, self.aux_tree = tree.flatten(aux)
        return out

    def __call__(self, *values: Value) -> list[Value]:
        results = self.flat(*values)
        self.count = len(results)
        return [*results, *(x for x in self.aux if isinstance(x, Array))]

    def aux_of(self, results: Sequence[Value]) -> Any:
        """Rebuild aux from the results behind the output's."""
        given = iter(results[self.count :])
        leaves = [as_array(next(given)) if isinstance(x, Array) else x for x in self.aux]
        return self.aux_tree.unflatten(leaves)

    def out_of(self, results: Sequence[Value]) -> Any:
        """Rebuild the output."""
        return self.flat.out_tree.unflatten([as_array(x) for x in results[: self.count]])


# Forward mode -------------------------------------------------------------------------------------


def jvp(
    fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False
) -> tuple[Any, ...]:
    """Evaluate a function and its directional derivative.

    Args:
        fun: a differentiable function of pytrees of arrays.
        primals: tuple of its arguments.
        tangents: tuple of the direction: the same trees, shapes and dtypes (float0 for integers).
        has_aux: whether `fun` returns ``(output, aux)``, with aux not differentiated.

    Returns:
        ``(output, tangent)``, or ``(output, tangent, aux)``.

    Raises:
        TreeError: if the trees differ; ShapeError, DtypeError: if a tangent does not fit its
            primal.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.jvp(lambda x: x**2, (3.0,), (1.0,))
        (Array(9., dtype=float32, weak_type=True), Array(6., dtype=float32, weak_type=True))
    """
    check_callable(fun, "jvp")
    if not isinstance(primals, tuple | list) or not isinstance(tangents, tuple | list):
        raise errors.ArgumentError(
            "jvp",
            "primals and tangents as tuples",
            f"{type(primals).__name__} and {type(tangents).__name__}",
        )
    leaves, in_tree = tree.flatten(tuple(primals))
    tangent_leaves, tangent_tree = tree.flatten(tuple(tangents))
    if in_tree != tangent_tree:
        raise errors.TreeError(
            "jvp", f"tangents of the primals' structure {in_tree}", f"{tangent_tree}"
        )
    values = _values("jvp", leaves)
    given = [_tangent(p, t) for p, t in zip(values, tangent_leaves, strict=True)]
    flat = _WithAux(fun, _call_tree(in_tree), "jvp", has_aux)
    results, tangents_out = jvp_flat(flat, values, given)
    dense = [
        _dense_tangent(r, t)
        for r, t in zip(results[: flat.count], tangents_out[: flat.count], strict=True)
    ]
    out = flat.out_of(results), flat.flat.out_tree.unflatten(dense)
    return (*out, flat.aux_of(results)) if has_aux else out


def _call_tree(args_tree: Any) -> Any:
    """Return the structure of ``(args, {})`` from that of args."""
    return tree.structure((tree.unflatten(args_tree, [0] * args_tree.num_leaves), {}))


def _tangent(primal: Value, tangent: Any) -> Value | None:
    """Check a tangent given by the user against its primal; None if it is a float0."""
    aval = primal.aval
    if not has_tangent(aval):
        if getattr(tangent, "dtype", None) != dtypes.float0:
            raise errors.DtypeError(
                "jvp",
                f"a tangent of dtype float0 for the primal {aval!r}",
                f"{getattr(tangent, 'dtype', type(tangent).__name__)}",
                fix="Differentiate with respect to floating-point arguments only, or pass "
                "`np.zeros(shape, float0)`.",
            )
        return None
    value = as_array(as_value(tangent, "jvp"))
    if value.aval.shape != aval.shape:
        raise errors.ShapeError(
            "jvp", f"a tangent of shape {aval.shape}", f"{value.aval!r} for the primal {aval!r}"
        )
    if value.aval.dtype != aval.dtype:
        raise errors.DtypeError(
            "jvp", f"a tangent of dtype {aval.dtype}", f"{value.aval!r} for the primal {aval!r}"
        )
    return value


def _dense_tangent(result: Value, tangent: Value | None) -> Any:
    if not has_tangent(result.aval):
        return _float0_zeros(result.aval)
    return as_array(zeros(result.aval) if tangent is None else tangent)


def linearize(fun: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """Evaluate a function and return its derivative there as a linear function.

    Args:
        fun: a differentiable function of pytrees of arrays.
        *primals: its arguments.
        has_aux: whether `fun` returns ``(output, aux)``.

    Returns:
        ``(output, f_jvp)`` (and aux): ``f_jvp(*tangents)`` gives the tangent of the output, without
        recomputing `fun`.

    Example:
        >>> import functrax
        >>> y, f_jvp = functrax.linearize(lambda x: x**2, 3.0)
        >>> float(f_jvp(1.0))
        6.0
    """
    check_callable(fun, "linearize")
    leaves, in_tree = tree.flatten(primals)
    values = _values("linearize", leaves)
    active = [has_tangent(x.aval) for x in values]
    flat = _WithAux(fun, _call_tree(in_tree), "linearize", has_aux)
    results, jaxpr, residuals, nonzero = linearize_flat(flat, values, active, name="linearize")
    out_avals = [r.aval for r in results[: flat.count]]

    def f_jvp(*tangents: Any) -> Any:
        tangent_leaves, tangent_tree = tree.flatten(tangents)
        if tangent_tree != in_tree:
            raise errors.TreeError(
                "linearize", f"tangents of the structure {in_tree}", f"{tangent_tree}"
            )
        given = [_tangent(p, t) for p, t in zip(values, tangent_leaves, strict=True)]
        pushed = iter(eval_jaxpr(jaxpr, residuals, *(t for t in given if t is not None)))
        dense = [
            as_array(next(pushed))
            if has
            else _float0_zeros(aval)
            if not has_tangent(aval)
            else as_array(zeros(aval))
            for has, aval in zip(nonzero, out_avals, strict=False)
        ]
        return flat.flat.out_tree.unflatten(dense)

    out = flat.out_of(results), f_jvp
    return (*out, flat.aux_of(results)) if has_aux else out


# Reverse mode -------------------------------------------------------------------------------------


class _Pullback:
    """The result of differentiating a function once: maps cotangents of its output to cotangents
    of its arguments.
    """

    def __init__(
        self, call: str, fun: Callable[..., Any], leaves: Sequence[Any], in_tree: Any, has_aux: bool
    ) -> None:
        self.call = call
        self.values = _values(call, leaves)
        self.active = [has_tangent(x.aval) for x in self.values]
        self.flat = _WithAux(fun, in_tree, call, has_aux)
        results, self.jaxpr, self.residuals, self.nonzero = linearize_flat(
            self.flat, self.values, self.active, name=call
        )
        self.results = results

    def pull(self, cotangents: Sequence[Value | None]) -> list[Any]:
        """Return one cotangent per argument leaf from one per output leaf."""
        given = [c for c, has in zip(cotangents, self.nonzero, strict=False) if has]
        given += [None] * (self.nonzero.count(True) - len(given))
        pulled = iter(backward_pass(self.jaxpr, self.residuals, given, self.call))
        return [next(pulled) if is_active else None for is_active in self.active]

    def dense(self, cotangents: Sequence[Value | None]) -> list[Any]:
        """Replace zero cotangents of arguments by arrays."""
        return [
            as_array(zeros(x.aval) if c is None else c) if is_active else _float0_zeros(x.aval)
            for x, c, is_active in zip(self.values, cotangents, self.active, strict=True)
        ]


def vjp(
    fun: Callable[..., Any], *primals: Any, has_aux: bool = False, reduce_axes: Sequence[Any] = ()
) -> Any:
    """Evaluate a function and return its pullback.

    Args:
        fun: a differentiable function of pytrees of arrays.
        *primals: its arguments.
        has_aux: whether `fun` returns ``(output, aux)``.
        reduce_axes: accepted for compatibility; must be empty.

    Returns:
        ``(output, vjpfun)`` (and aux): ``vjpfun(cotangent of the output)`` gives the tuple of
        cotangents of `primals`.

    Raises:
        TreeError, ShapeError, DtypeError: when `vjpfun` gets a cotangent that does not fit the
            output.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> y, pull = functrax.vjp(jnp.sin, 0.0)
        >>> [float(x) for x in pull(1.0)]
        [1.0]
    """
    check_callable(fun, "vjp")
    if reduce_axes:
        raise errors.ArgumentError("vjp", "reduce_axes=()", repr(reduce_axes))
    leaves, in_tree = tree.flatten(primals)
    pullback = _Pullback("vjp", fun, leaves, _call_tree(in_tree), has_aux)
    flat = pullback.flat
    out_tree = flat.flat.out_tree
    out_avals = [r.aval for r in pullback.results[: flat.count]]

    def vjpfun(cotangent: Any) -> Any:
        given, given_tree = tree.flatten(cotangent)
        if given_tree != out_tree:
            raise errors.TreeError(
                "vjp", f"a cotangent of the output's structure {out_tree}", f"{given_tree}"
            )
        checked = [_cotangent(aval, c) for aval, c in zip(out_avals, given, strict=True)]
        return in_tree.unflatten(pullback.dense(pullback.pull(checked)))

    out = flat.out_of(pullback.results), vjpfun
    return (*out, flat.aux_of(pullback.results)) if has_aux else out


def _cotangent(aval: ShapedArray, cotangent: Any) -> Value | None:
    if not has_tangent(aval):
        return None
    value = as_value(cotangent, "vjp")
    if value.aval.shape != aval.shape:
        raise errors.ShapeError(
            "vjp", f"a cotangent of shape {aval.shape}", f"{value.aval!r} for the output {aval!r}"
        )
    if value.aval.dtype != aval.dtype:
        raise errors.DtypeError(
            "vjp", f"a cotangent of dtype {aval.dtype}", f"{value.aval!r} for the output {aval!r}"
        )
    return value


def linear_transpose(
    fun: Callable[..., Any], *primals: Any, reduce_axes: Sequence[Any] = ()
) -> Callable[..., Any]:
    """Transpose a function that is promised to be linear.

    Args:
        fun: a linear function of pytrees of arrays.
        *primals: arguments, or `ShapeDtypeStruct`; only their types matter.
        reduce_axes: accepted for compatibility; must be empty.

    Returns:
        A function from a cotangent of the output to the tuple of cotangents of the arguments.

    Raises:
        MissingRuleError: if an operation in `fun` is not linear.

    Example:
        >>> import functrax
        >>> [float(x) for x in functrax.linear_transpose(lambda x: 3.0 * x, 1.0)(2.0)]
        [6.0]
    """
    check_callable(fun, "linear_transpose")
    leaves, in_tree = tree.flatten(primals)
    avals = [abstractify(x, "linear_transpose") for x in leaves]
    for aval in avals:
        if not has_tangent(aval):
            raise errors.DtypeError(
                "linear_transpose", "arguments of floating or complex dtype", repr(aval)
            )
    flat = FlatFunction(fun, _call_tree(in_tree), "linear_transpose")
    jaxpr, residuals, results = record_flat(flat, avals, name="linear_transpose")

    def transposed(cotangent: Any) -> Any:
        given, given_tree = tree.flatten(cotangent)
        if given_tree != flat.out_tree:
            raise errors.TreeError(
                "linear_transpose",
                f"a cotangent of the output's structure {flat.out_tree}",
                f"{given_tree}",
            )
        checked = [_cotangent(r.aval, c) for r, c in zip(results, given, strict=True)]
        pulled = backward_pass(jaxpr, residuals, checked, "linear_transpose")
        dense = [
            as_array(zeros(aval) if c is None else c) for aval, c in zip(avals, pulled, strict=True)
        ]
        return in_tree.unflatten(dense)

    return transposed


def value_and_grad(
    fun: Callable[P, Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    reduce_axes: Sequence[Any] = (),
) -> Callable[P, Any]:
    """Return a function that computes `fun` and its gradient.

    Args:
        fun: a function of pytrees of arrays that returns a real scalar.
        argnums: position or positions of the arguments to differentiate.
        has_aux: whether `fun` returns ``(output, aux)``.
        holomorphic: whether `fun` is complex-differentiable, with complex arguments and output.
        allow_int: whether integer arguments are taken; their gradient is float0.
        reduce_axes: accepted for compatibility; must be empty.

    Returns:
        A function of the same arguments that returns ``(value, gradient)``, or ``((value, aux),
        gradient)``.

    Raises:
        ArgumentError, DtypeError, ShapeError: if the output is not scalar or a dtype cannot be
            differentiated.

    Example:
        >>> import functrax
        >>> value, gradient = functrax.value_and_grad(lambda x: x**2)(3.0)
        >>> float(value), float(gradient)
        (9.0, 6.0)
    """
    return _gradient(
        "value_and_grad", fun, argnums, has_aux, holomorphic, allow_int, reduce_axes, True
    )


def grad(
    fun: Callable[P, Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
    reduce_axes: Sequence[Any] = (),
) -> Callable[P, Any]:
    """Return a function that computes the gradient of `fun`.

    Args:
        fun: a function of pytrees of arrays that returns a real scalar.
        argnums: position or positions of the arguments to differentiate.
        has_aux: whether `fun` returns ``(output, aux)``.
        holomorphic: whether `fun` is complex-differentiable, with complex arguments and output.
        allow_int: whether integer arguments are taken; their gradient is float0.
        reduce_axes: accepted for compatibility; must be empty.

    Returns:
        A function of the same arguments that returns the gradient, or ``(gradient, aux)``: a tree
        like the argument, or a tuple of them if `argnums` is a sequence.

    Raises:
        ArgumentError, DtypeError, ShapeError: if the output is not scalar or a dtype cannot be
            differentiated.

    Example:
        >>> import functrax
        >>> float(functrax.grad(lambda x: x**3)(2.0))
        12.0
    """
    return _gradient("grad", fun, argnums, has_aux, holomorphic, allow_int, reduce_axes, False)


def _gradient(
    call: str,
    fun: Callable[..., Any],
    argnums: int | Sequence[int],
    has_aux: bool,
    holomorphic: bool,
    allow_int: bool,
    reduce_axes: Sequence[Any],
    with_value: bool,
) -> Callable[..., Any]:
    check_callable(fun, call)
    if reduce_axes:
        raise errors.ArgumentError(call, "reduce_axes=()", repr(reduce_axes))
    numbers = _argnums(call, argnums)

    @functools.wraps(fun)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        try:
            chosen, rest = select_arguments(call, fun, numbers, args, kwargs)
            leaves, in_tree = tree.flatten((chosen, {}))
            pullback = _Pullback(call, rest, leaves, in_tree, has_aux)
            _check_inputs(call, fun, pullback.values, chosen, holomorphic, allow_int)
            one = _seed(call, fun, pullback, holomorphic)
            cotangents = pullback.dense(pullback.pull([one]))
        except Exception as error:
            raise errors.filter_traceback(error) from error.__cause__
        gradients = in_tree.unflatten(cotangents)[0]
        if isinstance(argnums, int):
            gradients = gradients[0]
        if not with_value:
            return (gradients, pullback.flat.aux_of(pullback.results)) if has_aux else gradients
        value = pullback.flat.out_of(pullback.results)
        return ((value, pullback.flat.aux_of(pullback.results)) if has_aux else value), gradients

    return gradient


def _argnums(call: str, argnums: int | Sequence[int]) -> tuple[int, ...]:
    try:
        several = argnums if isinstance(argnums, Sequence) else (argnums,)
        numbers = tuple(map(operator.index, several))
    except TypeError:
        raise errors.ArgumentError(
            call, "argnums as an int or a sequence of ints", repr(argnums)
        ) from None
    return numbers


def select_arguments(
    call: str,
    fun: Callable[..., Any],
    numbers: Sequence[int],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[tuple[Any, ...], Callable[..., Any]]:
    """Return the numbered arguments, and `fun` as a function of these alone.

    Raises:
        ArgumentError: if there are fewer arguments.
    """
    if any(not -len(args) <= n < len(args) for n in numbers):
        raise errors.ArgumentError(
            call,
            f"positional arguments for argnums={numbers if len(numbers) > 1 else numbers[0]}",
            f"{len(args)} positional arguments for {function_name(fun)!r}",
            fix="Pass the differentiated arguments by position.",
        )
    places = [n % len(args) for n in numbers]

    @functools.wraps(fun)
    def rest(*chosen: Any) -> Any:
        whole = list(args)
        for place, value in zip(places, chosen, strict=True):
            whole[place] = value
        return fun(*whole, **kwargs)

    return tuple(args[place] for place in places), rest


def _check_inputs(
    call: str,
    fun: Callable[..., Any],
    values: Sequence[Value],
    chosen: Any,
    holomorphic: bool,
    allow_int: bool,
) -> None:
    for index, value in enumerate(values):
        dtype = value.aval.dtype
        if holomorphic:
            ok, wanted, fix = (
                dtypes.is_complex(dtype),
                "complex inputs, because holomorphic=True",
                None,
            )
        elif dtypes.is_floating(dtype):
            continue
        elif dtypes.is_complex(dtype):
            ok, wanted, fix = True, "", None
        else:
            ok, wanted = allow_int and not dtypes.is_extended(dtype), "inputs of floating dtype"
            fix = (
                "Convert it with `.astype(float)`, choose other `argnums`, or pass "
                "`allow_int=True`."
            )
        if not ok:
            name = argument_names(fun, tree.structure((chosen, {})))[index]
            raise errors.DtypeError(call, wanted, f"{value.aval!r} for {name!r}", fix=fix)


def _seed(call: str, fun: Callable[..., Any], pullback: _Pullback, holomorphic: bool) -> Value:
    """Check that the output is one scalar and return its cotangent, 1."""
    outputs = pullback.results[: pullback.flat.count]
    name = function_name(fun)
    fix = "Return a scalar (a sum or mean), or use `jacrev` or `vjp`."
    if len(outputs) != 1:
        raise errors.ArgumentError(
            call, f"a scalar output from {name!r}", f"a pytree of {len(outputs)} arrays",
            fix="Return one scalar; use `has_aux=True` for further results.",
        )  # fmt: skip
    aval = outputs[0].aval
    if aval.shape:
        raise errors.ShapeError(call, f"a scalar output from {name!r}", f"{aval!r}", fix=fix)
    if holomorphic and not dtypes.is_complex(aval.dtype):
        raise errors.DtypeError(
            call, f"a complex output from {name!r}, because holomorphic=True", f"{aval!r}"
        )
    if not holomorphic and not dtypes.is_floating(aval.dtype):
        fix = "Use `holomorphic=True`." if dtypes.is_complex(aval.dtype) else "Return a float."
        raise errors.DtypeError(
            call, f"a real floating-point output from {name!r}", f"{aval!r}", fix=fix
        )
    return full((), 1, aval.dtype)


# Jacobians ----------------------------------------------------------------------------------------


def _basis(avals: Sequence[ShapedArray]) -> list[Value]:
    """Return the standard basis of a product of arrays: for each, its part of every basis
    vector.
    """
    total = sum(aval.size for aval in avals)
    parts: list[Value] = []
    offset = 0
    int32 = np.dtype(np.int32)
    for aval in avals:
        shape = (total, aval.size)
        rows = bind(iota_p, dtype=int32, shape=shape, dimension=0)[0]
        columns = bind(iota_p, dtype=int32, shape=shape, dimension=1)[0]
        ones = convert_element_type(eq(rows, add(columns, offset)), aval.dtype)
        parts.append(reshape(ones, (total, *aval.shape)))
        offset += aval.size
    return parts


def jacfwd(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Callable[..., Any]:
    """Return a function that computes the Jacobian of `fun` column by column, by forward mode.

    Args:
        fun: a function of pytrees of arrays.
        argnums: position or positions of the arguments to differentiate.
        has_aux: whether `fun` returns ``(output, aux)``.
        holomorphic: whether `fun` is complex-differentiable.

    Returns:
        A function of the same arguments. For an output of shape o and an argument of shape i, the
        Jacobian has shape ``o + i``; it is the output's tree of the arguments' trees.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.jacfwd(lambda x: x**2)(jnp.array([1.0, 2.0]))
        Array([[2., 0.],
               [0., 4.]], dtype=float32)
    """
    check_callable(fun, "jacfwd")
    numbers = _argnums("jacfwd", argnums)

    @functools.wraps(fun)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        chosen, rest = select_arguments("jacfwd", fun, numbers, args, kwargs)
        leaves, in_tree = tree.flatten((chosen, {}))
        values = _values("jacfwd", leaves)
        _check_inputs("jacfwd", fun, values, chosen, holomorphic, False)
        flat = _WithAux(rest, in_tree, "jacfwd", has_aux)
        results, linear, residuals, nonzero = linearize_flat(
            flat, values, [True] * len(values), name="jacfwd"
        )
        avals = [x.aval for x in values]
        basis = _basis(avals)
        total = sum(aval.size for aval in avals)
        pushed, dims = batch_flat(
            lambda *tangents: eval_jaxpr(linear, residuals, *tangents),
            BatchAxis(total),
            basis,
            [0] * len(basis),
        )
        columns = iter(zip(pushed, dims, strict=True))
        parts: list[list[Any]] = []
        for result, has in zip(results[: flat.count], nonzero, strict=False):
            tangent, dim = next(columns) if has else (zeros(result.aval), None)
            dense = move_batch_axis(BatchAxis(total), tangent, dim, result.aval.ndim)
            parts.append(_split_last(dense, result.aval.shape, avals))
        jacobians = _assemble(flat, in_tree, parts, isinstance(argnums, int))
        return (jacobians, flat.aux_of(results)) if has_aux else jacobians

    return jacobian


def _split_last(x: Value, outer: tuple[int, ...], avals: Sequence[ShapedArray]) -> list[Value]:
    """Cut the last axis into the arrays it is made of."""
    parts: list[Value] = []
    offset = 0
    for aval in avals:
        start = (*(0 for _ in outer), offset)
        part = x if len(avals) == 1 else slice(x, start, (*outer, offset + aval.size))
        parts.append(as_array(reshape(part, (*outer, *aval.shape))))
        offset += aval.size
    return parts


def _assemble(flat: _WithAux, in_tree: Any, parts: Sequence[Sequence[Any]], single: bool) -> Any:
    rows = [in_tree.unflatten(row)[0] for row in parts]
    return flat.flat.out_tree.unflatten([row[0] if single else row for row in rows])


def jacrev(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
    allow_int: bool = False,
) -> Callable[..., Any]:
    """Return a function that computes the Jacobian of `fun` row by row, by reverse mode.

    Args:
        fun: a function of pytrees of arrays.
        argnums: position or positions of the arguments to differentiate.
        has_aux: whether `fun` returns ``(output, aux)``.
        holomorphic: whether `fun` is complex-differentiable.
        allow_int: whether integer arguments are taken; their Jacobian is float0.

    Returns:
        A function of the same arguments. For an output of shape o and an argument of shape i, the
        Jacobian has shape ``o + i``; it is the output's tree of the arguments' trees.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.jacrev(lambda x: x.sum())(jnp.array([1.0, 2.0]))
        Array([1., 1.], dtype=float32)
    """
    check_callable(fun, "jacrev")
    numbers = _argnums("jacrev", argnums)

    @functools.wraps(fun)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        chosen, rest = select_arguments("jacrev", fun, numbers, args, kwargs)
        leaves, in_tree = tree.flatten((chosen, {}))
        pullback = _Pullback("jacrev", rest, leaves, in_tree, has_aux)
        _check_inputs("jacrev", fun, pullback.values, chosen, holomorphic, allow_int)
        outputs = [r.aval for r in pullback.results[: pullback.flat.count]]
        for aval in outputs:
            if not (
                dtypes.is_complex(aval.dtype) if holomorphic else dtypes.is_floating(aval.dtype)
            ):
                kind = "complex" if holomorphic else "real floating-point"
                raise errors.DtypeError(
                    "jacrev", f"{kind} outputs from {function_name(fun)!r}", repr(aval)
                )
        basis = _basis(outputs)
        total = sum(aval.size for aval in outputs)
        axis = BatchAxis(total)
        zero: list[bool] = []

        def pull(*cotangents: Value) -> list[Value]:
            pulled = pullback.pull(cotangents)
            zero.extend(c is None for c in pulled)
            return [c for c in pulled if c is not None]

        pulled, dims = batch_flat(pull, axis, basis, [0] * len(basis))
        rows = iter([move_batch_axis(axis, c, d) for c, d in zip(pulled, dims, strict=True)])
        dense = [None if is_zero else next(rows) for is_zero in zero]
        parts = [_rows(dense, pullback, outputs, total, index) for index in range(len(outputs))]
        jacobians = _assemble(pullback.flat, in_tree, parts, isinstance(argnums, int))
        return (jacobians, pullback.flat.aux_of(pullback.results)) if has_aux else jacobians

    return jacobian


def _rows(
    dense: Sequence[Value | None],
    pullback: _Pullback,
    outputs: Sequence[ShapedArray],
    total: int,
    index: int,
) -> list[Any]:
    """Cut the rows that belong to one output out of every argument's stack of cotangents."""
    offset = sum(aval.size for aval in outputs[:index])
    shape = outputs[index].shape
    parts: list[Any] = []
    for stack, value, is_active in zip(dense, pullback.values, pullback.active, strict=True):
        whole = (*shape, *value.aval.shape)
        if not is_active:
            parts.append(np.zeros(whole, dtypes.float0))
        elif stack is None:
            parts.append(as_array(full(whole, 0, value.aval.dtype)))
        else:
            start = (offset, *(0 for _ in value.aval.shape))
            limit = (offset + outputs[index].size, *value.aval.shape)
            part = stack if len(outputs) == 1 else slice(stack, start, limit)
            parts.append(as_array(reshape(part, whole)))
    return parts


def hessian(
    fun: Callable[..., Any],
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Callable[..., Any]:
    """Return a function that computes the Hessian of `fun`: `jacfwd` of `jacrev`.

    Args:
        fun: a function of pytrees of arrays.
        argnums: position or positions of the arguments to differentiate.
        has_aux: whether `fun` returns ``(output, aux)``.
        holomorphic: whether `fun` is complex-differentiable.

    Returns:
        A function of the same arguments; for output shape o and argument shapes i, j, a Hessian has
        shape ``o + i + j``.

    Example:
        >>> import functrax, functrax.numpy as jnp
        >>> functrax.hessian(lambda x: (x**3).sum())(jnp.array([1.0, 2.0]))
        Array([[ 6.,  0.],
               [ 0., 12.]], dtype=float32)
    """
    first = jacrev(fun, argnums, has_aux=has_aux, holomorphic=holomorphic)
    return jacfwd(first, argnums, has_aux=has_aux, holomorphic=holomorphic)
