"""Between users' functions of pytrees and the interpreters' functions of flat values."""

import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from functrax import errors
from functrax.core import dtypes, tree
from functrax.core.structure import path_to, paths_of
from functrax.core.trace import (
    VALUES,
    Array,
    Tracer,
    Value,
    as_value,
    check_live,
    describe,
    vary_apart,
)
from functrax.core.types import Literal, ShapedArray
from functrax.runtime.devices import default_device
from functrax.runtime.dispatch import fresh_array


class ShapeDtypeStruct:
    """A shape and dtype without a value, for `eval_shape` and ahead-of-time tracing.

    Args:
        shape: sequence of ints.
        dtype: the element type.
        weak_type: whether it yields in promotion like a Python scalar.

    Example:
        >>> ShapeDtypeStruct((2, 3), "float32")
        ShapeDtypeStruct(shape=(2, 3), dtype=float32)
    """

    __slots__ = ("dtype", "shape", "sharding", "weak_type")

    def __init__(
        self, shape: Sequence[int], dtype: Any, *, sharding: Any = None, weak_type: bool = False
    ) -> None:
        """Keep the fields, with the dtype made canonical."""
        self.shape = tuple(shape)
        self.dtype = dtypes.canonicalize(dtype)
        self.sharding = sharding
        self.weak_type = weak_type

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        """Return the size of the first axis."""
        if not self.shape:
            raise errors.ShapeError("len", "at least one axis", f"{self}")
        return self.shape[0]

    def __eq__(self, other: object) -> bool:
        """Compare the fields."""
        return isinstance(other, ShapeDtypeStruct) and (self.shape, self.dtype, self.weak_type) == (
            other.shape,
            other.dtype,
            other.weak_type,
        )

    def __hash__(self) -> int:
        """Hash the fields."""
        return hash((self.shape, self.dtype, self.weak_type))

    def __repr__(self) -> str:
        """Print the fields."""
        weak = ", weak_type=True" if self.weak_type else ""
        return f"ShapeDtypeStruct(shape={self.shape}, dtype={self.dtype}{weak})"


def abstractify(x: Any, call: str) -> ShapedArray:
    """Return the type of anything that can be an argument: arrays, scalars, `ShapeDtypeStruct`."""
    if isinstance(x, ShapeDtypeStruct):
        return ShapedArray(x.shape, x.dtype, x.weak_type)
    if (
        hasattr(x, "shape")
        and hasattr(x, "dtype")
        and not isinstance(x, VALUES)
        and not hasattr(x, "__array__")  # the arrays of other libraries are converted
    ):
        return ShapedArray(tuple(x.shape), dtypes.canonicalize(x.dtype))
    return as_value(x, call).aval


def as_array(value: Value) -> Array:
    """Return a value that users may hold: literals become arrays."""
    return fresh_array(value, default_device()) if type(value) is Literal else value


def function_name(function: Callable[..., Any]) -> str:
    """Return a function's name, also for partials and callable objects."""
    while not hasattr(function, "__name__"):
        if not hasattr(function, "func"):
            return type(function).__name__
        function = function.func  # type: ignore[attr-defined]
    return function.__name__


_RETURN_FUNCTIONS = frozenset(
    {
        "checkify", "checkpoint", "custom_gradient", "custom_jvp", "custom_vjp", "custom_vmap",
        "explain_comms", "grad", "hessian", "jacfwd", "jacrev", "jit", "make_jaxpr", "named_call",
        "pmap", "saved_report", "shard_map", "value_and_grad", "vectorize", "vmap",
    }
)  # fmt: skip


def check_callable(function: object, call: str) -> None:
    """Raise unless the first argument of a transform is a function.

    Raises:
        ArgumentError: naming what arrived.
    """
    if not callable(function):
        raise errors.ArgumentError(
            call,
            "a function",
            describe(function) if isinstance(function, Array) else shown(function),
            fix=f"Pass it as `{call}(f)(x)`." if call in _RETURN_FUNCTIONS else None,
        )
    if inspect.isgeneratorfunction(function):
        raise errors.ArgumentError(
            call,
            "a function that returns arrays",
            f"the generator function {function_name(function)!r}",
        )


