"""Calls of compiled functions by XLA's foreign function interface (FFI)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from functrax import errors
from functrax.core import dtypes, tree
from functrax.core.jaxpr import NO_EFFECTS
from functrax.core.params import param_type
from functrax.core.primitive import BatchAxis, declare
from functrax.core.trace import Array, Value, as_value, bind
from functrax.core.types import ShapedArray
from functrax.primitives.rules import Dim
from functrax.transforms.callbacks import result_types
from functrax.transforms.flat import shown
from functrax.transforms.lanes import check_vmap_method, map_by_method, stacked_types
from functrax.xla import custom_call

CALL = "ffi_call"
TYPED = custom_call.TYPED_FFI

# Attributes ---------------------------------------------------------------------------------------


@param_type
class FfiScalar(NamedTuple):
    """A number among the attributes: as text, which tells -0.0 from 0.0, and its dtype."""

    value: str
    dtype: np.dtype[Any]


@param_type
class FfiArray(NamedTuple):
    """An array among the attributes, by its bytes in hexadecimal."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    data: str


_INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
#: What XLA takes; all others end compilation with an error.
ARRAYS = [*_INTEGERS, "float32", "float64"]
SCALARS = ["bool", *ARRAYS]

_KINDS = (
    "attributes that are bool, int, float, str, NumPy arrays and scalars of integers, float32 or "
    "float64, or dictionaries of them"
)


def frozen(attributes: Mapping[str, Any], call: str, path: str = "") -> tuple[Any, ...]:
    """Return attributes as a parameter of an equation: sorted pairs of name and value.

    Raises:
        ArgumentError: for values that XLA does not take.
        IntegerOverflowError: for integers beyond 64 bits.
    """
    pairs: list[tuple[str, Any]] = []
    for name, value in attributes.items():
        where = f"{path}[{name!r}]" if path else str(name)
        if not isinstance(name, str) or not name:  # XLA would print the empty one, and not read it
            raise errors.ArgumentError(call, "attributes with strings as names", where)
        pairs.append((name, _frozen_value(value, call, where)))
    return tuple(sorted(pairs))


def _frozen_value(value: Any, call: str, where: str) -> Any:
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return frozen(value, call, where)
    if isinstance(value, int) and not isinstance(value, bool):
        dtypes.check_fits(value, np.dtype(np.int64), call)
    if isinstance(value, bool | int | float | np.generic):
        scalar = np.asarray(value, None if isinstance(value, np.generic | bool) else _wide(value))
        if scalar.dtype.name in SCALARS:
            return FfiScalar(repr(_python(scalar.dtype)(scalar)), scalar.dtype)
    elif isinstance(value, np.ndarray) and value.dtype.name in ARRAYS:
        dtype = np.dtype(value.dtype.name)  # in the byte order of this machine
        return FfiArray(value.shape, dtype, value.astype(dtype).tobytes().hex())
    is_array = isinstance(value, Array)
    raise errors.ArgumentError(
        call,
        _KINDS,
        f"{where}={shown(value)}",
        fix="Pass it as an operand, or read its value with `numpy.asarray`." if is_array else None,
    )


def _wide(value: Any) -> type[Any]:
    return np.int64 if isinstance(value, int) else np.float64


def _python(dtype: np.dtype[Any]) -> type[Any]:
    """Return the type that holds all numbers of a dtype."""
    return bool if dtype.kind == "b" else int if dtype.kind in "iu" else float


def _written(context: Any, value: Any) -> Any:
    """Return an attribute of an equation as one of MLIR."""
    if isinstance(value, str):
        return context.string(value)
    if isinstance(value, FfiArray):
        data = np.frombuffer(bytes.fromhex(value.data), value.dtype).reshape(value.shape)
        return context.constant(data)
    if isinstance(value, FfiScalar):
        if value.dtype.kind == "b":
            return context.bool_attr(value.value == "True")
        element = context.element_type(value.dtype)
        if value.dtype.kind in "iu":
            return context.parse_attribute(f"{value.value} : {element}")
        bits = np.array(float(value.value), value.dtype).tobytes()[::-1].hex()
        return context.parse_attribute(f"0x{bits} : {element}")
    return context.dictionary({name: _written(context, item) for name, item in value})


