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

from functrax.core.check import check_jaxpr
from functrax.core.jaxpr import ClosedJaxpr, Equation, Jaxpr, Var, eval_jaxpr, subjaxprs
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
from functrax.core.trace import Tracer, as_value, bind
from functrax.core.types import Literal, ShapedArray
from functrax.primitives.rules import declare_linear, is_linear, move_batch_axis

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


def __dir__() -> list[str]:
    return __all__
