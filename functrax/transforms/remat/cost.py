"""What a value costs: bytes to keep it, operations to compute it again."""

import math

from functrax.core.jaxpr import Equation, Jaxpr
from functrax.core.types import ShapedArray
from functrax.lowering.base import physical_type
from functrax.lowering.inline import programs_of

# Operations that move or rename what is there; XLA does them within others, or not at all.
_FREE = frozenset(
    [
        "name",
        "to_memory",
        "stop_gradient",
        "copy",
        "reshape",
        "broadcast_in_dim",
        "convert_element_type",
        "iota",
    ]
)
# Operations that take time in proportion to what they read.
_READING = ("reduce", "arg", "cum", "sort", "scatter")


def nbytes(aval: ShapedArray) -> int:
    """Return the bytes of a value: those of its words if it is an array of PRNG keys."""
    shape, dtype = physical_type(aval)
    return math.prod(shape) * dtype.itemsize


def flops(eqn: Equation) -> int:
    """Estimate the arithmetic operations of an equation, the programs in it included.

    Products and convolutions count two for each multiplication; a branch counts as its longest
    side; the steps of a `while`, which nobody knows, as one.
    """
    name = eqn.primitive.name
    programs = programs_of(eqn) if eqn.params else []
    if programs:
        inner = [program_flops(program) for program in programs]
        return max(inner) if name == "cond" else sum(inner) * eqn.params.get("length", 1)
    out = sum(v.aval.size for v in eqn.outvars)
    if name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        return 2 * out * math.prod(eqn.invars[0].aval.shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        # Each output element reads the kernel once, without the axis of output features.
        kernel = eqn.invars[1].aval
        features = kernel.shape[eqn.params["dimension_numbers"][1][0]]
        return 2 * out * (kernel.size // max(features, 1))
    if name in _FREE:
        return 0
    if name.startswith(_READING):
        return max([out, *(v.aval.size for v in eqn.invars)])
    return out


def program_flops(jaxpr: Jaxpr) -> int:
    """Estimate the arithmetic operations of a program."""
    return sum(map(flops, jaxpr.eqns))