# The primitive ------------------------------------------------------------------------------------


def _layout_error(where: str, aval: ShapedArray, layout: Any) -> errors.ArgumentError:
    return errors.ArgumentError(
        CALL,
        f"{where}: None, or the axes of {aval!r} from the slowest to the fastest",
        f"{layout!r}",
    )


def _abstract_eval(
    *types: ShapedArray,
    target: str,
    out_types: tuple[ShapedArray, ...],
    aliases: tuple[tuple[int, int], ...],
    input_layouts: Any,
    output_layouts: Any,
    **_: Any,
) -> tuple[ShapedArray, ...]:
    """Check what says how operands and results lie in memory."""
    for what, avals, layouts in (
        ("input_layouts", types, input_layouts),
        ("output_layouts", out_types, output_layouts),
    ):
        if layouts is not None and len(layouts) != len(avals):
            raise errors.ArgumentError(CALL, f"{len(avals)} {what}", f"{len(layouts)}")
        for i, (aval, layout) in enumerate(zip(avals, layouts or (), strict=False)):
            if layout is not None and sorted(layout) != list(range(aval.ndim)):
                raise _layout_error(f"{what}[{i}]", aval, layout)
    for operand, result in aliases:
        pair = f"input_output_aliases {{{operand}: {result}}}"
        if not (0 <= operand < len(types) and 0 <= result < len(out_types)):
            expected = f"{pair} to name one of {len(types)} operands and {len(out_types)} results"
            raise errors.ArgumentError(CALL, expected, f"a call of {target!r}")
        one, other = types[operand].strong(), out_types[result]
        if (one.shape, one.dtype) != (other.shape, other.dtype):
            expected = f"{pair} to name an operand and a result of one type"
            fix = "Under `vmap`, choose a vmap_method other than 'expand_dims'."
            raise errors.ShapeError(CALL, expected, f"{one!r} and {other!r}", fix=fix)
        if _layout_of(one, input_layouts, operand) != _layout_of(other, output_layouts, result):
            expected = f"{pair} to name an operand and a result of one layout"
            raise errors.ArgumentError(CALL, expected, f"{input_layouts}, {output_layouts}")
    return out_types


def _layout_of(aval: ShapedArray, layouts: Any, index: int) -> tuple[int, ...]:
    layout = None if layouts is None else layouts[index]
    return tuple(range(aval.ndim)) if layout is None else layout


def _derivative(*_: Any, target: str, **__: Any) -> Any:
    """Refuse, by the target's name, which a `Refusal` does not know."""
    raise errors.MissingRuleError(
        CALL,
        "a call that is not differentiated",
        f"a derivative of {target!r}",
        fix="What a compiled function computes has no derivative: give it one with `custom_jvp` "
        "or `custom_vjp`, or stop gradients in front of it.",
    )


def _batch(axis: BatchAxis, operands: Sequence[Value], dims: Sequence[Dim], **params: Any) -> Any:
    """Map by the user's choice of `vmap_method`."""

    def on_all(*whole: Value) -> Any:
        changed = {
            name: layouts and tuple(one and (0, *(i + 1 for i in one)) for one in layouts)
            for name, layouts in params.items()
            if name in ("input_layouts", "output_layouts")
        }
        changed["out_types"] = stacked_types(axis, params["out_types"])
        return bind(ffi_call_p, *whole, **{**params, **changed})

    return map_by_method(
        params["vmap_method"],
        axis,
        operands,
        dims,
        f"ffi_call of {params['target']!r}",
        lambda *row: bind(ffi_call_p, *row, **params),
        on_all,
    )


def _reversed(layouts: Any) -> list[tuple[int, ...] | None] | None:
    """Return layouts with the fastest axis first, as XLA has them."""
    return layouts and [one and one[::-1] for one in layouts]


