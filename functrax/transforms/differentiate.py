"""What the derivatives for users share: arguments, auxiliary results, checks, and the pullback."""

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from functrax import errors
from functrax.core import dtypes, tree
from functrax.core.jaxpr import Jaxpr
from functrax.core.structure import first_difference
from functrax.core.trace import Array, Value, as_value, describe
from functrax.core.types import ShapedArray
from functrax.primitives.convert import convert
from functrax.primitives.rules import has_tangent, zeros
from functrax.transforms.calls import leaves_up_to
from functrax.transforms.flat import (
    FlatFunction,
    TreeWithFloat0,
    argument_names,
    as_array,
    called,
    function_name,
    path_of,
    shown,
)
from functrax.transforms.partial import linearize_flat
from functrax.transforms.transpose import backward_pass


def float0_zeros(aval: ShapedArray) -> Any:
    """The zero tangent of an integer or boolean value, as users see it."""
    return np.zeros(aval.shape, dtypes.float0)


_ARRAY: Any = object()


def like_primal(cotangent: Value, aval: ShapedArray) -> Value:
    """Make a cotangent weak exactly if its primal is, so that an update keeps the primal's type."""
    if cotangent.aval.weak_type == aval.weak_type:
        return cotangent
    return convert(cotangent, aval.dtype, aval.weak_type)


class WithAux:
    """A function of flat values that may return (output, aux): aux is carried along beside."""

    def __init__(
        self, function: Callable[..., Any], in_tree: Any, call: str, has_aux: bool
    ) -> None:
        self.flat = FlatFunction(self.run, in_tree, call, user=function)
        self.function = function
        self.has_aux = has_aux
        self.count = 0
        self.aux_tree: Any = None
        self.aux: list[Any] = []

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """Call the user's function, put aux aside, and return the output."""
        result = called(self.function, args, kwargs, self.flat.call)
        if not self.has_aux:
            return result
        if not (isinstance(result, tuple) and len(result) == 2):
            raise errors.ArgumentError(
                self.flat.call,
                f"{function_name(self.function)!r} to return a pair (output, aux), because "
                "has_aux=True",
                describe(result) if isinstance(result, Array) else shown(result),
            )
        out, aux = result
        self.aux, self.aux_tree = tree.flatten(aux)
        return out

    def __call__(self, *values: Value) -> list[Value]:
        """Return the output's leaves, then the arrays in aux."""
        results = self.flat(*values)
        self.count = len(results)
        arrays = [x for x in self.aux if isinstance(x, Array)]
        self.aux = [_ARRAY if isinstance(x, Array) else x for x in self.aux]
        return [*results, *arrays]

    def aux_of(self, results: Sequence[Value]) -> Any:
        """Rebuild aux from the results behind the output's."""
        given = iter(results[self.count :])
        leaves = [as_array(next(given)) if x is _ARRAY else x for x in self.aux]
        return self.aux_tree.unflatten(leaves)

    def out_of(self, results: Sequence[Value]) -> Any:
        """Rebuild the output."""
        return self.flat.out_tree.unflatten([as_array(x) for x in results[: self.count]])


def call_tree(args_tree: Any) -> Any:
    """Return the structure of ``(args, {})`` from that of args."""
    return tree.treedef_tuple([args_tree, tree.structure({})])


def leaves_like(call: str, name: str, given: Any, structure: Any) -> list[Any]:
    """Return the leaves of a tree that must have a structure, without float0 results in it.

    None may stand for leaves, which then have to be integers.

    Raises:
        TreeError: naming the first place where it differs.
    """
    zeros_at = structure.zeros if isinstance(structure, TreeWithFloat0) else ()
    whole = structure.whole if isinstance(structure, TreeWithFloat0) else structure
    leaves, found = tree.flatten(given)
    if found != whole and (with_none := leaves_up_to(given, whole)) is not None:
        leaves = with_none
    elif found != whole:
        tree.flatten_up_to(whole, given, call, name)
        mismatch = first_difference(found, whole)
        if mismatch is not None:
            path, node, _ = mismatch
            expected = f"{name}{tree.keystr(path)} to be an array or a number"
            raise errors.TreeError(call, expected, tree.describe(node))
    return [x for i, x in enumerate(leaves) if i not in zeros_at]


def _tangent_like(
    call: str, what: Callable[[], str], given: Any, aval: ShapedArray
) -> Value | None:
    """Check a tangent given by the user against its primal; None if it is a float0.

    Raises:
        ArgumentError, ShapeError, DtypeError: for another thing, shape or dtype.
    """
    if not has_tangent(aval):
        if given is None or getattr(given, "dtype", None) == dtypes.float0:
            return None
        raise errors.DtypeError(
            call,
            f"{what()} to be None (or float0), because {aval!r} has no derivative",
            f"{given.aval!r}" if isinstance(given, Array) else shown(given),
            fix="Differentiate with respect to floating-point arguments only, or pass None.",
        )
    return _value_like(call, what, given, aval)


