"""Primitives of your own, and programs as data.

A primitive is an operation with all its rules; `CONTRIBUTING.md` goes through them, and the top of
``functrax/core/primitive.py`` has their calling conventions. This one is x³:

>>> from functrax import extend, lax
>>> def cube_jvp(primals, tangents):
...     (x,), (t,) = primals, tangents
...     return extend.bind(cube_p, x), [lax.mul(lax.mul(3.0, lax.mul(x, x)), t)]
>>> def cube_batch(axis, operands, dims):
...     return extend.bind(cube_p, *operands), dims
>>> def cube_lower(b, x):
...     return b.elementwise("multiply", (x, b.elementwise("multiply", (x, x))))
>>> cube_p = extend.declare(
...     "cube",
...     abstract_eval=lambda x: (x,),
...     jvp=cube_jvp,
...     transpose=extend.NOT_LINEAR,
...     batch=cube_batch,
...     lower=cube_lower,
... )
>>> def cube(x):
...     return extend.bind(cube_p, extend.as_value(x, "cube"))[0]

Every transformation takes it. There is no rule for eager evaluation, nor one for reverse mode:

>>> functrax.jit(cube)(2.0)
Array(8., dtype=float32, weak_type=True)
>>> functrax.grad(functrax.grad(cube))(2.0)
Array(12., dtype=float32, weak_type=True)
>>> functrax.vmap(cube)(jnp.arange(3.0))
Array([0., 1., 8.], dtype=float32)

Programs can be printed, read back, checked and run:

>>> closed = functrax.make_jaxpr(cube)(2.0)
>>> print(closed)
{ lambda ; a:~f32[]. let b:~f32[] = cube a in (b,) }
>>> program = extend.parse("{ lambda ; a:f32[2]. let b:f32[2] = cube a in (b,) }")
>>> extend.check_jaxpr(program)
>>> [equation.primitive for equation in program.eqns]
[cube]
>>> extend.eval_jaxpr(program, (), jnp.array([1.0, 2.0]))
[Array([1., 8.], dtype=float32)]
"""

from collections.abc import Sequence
from typing import Any

from functrax import errors
from functrax.core.arguments import listed
from functrax.core.check import check_jaxpr
from functrax.core.jaxpr import ClosedJaxpr, Equation, Jaxpr, Var, subjaxprs
from functrax.core.jaxpr import eval_jaxpr as _eval_jaxpr
from functrax.core.params import param_type
from functrax.core.parse import parse
from functrax.core.primitive import (
    NOT_LINEAR,
    ZERO_DERIVATIVE,
    BatchAxis,
    Linear,
    Primitive,
    Refusal,
    declare,
)
from functrax.core.show import show
from functrax.core.trace import Array, Tracer, Value, as_value, bind
from functrax.core.types import Literal, ShapedArray
from functrax.primitives.rules import declare_linear, is_linear, move_batch_axis
from functrax.transforms.flat import as_array as _as_array
from functrax.transforms.flat import shown as _shown

__all__ = [
    "NOT_LINEAR",
    "ZERO_DERIVATIVE",
    "BatchAxis",
    "ClosedJaxpr",
    "Equation",
    "Jaxpr",
    "Linear",
    "Literal",
    "Primitive",
    "Refusal",
    "ShapedArray",
    "Tracer",
    "Var",
    "as_value",
    "bind",
    "check_jaxpr",
    "declare",
    "declare_linear",
    "eval_jaxpr",
    "is_linear",
    "move_batch_axis",
    "param_type",
    "parse",
    "show",
    "subjaxprs",
]


def eval_jaxpr(jaxpr: Jaxpr, consts: Sequence[Any], *args: Any) -> list[Array]:
    """Run a program on arguments, under whatever transforms are around it.

    Args:
        jaxpr: the program.
        consts: one array or number for each of its constants.
        *args: one array or number for each of its arguments, of its shape and dtype.

    Returns:
        list of arrays, one for each of its results.

    Raises:
        ArgumentError: for more or fewer of either, or what is no array.
        ShapeError, DtypeError: naming the argument, and both types.

    Example:
        >>> import functrax
        >>> closed = functrax.make_jaxpr(lambda x: x * 2.0)(1.0)
        >>> eval_jaxpr(closed.jaxpr, closed.consts, 3.0)
        [Array(6., dtype=float32, weak_type=True)]
    """
    if not isinstance(jaxpr, Jaxpr):
        closed = isinstance(jaxpr, ClosedJaxpr)
        got = "a ClosedJaxpr" if closed else _shown(jaxpr)
        fix = "Pass its parts: `closed.jaxpr, closed.consts`." if closed else None
        raise errors.ArgumentError("eval_jaxpr", "a Jaxpr", got, fix=fix)
    consts = listed("eval_jaxpr", "consts", consts)
    known = _checked("constant", consts, jaxpr.constvars)
    results = _eval_jaxpr(jaxpr, known, *_checked("argument", args, jaxpr.invars))
    return [_as_array(x) for x in results]


def _checked(what: str, given: Sequence[Any], variables: Sequence[Var]) -> list[Value]:
    """Return what is given for variables as values of their types, weak or not."""
    call = "eval_jaxpr"
    if len(given) != len(variables):
        expected = f"{len(variables)} {what}{'s' * (len(variables) != 1)}, as the program has"
        types = ", ".join(repr(var.aval) for var in variables)
        fix = f"They are of the types ({types})." if variables else None
        raise errors.ArgumentError(call, expected, str(len(given)), fix=fix)
    values: list[Value] = []
    for place, (x, var) in enumerate(zip(given, variables, strict=True)):
        wanted = f"{what} {place} of type {var.aval!r}"
        try:
            value = as_value(x, call)
        except errors.IntegerOverflowError:
            raise
        except errors.ArgumentError as error:
            raise errors.ArgumentError(call, wanted, _shown(x)) from error
        if value.aval.shape != var.aval.shape:
            raise errors.ShapeError(call, wanted, repr(value.aval))
        if value.aval.dtype != var.aval.dtype:
            raise errors.DtypeError(call, wanted, repr(value.aval))
        values.append(value)
    return values


def __dir__() -> list[str]:
    return __all__