def _lower(
    b: Any,
    *operands: Any,
    target: str,
    has_side_effect: bool,
    input_layouts: Any,
    output_layouts: Any,
    aliases: tuple[tuple[int, int], ...],
    api_version: int,
    legacy_config: str | None,
    attributes: tuple[Any, ...],
    **_: Any,
) -> list[Any]:
    """Call the target."""
    return b.custom_call(
        target,
        operands,
        _reversed(input_layouts),
        _reversed(output_layouts),
        parameters={name: _written(b.context, value) for name, value in attributes},
        aliases={result: operand for operand, result in aliases},
        has_side_effect=has_side_effect,
        api_version=api_version,
        legacy_config=legacy_config or "",
    )


_IO = frozenset({"io"})

ffi_call_p = declare(
    "ffi_call",
    abstract_eval=_abstract_eval,
    jvp=_derivative,
    transpose=_derivative,
    batch=_batch,
    lower=_lower,
    effects=lambda params: _IO if params["has_side_effect"] else NO_EFFECTS,
)

# The functions ------------------------------------------------------------------------------------


def ffi_call(
    target_name: str,
    result_shape_dtypes: Any,
    *,
    has_side_effect: bool = False,
    vmap_method: str | None = None,
    input_layouts: Sequence[Sequence[int] | None] | None = None,
    output_layouts: Any = None,
    input_output_aliases: dict[int, int] | None = None,
    custom_call_api_version: int = TYPED,
    legacy_backend_config: str | None = None,
) -> Callable[..., Any]:
    """Return a function that calls a compiled function which is registered with XLA.

    Nothing checks that operands, results and attributes are those that it was compiled for, unless
    it does so itself; handlers made with ``XLA_FFI_DEFINE_HANDLER_SYMBOL`` do.

    Args:
        target_name: the name given to `register_ffi_target`.
        result_shape_dtypes: a `ShapeDtypeStruct` or array, or a pytree of them, such as a list:
            what it returns.
        has_side_effect: whether it does more than to compute. It is then called once each time, if
            nobody uses its results too, and a program that calls it returns when it has ended.
        vmap_method: what `vmap` does, as in `pure_callback`. None refuses.
        input_layouts: for each operand the order of its axes in memory, the slowest first; None for
            rows, which is ``(0, 1, ..., n-1)``. XLA moves elements where they lie otherwise.
        output_layouts: the same of the results; of a single result, its layout alone.
        input_output_aliases: ``{operand: result}`` for results that it writes over operands, by
            position. Operands that are needed elsewhere are copied before.
        custom_call_api_version: 4 is the typed FFI. 1 to 3 are older conventions.
        legacy_backend_config: the string that functions of the older conventions receive.

    Returns:
        A function ``(*operands, **attributes)`` that returns arrays in the structure of
        `result_shape_dtypes`. Attributes are what the compiled function receives beside arrays:
        bool, int (64 bits), float (float64), str, NumPy scalars and arrays of their dtype, and
        dictionaries of these.

    Raises:
        ArgumentError: for layouts, aliases and attributes that cannot be.
        MissingTargetError: if the target is not registered when the program is compiled.
        ExecutionError: if it reports an error, when the program runs.
        MissingRuleError: for derivatives, and `vmap` without a method.

    Example:
        LAPACK's solver of triangular systems, which is in jaxlib, takes matrices by columns:

        >>> import functrax, functrax.numpy as jnp, numpy as np
        >>> from functrax import ffi
        >>> from jaxlib.cpu import _lapack
        >>> _lapack.initialize()
        >>> name = "lapack_strsm_ffi"
        >>> ffi.register_ffi_target(name, _lapack.registrations()[name])
        >>> def solve(a, b):
        ...     call = ffi.ffi_call(name, b, input_output_aliases={1: 0},
        ...                         input_layouts=[(1, 0), (1, 0)], output_layouts=(1, 0))
        ...     left, lower, no = np.frombuffer(b"LLN", np.uint8)
        ...     return call(a, b, side=left, uplo=lower, trans_x=no, diag=no)
        >>> functrax.jit(solve)(jnp.array([[2.0, 0.0], [1.0, 4.0]]), jnp.array([[2.0], [9.0]]))
        Array([[1.],
               [2.]], dtype=float32)
    """
    check_vmap_method(CALL, vmap_method)
    types, out_tree = result_types(CALL, result_shape_dtypes)
    if out_tree == tree.LEAF:
        output_layouts = None if output_layouts is None else [output_layouts]
    if custom_call_api_version not in (1, 2, 3, TYPED):
        raise errors.ArgumentError(
            CALL, "custom_call_api_version from 1 to 4", repr(custom_call_api_version)
        )
    if custom_call_api_version == TYPED and legacy_backend_config is not None:
        raise errors.ArgumentError(
            CALL,
            "legacy_backend_config=None with custom_call_api_version=4",
            repr(legacy_backend_config),
            fix="Pass attributes to the function that `ffi_call` returns.",
        )
    params: dict[str, Any] = {
        "target": target_name,
        "out_types": types,
        "has_side_effect": bool(has_side_effect),
        "vmap_method": vmap_method,
        "input_layouts": _layouts(input_layouts),
        "output_layouts": _layouts(output_layouts),
        "aliases": tuple(sorted((int(i), int(o)) for i, o in (input_output_aliases or {}).items())),
        "api_version": custom_call_api_version,
        "legacy_config": legacy_backend_config,
    }

    def call(*args: Any, **attributes: Any) -> Any:
        if attributes and custom_call_api_version < TYPED:
            raise errors.ArgumentError(
                CALL,
                f"no attributes with custom_call_api_version={custom_call_api_version}",
                ", ".join(attributes),
                fix="Use legacy_backend_config.",
            )
        values = [as_value(x, CALL) for x in args]
        for value in values:
            if dtypes.is_extended(value.aval.dtype):
                raise errors.KeyTypeError(
                    CALL, "arrays of numbers", f"{value.aval!r}", fix="Pass `random.key_data(key)`."
                )
        given = frozen(attributes, CALL)
        return out_tree.unflatten(bind(ffi_call_p, *values, **params, attributes=given))

    return call


