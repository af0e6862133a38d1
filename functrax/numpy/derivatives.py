"""Functions whose derivatives are given, because those of their formulas fail somewhere."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from functrax.core.params import param_type
from functrax.core.trace import Value, bind
from functrax.primitives.elementwise import add, mul
from functrax.transforms.custom_jvp import custom_jvp_call_p

Function = Callable[..., Value]

_declared: dict[str, tuple[Function, Sequence[Function]]] = {}


@param_type
class GivenDerivatives(NamedTuple):
    """The rule of a function by its name, so that programs with it can be printed and read back."""

    name: str

    def __call__(
        self, primals: Sequence[Value], tangents: Sequence[Value | None]
    ) -> tuple[list[Value], list[Value | None]]:
        """Push tangents forward through the function."""
        function, derivatives = _declared[self.name]
        total: Value | None = None
        for derivative, tangent in zip(derivatives, tangents, strict=True):
            if tangent is not None:
                part = mul(tangent, derivative(*primals))
                total = part if total is None else add(total, part)
        return [function(*primals)], [total]


def with_derivatives(name: str, function: Function, *derivatives: Function) -> Function:
    """Declare an elementwise function whose partial derivatives are known.

    Args:
        name: the function's name, which no other one has.
        function: the function of its operands.
        *derivatives: for each operand the derivative in it, as a function of the operands.

    Returns:
        The function with these derivatives.
    """
    given: Any = {
        "function": lambda *values: [function(*values)],
        "rule": GivenDerivatives(name),
        "name": name,
    }

    def apply(*operands: Value) -> Value:
        return bind(custom_jvp_call_p, *operands, **given)[0]

    apply.__name__ = apply.__qualname__ = name
    assert name not in _declared, name
    _declared[name] = apply, derivatives
    return apply