class TreeWithFloat0:
    """A structure some of whose leaves are float0: these have no value to compute.

    Attributes:
        whole: the structure with those leaves.
        zeros: what stands there by its place among the leaves: float0 arrays, or None.
        num_leaves: the number of the others.
    """

    __slots__ = ("num_leaves", "whole", "zeros")

    def __init__(self, whole: Any, zeros: dict[int, Any]) -> None:
        """Keep the structure and the float0 leaves."""
        self.whole = whole
        self.zeros = zeros
        self.num_leaves: int = whole.num_leaves - len(zeros)

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        """Rebuild the tree, the float0 leaves put back."""
        given = iter(leaves)
        places = range(self.whole.num_leaves)
        return self.whole.unflatten(
            [self.zeros[i] if i in self.zeros else next(given) for i in places]
        )

    def mapped(self, size: int, axes: Sequence[int | None]) -> list[int | None]:
        """Give the float0 leaves a mapped axis; return the axes of the other leaves."""
        for i, zeros in self.zeros.items():
            axis = axes[i]
            if axis is not None:
                self.zeros[i] = np.repeat(np.expand_dims(zeros, axis), size, axis)
        return [axis for i, axis in enumerate(axes) if i not in self.zeros]


def _without_float0(leaves: Sequence[Any], whole: Any) -> tuple[list[Any], TreeWithFloat0]:
    zeros = {i: x for i, x in enumerate(leaves) if getattr(x, "dtype", None) == dtypes.float0}
    return [x for i, x in enumerate(leaves) if i not in zeros], TreeWithFloat0(whole, zeros)


class FlatFunction:
    """A user's function as a function of flat values; the structure of its result is known after a
    call.

    Attributes:
        out_tree: the structure of the result.
    """

    __slots__ = ("call", "function", "in_tree", "out_tree", "rebuild", "user")

    def __init__(
        self,
        function: Callable[..., Any],
        in_tree: Any,
        call: str,
        rebuild: Callable[[Any, Any], tuple[Any, Any]] | None = None,
        user: Callable[..., Any] | None = None,
    ) -> None:
        """Wrap a function.

        Args:
            function: the user's function.
            in_tree: the structure of ``(args, kwargs)``.
            call: the user's transform, for messages.
            rebuild: puts static arguments back: ``(args, kwargs) -> (args, kwargs)``.
            user: the function that messages name, if it is another one.
        """
        self.function = function
        self.user = user or function
        self.in_tree = in_tree
        self.call = call
        self.rebuild = rebuild
        self.out_tree: Any = None

    def __call__(self, *values: Value) -> list[Value]:
        """Rebuild the arguments, call, and flatten the result."""
        args, kwargs = self.in_tree.unflatten(map(as_array, values))
        if self.rebuild is not None:
            args, kwargs = self.rebuild(args, kwargs)
        result = called(self.function, args, kwargs, self.call)
        leaves, self.out_tree = tree.flatten(result)
        if any(getattr(x, "dtype", None) == dtypes.float0 for x in leaves):
            leaves, self.out_tree = _without_float0(leaves, self.out_tree)
        return [x if isinstance(x, Array) else self.converted(x, result) for x in leaves]

    def run(self, values: Sequence[Value]) -> Any:
        """Call with flat values and return the result as the user's tree, of arrays."""
        results = self(*values)
        return self.out_tree.unflatten(map(as_array, results))

    def converted(self, leaf: Any, result: Any) -> Value:
        """Return a part of the result that is not an array yet as a value.

        Raises:
            ArgumentError: if it is not array-like, naming its place in the result.
        """
        try:
            return as_value(leaf, self.call)
        except errors.IntegerOverflowError:
            raise
        except errors.FunctraxError as error:
            paths = [path for path, x in tree.flatten_with_path(result)[0] if x is leaf]
            place = "".join(map(str, paths[0]))
            raise errors.ArgumentError(
                self.call,
                f"{function_name(self.user)!r} to return arrays, numbers, or pytrees of them",
                shown(leaf) + (f" at result{place}" if place else ""),
                fix="Keep what is not an array outside of the function, or in its arguments.",
            ) from error


def path_of(structure: Any, index: int) -> str:
    """Return the path to a leaf of a structure, as users write it: ``"['a'][0]"``."""
    if isinstance(structure, TreeWithFloat0):
        places = [i for i in range(structure.whole.num_leaves) if i not in structure.zeros]
        structure, index = structure.whole, places[index]
    return tree.keystr(path_to(structure, index))


def shown(value: Any) -> str:
    """Describe something that is not an array, for a message."""
    if value is None:
        return "None"
    text = repr(value)
    if len(text) > 60:
        return errors.a_value(value)
    return f"{text} of type {errors.type_name(value)}"