def _layouts(layouts: Any) -> tuple[tuple[int, ...] | None, ...] | None:
    if layouts is None:
        return None
    return tuple(one if one is None else tuple(int(i) for i in one) for one in layouts)


def ffi_lowering(
    call_target_name: str,
    *,
    operand_layouts: Sequence[Sequence[int] | None] | None = None,
    result_layouts: Sequence[Sequence[int] | None] | None = None,
    has_side_effect: bool = False,
    operand_output_aliases: dict[int, int] | None = None,
) -> Callable[..., Any]:
    """Return the `lower` rule of a primitive that is a compiled function registered with XLA.

    The primitive's parameters become attributes of the call, as those of `ffi_call`.

    Args:
        call_target_name: the name given to `register_ffi_target`.
        operand_layouts: for each operand the order of its axes in memory, *the fastest first*,
            other than in `ffi_call`; None for rows.
        result_layouts: the same of the results.
        has_side_effect: keep the call if nobody uses its results; the primitive then says so in its
            `effects` too.
        operand_output_aliases: ``{operand: result}`` for results that it writes over operands.

    Returns:
        A rule for `functrax.extend.declare`.

    Raises:
        ArgumentError: when a program is lowered, for attributes that XLA does not take.

    Example:
        >>> from functrax import extend, ffi
        >>> cube_p = extend.declare(
        ...     "my_cube",
        ...     abstract_eval=lambda x: (x,),
        ...     jvp=extend.Refusal("unknown", "Nobody has written it."),
        ...     transpose=extend.NOT_LINEAR,
        ...     batch=lambda axis, xs, dims: (extend.bind(cube_p, *xs), dims),
        ...     lower=ffi.ffi_lowering("my_cube"),
        ... )
        >>> cube_p
        my_cube
    """
    aliases = {result: operand for operand, result in (operand_output_aliases or {}).items()}
    before, behind = _layouts(operand_layouts), _layouts(result_layouts)

    def lower(b: Any, *operands: Any, **params: Any) -> list[Any]:
        return b.custom_call(
            call_target_name,
            operands,
            before,
            behind,
            parameters={k: _written(b.context, v) for k, v in frozen(params, "ffi_lowering")},
            aliases=aliases,
            has_side_effect=has_side_effect,
        )

    return lower
