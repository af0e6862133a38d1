"""What rules with ``symbolic_zeros=True`` receive: zeros as objects, and primals that say whether
they are differentiated.
"""

import dataclasses
from typing import Any

from functrax.core import dtypes
from functrax.core import tree as trees
from functrax.core.trace import as_value
from functrax.core.types import ShapedArray
from functrax.primitives.rules import has_tangent, zeros
from functrax.transforms.flat import as_array


class SymbolicZero:
    """A tangent or cotangent that is known to be zero, without being an array.

    Args:
        aval: its type; the dtype is float0 where the primal is an integer.

    Example:
        >>> import functrax.numpy as jnp
        >>> zero = SymbolicZero.from_primal_value(jnp.ones((2, 3)))
        >>> zero, zero.shape
        (SymbolicZero(f32[2,3]), (2, 3))
    """

    __slots__ = ("aval",)

    def __init__(self, aval: ShapedArray) -> None:
        """Keep the type."""
        self.aval = aval

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""
        return self.aval.shape

    @property
    def dtype(self) -> Any:
        """The element type."""
        return self.aval.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.aval.ndim

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.aval.size

    @property
    def weak_type(self) -> bool:
        """Whether the dtype yields to others in promotion."""
        return self.aval.weak_type

    def __repr__(self) -> str:
        """Print the type."""
        return f"SymbolicZero({self.aval!r})"

    @staticmethod
    def from_primal_value(val: Any) -> "SymbolicZero":
        """Return the zero tangent of a value."""
        return symbolic_zero(as_value(val, "SymbolicZero").aval)


def symbolic_zero(aval: ShapedArray) -> SymbolicZero:
    """Return the zero tangent of values of a type."""
    return SymbolicZero(aval.update(dtype=dtypes.tangent_dtype(aval.dtype)))


@dataclasses.dataclass(slots=True)
class CustomVJPPrimal:
    """An argument as the ``fwd`` rule of a `custom_vjp` function with symbolic zeros receives it.

    Attributes:
        value: the array.
        perturbed: whether it is differentiated; if not, its cotangent is not used.
    """

    value: Any
    perturbed: bool


def custom_vjp_primal_tree_values(tree: Any) -> Any:
    """Replace each `CustomVJPPrimal` in a pytree by its value.

    Args:
        tree: a pytree with such leaves.

    Returns:
        The pytree of arrays.

    Example:
        >>> custom_vjp_primal_tree_values((CustomVJPPrimal(1.0, True), CustomVJPPrimal(2, False)))
        (1.0, 2)
    """
    return trees.map(lambda leaf: leaf.value, tree)


def zero_from_primal(val: Any, symbolic_zeros: bool = False) -> Any:
    """Return the zero tangent of a pytree of arrays.

    Args:
        val: the pytree.
        symbolic_zeros: whether its leaves are to be `SymbolicZero`.

    Returns:
        A pytree of zeros; the tangents of integers are None.

    Example:
        >>> import functrax.numpy as jnp
        >>> zero_from_primal((jnp.ones(2), 3))
        (Array([0., 0.], dtype=float32), None)
    """

    def zero(leaf: Any) -> Any:
        aval = as_value(leaf, "zero_from_primal").aval
        if symbolic_zeros:
            return symbolic_zero(aval)
        return as_array(zeros(aval)) if has_tangent(aval) else None

    return trees.map(zero, val)