def _value_like(call: str, what: Callable[[], str], given: Any, aval: ShapedArray) -> Value:
    """Check a value given by the user against a type; raises as above."""
    try:
        value = as_array(as_value(given, call))
    except errors.FunctraxError as error:
        expected = f"{what()} to be an array or a number"
        raise errors.ArgumentError(call, expected, shown(given)) from error
    if value.aval.shape != aval.shape:
        raise errors.ShapeError(call, f"{what()} to have shape {aval.shape}", f"{value.aval!r}")
    if value.aval.dtype != aval.dtype:
        raise errors.DtypeError(
            call,
            f"{what()} to have dtype {aval.dtype}",
            f"{value.aval!r}",
            fix=f'Convert it with `jnp.asarray(..., "{aval.dtype}")`.',
        )
    return value


def check_tangents(
    call: str,
    given: Any,
    avals: Sequence[ShapedArray],
    in_tree: Any,
    names: Callable[[], Sequence[str]],
) -> list[Value | None]:
    """Check tangents given by the user against the primals; None for float0.

    Args:
        call: the user's transform.
        given: the tuple of tangents.
        avals: the types of the leaves of the primals.
        in_tree: their structure.
        names: gives what the user calls each of them.

    Raises:
        TreeError, ArgumentError, ShapeError, DtypeError: naming the tangent.
    """
    leaves = leaves_like(call, "tangents", given, in_tree)
    return [
        _tangent_like(call, lambda i=i: f"the tangent of {names()[i]!r}", tangent, aval)
        for i, (aval, tangent) in enumerate(zip(avals, leaves, strict=True))
    ]


def check_cotangents(
    call: str,
    given: tuple[Any, ...],
    out_tree: Any,
    avals: Sequence[ShapedArray],
    has_cotangent: Callable[[ShapedArray], bool] = has_tangent,
) -> list[Value | None]:
    """Check a cotangent given by the user against the output.

    Args:
        call: the user's transform.
        given: what the pullback was called with.
        out_tree: the structure of the output.
        avals: the types of its leaves.
        has_cotangent: which leaves have one; None is returned for the others.

    Raises:
        ArgumentError, TreeError, ShapeError, DtypeError: naming the place in the cotangent.
    """
    if len(given) != 1:
        raise errors.ArgumentError(
            call,
            "one cotangent, of the structure of the output",
            f"{len(given)} arguments",
            fix="Pass several cotangents as one tuple, if the output is one.",
        )
    leaves = leaves_like(call, "the cotangent", given[0], out_tree)
    return [
        _value_like(call, lambda i=i: f"the cotangent{path_of(out_tree, i)}", cotangent, aval)
        if has_cotangent(aval)
        else None
        for i, (cotangent, aval) in enumerate(zip(leaves, avals, strict=True))
    ]


def dense_tangent(result: Value, tangent: Value | None) -> Any:
    """Return a tangent as users see it: zeros where there is none, float0 for integers."""
    if not has_tangent(result.aval):
        return float0_zeros(result.aval)
    return as_array(zeros(result.aval) if tangent is None else tangent)


class LinearPart(NamedTuple):
    """The derivative of a function at a point, without the numbers that it depends on.

    Attributes:
        call: the user's transform, for messages.
        jaxpr: the program from tangents of arguments to tangents of results; its constvars are the
            residuals.
        nonzero: for each result whether the program returns a tangent of it.
        active: for each argument whether the program takes a tangent of it.
        avals: the types of the arguments.
    """

    call: str
    jaxpr: Jaxpr
    nonzero: Sequence[bool]
    active: Sequence[bool]
    avals: Sequence[ShapedArray]

    def pull(
        self, residuals: Sequence[Value], cotangents: Sequence[Value | None]
    ) -> list[Value | None]:
        """Return one cotangent per argument leaf from one per output leaf."""
        given = [c for c, has in zip(cotangents, self.nonzero, strict=False) if has]
        given += [None] * (self.nonzero.count(True) - len(given))
        pulled = iter(backward_pass(self.jaxpr, residuals, given, self.call))
        return [next(pulled) if is_active else None for is_active in self.active]

    def dense(self, cotangents: Sequence[Value | None]) -> list[Any]:
        """Replace zero cotangents of arguments by arrays."""
        return [
            as_array(zeros(aval) if c is None else like_primal(c, aval))
            if is_active
            else float0_zeros(aval)
            for aval, c, is_active in zip(self.avals, cotangents, self.active, strict=True)
        ]