def argument_values(
    call: str,
    leaves: Sequence[Any],
    names: Callable[[], Sequence[str]],
) -> list[Array]:
    """Convert the leaves of arguments to arrays.

    Args:
        call: the user's transform.
        leaves: the arguments' leaves.
        names: gives the name of each, for messages.

    Raises:
        ArgumentError: if one is not array-like, naming it.
        LeakedTracerError: if one is left over from a transform that ended.
    """
    return [as_array(x) for x in converted_arguments(call, leaves, names, as_value)]


def argument_types(
    call: str, leaves: Sequence[Any], names: Callable[[], Sequence[str]]
) -> list[ShapedArray]:
    """Return the types of the leaves of arguments, which may be `ShapeDtypeStruct`; see
    `argument_values`.
    """
    return converted_arguments(call, leaves, names, abstractify)


_CONVERT = "Convert it with `jnp.asarray`, or close over it."


def converted_arguments(
    call: str,
    leaves: Sequence[Any],
    names: Callable[[], Sequence[str]],
    convert: Callable[[Any, str], Any],
    fix: str = _CONVERT,
) -> list[Any]:
    """Apply `convert` to each leaf of arguments; see `argument_values`."""
    values: list[Any] = []
    for index, x in enumerate(leaves):
        if isinstance(x, Tracer):
            check_live(x, f"as an argument of {call}")
        try:
            values.append(convert(x, call))
        except (errors.IntegerOverflowError, errors.TransferError):
            raise
        except errors.FunctraxError as error:
            expected = f"argument {names()[index]!r} to be an array or a number"
            raise errors.ArgumentError(call, expected, shown(x), fix=fix) from error
    return vary_apart(values) if convert is as_value else values


def called(
    function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], call: str
) -> Any:
    """Call a user's function.

    Raises:
        ArgumentError: if it does not take these arguments.
    """
    try:
        return function(*args, **kwargs)
    except TypeError as error:
        if not isinstance(error, errors.FunctraxError):
            check_arity(function, args, kwargs, call)
        raise


def take_name(wrapper: Any, function: Callable[..., Any]) -> None:
    """Give an object that stands for a function its name, docstring and attributes, as
    `functools.wraps` does; but none that hides a method of the object.
    """
    functools.update_wrapper(wrapper, function, updated=())
    kind = type(wrapper)
    for name, value in getattr(function, "__dict__", {}).items():
        if not hasattr(kind, name):
            setattr(wrapper, name, value)


def argument_names(
    function: Callable[..., Any], in_tree: Any, static_nums: Sequence[int] = ()
) -> list[str]:
    """Name each leaf of ``(args, kwargs)`` by parameter and path: ``params['w']``.

    Args:
        function: the user's function.
        in_tree: the structure of its arguments, without static ones.
        static_nums: the positions of static ones.
    """
    parameters = parameter_names(function, static_nums)
    if isinstance(in_tree, TreeWithFloat0):
        paths = [path for i, path in enumerate(paths_of(in_tree.whole)) if i not in in_tree.zeros]
    else:
        paths = paths_of(in_tree)
    return [argument_name(path, parameters) for path in paths]


def parameter_names(function: Callable[..., Any], static_nums: Sequence[int] = ()) -> list[str]:
    """Return the names of a function's parameters, less those of static ones."""
    try:
        parameters = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return []
    static = {number % len(parameters) for number in static_nums if parameters}
    return [name for i, name in enumerate(parameters) if i not in static]


def argument_name(path: Sequence[Any], parameters: Sequence[str]) -> str:
    """Name a place in ``(args, kwargs)`` by parameter and path."""
    where, which, *rest = path
    if str(where) == "[0]":
        number = int(str(which)[1:-1])
        name = parameters[number] if number < len(parameters) else f"argument {number}"
    else:
        name = str(which)[2:-2]
    return name + "".join(map(str, rest))


def check_arity(
    function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], call: str
) -> None:
    """Raise if a function cannot be called with these arguments.

    Raises:
        ArgumentError: with the signature.
    """
    try:
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        name = function_name(function)
        keywords = f" and by keyword {', '.join(sorted(kwargs))}" if kwargs else ""
        raise errors.ArgumentError(
            call,
            f"the arguments of {name}{signature}",
            f"{len(args)} positional{keywords} ({error})",
        ) from None
