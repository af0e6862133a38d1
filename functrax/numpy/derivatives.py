"""Functions whose derivatives are given, because those of their formulas fail somewhere."""

from collections.abc import Callable, Sequence
from typing import Any

from functrax.core.trace import Value, bind
from functrax.primitives.elementwise import add, mul
from functrax.transforms.custom_jvp import custom_jvp_call_p


def with_derivatives(
    name: str,
    function: Callable[..., Value],
    derivatives: Sequence[Callable[..., Value]],
    *operands: Value,
) -> Value:
    """Apply an elementwise function whose partial derivatives are known.

    Args:
        name: the function's name.
        function: the function of the operands.
        derivatives: for each operand the derivative in it, as a function of the operands.
        *operands: values.
    """

    def rule(primals: Sequence[Value], tangents: Sequence[Value | None]) -> Any:
        total: Value | None = None
        for derivative, tangent in zip(derivatives, tangents, strict=True):
            if tangent is not None:
                part = mul(tangent, derivative(*primals))
                total = part if total is None else add(total, part)
        return [with_derivatives(name, function, derivatives, *primals)], [total]

    given: Any = {"function": lambda *values: [function(*values)], "rule": rule, "name": name}
    return bind(custom_jvp_call_p, *operands, **given)[0]
