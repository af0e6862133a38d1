"""A user's function of pytrees as a function of the arrays that have derivatives, and its own
derivatives as such functions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrax.core import dtypes, tree
from functrax.errors import ArgumentError, a_value
from functrax.numpy.creation import asarray
from functrax.transforms.flat import function_name
from functrax.transforms.grad import vjp


def is_inexact(x: Any) -> bool:
    """Tell whether a leaf is a floating or complex number or array."""
    return dtypes.is_inexact(dtypes.dtype_and_weak(x)[0])


def no_tangent(x: Any) -> Any:
    """Return the tangent of an integer, boolean or key."""
    return np.zeros(getattr(x, "shape", ()), dtypes.float0)


def inexact_leaves(root: str, whole: Any) -> tuple[list[str], list[Any]]:
    """Return the floating and complex leaves of a tree as arrays, and what they are called."""
    found = [(p, x) for p, x in tree.leaves_with_path(whole) if is_inexact(x)]
    return [root + tree.keystr(path) for path, _ in found], [asarray(x) for _, x in found]


class Arguments:
    """A tuple of arguments: the arrays in it that can be differentiated, and the rest."""

    def __init__(self, call: str, args: Sequence[Any]) -> None:
        if not isinstance(args, tuple | list):
            got = a_value(args)
            fix = "Write `(x,)` for one argument x."
            raise ArgumentError(call, "a tuple of arguments as args", got, fix=fix)
        self.leaves, self.structure = tree.flatten(tuple(args))
        self.names, self.values = inexact_leaves("args", tuple(args))
        if not self.values:
            raise ArgumentError(call, "at least one floating or complex array in args", "none")

    def fill(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """Return the arguments with other arrays in them."""
        given = iter(values)
        filled = [next(given) if is_inexact(x) else x for x in self.leaves]
        return self.structure.unflatten(filled)

    def fill_tangents(self, tangents: Sequence[Any]) -> tuple[Any, ...]:
        """Return the tangents of the arguments, which for integers are float0."""
        given = iter(tangents)
        filled = [next(given) if is_inexact(x) else no_tangent(x) for x in self.leaves]
        return self.structure.unflatten(filled)


class Function:
    """A function from arrays to a list of arrays, all of them floating or complex.

    Attributes:
        title: how messages name it.
        order: how many derivatives were taken to make it.
        inputs: the names of its arguments.
        outputs: the names of its results, known as soon as it ran.
    """

    def __init__(
        self, title: str, order: int, inputs: list[str], run: Callable[..., tuple[list[str], Any]]
    ) -> None:
        self.title = title
        self.order = order
        self.inputs = inputs
        self.outputs: list[str] = []
        self._run = run

    def __call__(self, *values: Any) -> list[Any]:
        """Return the results, and keep what they are called."""
        self.outputs, results = self._run(*values)
        return list(results)

    @classmethod
    def of_user(cls, f: Callable[..., Any], arguments: Arguments) -> "Function":
        """Make one of the user's function; its other results are dropped."""

        def run(*values: Any) -> tuple[list[str], Any]:
            return inexact_leaves("result", f(*arguments.fill(values)))

        return cls(repr(function_name(f)), 0, arguments.names, run)

    def forward(self, push: Callable[..., Any], name: str) -> "Function":
        """Return the function from values and tangents to tangents."""

        def run(*values: Any) -> tuple[list[str], Any]:
            half = len(values) // 2
            tangents = push(self, values[:half], values[half:])[1]
            return [f"the tangent of {name}" for name in self.outputs], tangents

        inputs = [*self.inputs, *(f"the tangent of {name}" for name in self.inputs)]
        return Function(f"the {name} of {self.title}", self.order + 1, inputs, run)

    def reverse(self) -> "Function":
        """Return the function from values and cotangents to cotangents."""
        count = len(self.inputs)

        def run(*values: Any) -> tuple[list[str], Any]:
            cotangents = vjp(self, *values[:count])[1](list(values[count:]))
            return [f"the cotangent of {name}" for name in self.inputs], cotangents

        inputs = [*self.inputs, *(f"the cotangent of {name}" for name in self.outputs)]
        return Function(f"the vjp of {self.title}", self.order + 1, inputs, run)
