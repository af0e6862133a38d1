"""Arrays of PRNG keys in StableHLO: their words along a trailing axis.

An operation that only moves elements about means the same on keys as it does, mapped over the
words, on their words. So it is lowered through its own batch rule with the trailing axis as the
mapped one, and no primitive has a second rule.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from functrax.core import dtypes
from functrax.core.jaxpr import Equation, Jaxpr
from functrax.core.primitive import BatchAxis, Primitive, abstract_eval, registry
from functrax.core.trace import Trace, Tracer, Value, bind, current, state
from functrax.core.types import Literal, ShapedArray
from functrax.lowering.builder import Builder


def uses_keys(jaxpr: Jaxpr) -> bool:
    """Tell whether any value of a program is an array of keys."""
    types = {v.aval for eqn in jaxpr.eqns for v in eqn.outvars}
    return any(dtypes.is_extended(aval.dtype) for aval in types.union(jaxpr.in_avals))


def has_keys(eqn: Equation) -> bool:
    """Tell whether an equation takes or gives arrays of keys."""
    return any(dtypes.is_extended(v.aval.dtype) for v in (*eqn.invars, *eqn.outvars))


class _Written(Tracer):
    """A value that is already in the module."""

    __slots__ = ("value",)

    def __init__(self, trace: "_WriteTrace", aval: ShapedArray, value: Any) -> None:
        self.owner = trace
        self.aval = aval
        self.value = value


class _WriteTrace(Trace):
    """Writes each operation into the module at once."""

    __slots__ = ("builder",)
    name = "lower"

    def __init__(self, builder: Builder) -> None:
        super().__init__(state.trace)
        self.builder = builder

    def process(
        self, primitive: Primitive, operands: tuple[Value, ...], params: dict[str, Any]
    ) -> list[_Written]:
        """Apply the lowering rule."""
        b = self.builder
        values = [b.literal(x) if isinstance(x, Literal) else x.value for x in operands]
        types = tuple(x.aval for x in operands)
        outs = abstract_eval(primitive, types, params)
        b.in_types, b.out_types = types, outs
        results = primitive.lower(b, *values, **params)
        several = results if isinstance(results, tuple | list) else (results,)
        return [_Written(self, aval, value) for aval, value in zip(outs, several, strict=True)]


def lower_on_words(builder: Builder, eqn: Equation, operands: Sequence[Any]) -> list[Any]:
    """Lower an equation on keys through the batch rule of its primitive."""
    trace = _WriteTrace(builder)
    key_type: Any = next(
        v.aval.dtype for v in (*eqn.invars, *eqn.outvars) if dtypes.is_extended(v.aval.dtype)
    )
    (words,) = key_type.key_shape
    arguments = [
        _Written(trace, _words_type(v.aval), x) for v, x in zip(eqn.invars, operands, strict=True)
    ]
    dims = [v.aval.ndim if dtypes.is_extended(v.aval.dtype) else None for v in eqn.invars]
    with current(trace):
        results, out_dims = eqn.primitive.batch(BatchAxis(words), arguments, dims, **eqn.params)
        return [
            _axis_last(result, dim).value if dim is not None else result.value
            for result, dim in zip(results, out_dims, strict=True)
        ]


def _words_type(aval: ShapedArray) -> ShapedArray:
    if not dtypes.is_extended(aval.dtype):
        return aval
    return ShapedArray((*aval.shape, *aval.dtype.key_shape), np.dtype(np.uint32))


def _axis_last(x: Any, dim: int) -> Any:
    if dim == x.aval.ndim - 1:
        return x
    order = (*(axis for axis in range(x.aval.ndim) if axis != dim), dim)
    return bind(registry["transpose"], x, permutation=order)[0]