class OfResiduals:
    """What `vjp` and `linearize` return, as a function of its residuals too.

    Bound to them by a `Partial` it is a pytree, which can go into other transformations and out.

    Args:
        name: of the user's function, for `repr`.
        linear: the derivative.
        in_tree: the structure of the arguments.
        out_tree: the structure of the output.
        out_avals: the types of its leaves.
    """

    what = ""

    def __init__(
        self,
        name: str,
        linear: LinearPart,
        in_tree: Any,
        out_tree: Any,
        out_avals: Sequence[ShapedArray],
    ) -> None:
        self.name = name
        self.linear = linear
        self.in_tree = in_tree
        self.out_tree = out_tree
        self.out_avals = out_avals

    def __repr__(self) -> str:
        """Print as ``<pullback of sin>``."""
        return f"<{self.what} of {self.name}>"


class Pullback:
    """The result of differentiating a function once: maps cotangents of its output to cotangents
    of its arguments.
    """

    def __init__(
        self,
        call: str,
        fun: Callable[..., Any],
        values: Sequence[Value],
        in_tree: Any,
        has_aux: bool,
        names: Callable[[], Sequence[str]] = list,
    ) -> None:
        """Evaluate `fun` at values and record its derivative.

        Args:
            call: the user's transform, for messages.
            fun: the user's function.
            values: the leaves of its arguments.
            in_tree: the structure of ``(args, kwargs)``.
            has_aux: whether it returns (output, aux).
            names: gives what the user calls each leaf, for messages.
        """
        self.values = values
        avals = [x.aval for x in values]
        active = [has_tangent(aval) for aval in avals]
        self.flat = WithAux(fun, in_tree, call, has_aux)
        self.results, jaxpr, self.residuals, nonzero = linearize_flat(
            self.flat,
            values,
            active,
            name=call,
            function_name=function_name(fun),
            argument_names=names,
        )
        self.linear = LinearPart(call, jaxpr, nonzero, active, avals)

    def pull(self, cotangents: Sequence[Value | None]) -> list[Value | None]:
        """Return one cotangent per argument leaf from one per output leaf."""
        return self.linear.pull(self.residuals, cotangents)


def argument_numbers(call: str, argnums: int | Sequence[int]) -> tuple[int, ...]:
    """Return argnums as a tuple.

    Raises:
        ArgumentError: if it is neither an int nor a sequence of ints.
    """
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
    if len(set(places)) != len(places):
        raise errors.ArgumentError(call, "distinct argnums", repr(tuple(numbers)))

    def rest(*chosen: Any) -> Any:
        whole = list(args)
        for place, value in zip(places, chosen, strict=True):
            whole[place] = value
        return called(fun, whole, kwargs, call)

    rest.__name__ = function_name(fun)  # for messages; `functools.wraps` takes 4 us
    return tuple(args[place] for place in places), rest


def check_inputs(
    call: str,
    fun: Callable[..., Any],
    values: Sequence[Value],
    places: Sequence[int],
    chosen: Sequence[Any],
    *,
    holomorphic: bool,
    allow_int: bool = False,
    allow_complex: bool = True,
) -> None:
    """Check that every differentiated leaf has a dtype that can be differentiated.

    Args:
        call: the user's transform.
        fun: the user's function.
        values: the leaves of `chosen`.
        places: the positions of the differentiated arguments.
        chosen: these arguments.
        holomorphic: whether they must be complex.
        allow_int: whether they may be integers.
        allow_complex: whether they may be complex although the function is not holomorphic.

    Raises:
        DtypeError: naming the leaf.
    """
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
            ok, wanted = allow_complex, "inputs of real floating dtype"
            fix = "Pass `holomorphic=True`, or use `jacrev`."
        else:
            ok, wanted = allow_int, "inputs of floating dtype"
            end = "choose other `argnums`, or pass `allow_int=True`."
            end = end if call not in ("jacfwd", "hessian") else "or choose other `argnums`."
            fix = f"Convert it with `.astype(float)`, {end}"
        if not ok:
            name = leaf_names(fun, places, chosen)[index]
            if dtypes.is_extended(dtype):
                fix = "PRNG keys have no derivative: choose other `argnums`."
                raise errors.KeyTypeError(call, wanted, f"{value.aval!r} for {name!r}", fix=fix)
            raise errors.DtypeError(call, wanted, f"{value.aval!r} for {name!r}", fix=fix)


def leaf_names(fun: Callable[..., Any], places: Sequence[int], chosen: Sequence[Any]) -> list[str]:
    """Name the leaves of the arguments at `places` by parameter and path."""
    names: list[str] = []
    for place, argument in zip(places, chosen, strict=True):
        alone = (*([None] * place), argument)
        names += argument_names(fun, tree.structure((alone, {})))
    return names
