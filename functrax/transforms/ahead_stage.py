"""What the ahead-of-time stages of a jitted function share."""

from collections.abc import Callable
from typing import Any, NamedTuple

from functrax.core.jaxpr import Jaxpr
from functrax.core.trace import Value
from functrax.core.types import ShapedArray
from functrax.runtime.program import Program
from functrax.sharding import Mesh
from functrax.transforms.flat import ShapeDtypeStruct, function_name
from functrax.transforms.jit_shardings import Leaves


class Signature(NamedTuple):
    """A function at the types of one call.

    Attributes:
        function: the user's function.
        jaxpr: its program; captured values are its leading arguments.
        consts: the captured values.
        in_tree: the structure of ``(args, kwargs)``, without static arguments.
        out_tree: the structure of the result.
        donated: which leaves of the arguments are donated; empty for none.
        keep_unused: whether arguments that are not used are passed to the program all the same.
        static_nums: the positions of static arguments.
        avals: the types of the leaves of the arguments.
        overrides: XLA options that `jit` was given.
        checks: what the program checks while it runs.
        in_shardings: how the leaves of the arguments are to lie; empty for no matter.
        out_shardings: how results are to lie, likewise.
    """

    function: Callable[..., Any]
    jaxpr: Jaxpr
    consts: list[Value]
    in_tree: Any
    out_tree: Any
    donated: tuple[bool, ...]
    keep_unused: bool
    static_nums: tuple[int, ...]
    avals: tuple[ShapedArray, ...]
    overrides: dict[str, Any] | None
    checks: tuple[str, ...]
    in_shardings: Leaves = ()
    out_shardings: Leaves = ()


class Target(NamedTuple):
    """The devices of a mesh that a program is for, and how its arguments lie on them."""

    mesh: Mesh
    given: Leaves


class ArgInfo(NamedTuple):
    """What a stage knows of one array among its arguments.

    Attributes:
        shape: tuple of int.
        dtype: the element type.
        donated: whether its memory may be taken for results.
    """

    shape: tuple[int, ...]
    dtype: Any
    donated: bool


class Stage:
    """What all stages know: the types of arguments and results."""

    __slots__ = ("_signature",)

    def __init__(self, signature: Signature) -> None:
        """Keep the signature."""
        self._signature = signature

    @property
    def fun_name(self) -> str:
        """The name of the function."""
        return function_name(self._signature.function)

    @property
    def in_tree(self) -> Any:
        """The structure of ``(args, kwargs)``, without static arguments."""
        return self._signature.in_tree

    @property
    def in_avals(self) -> Any:
        """The tree ``(args, kwargs)`` of types."""
        return self.in_tree.unflatten(self._signature.avals)

    @property
    def args_info(self) -> Any:
        """The tree ``(args, kwargs)`` of `ArgInfo`."""
        avals = self._signature.avals
        donated = self._signature.donated or (False,) * len(avals)
        pairs = zip(avals, donated, strict=True)
        return self.in_tree.unflatten(
            [ArgInfo(aval.shape, aval.dtype, flag) for aval, flag in pairs]
        )

    @property
    def donate_argnums(self) -> tuple[int, ...]:
        """The positions of donated arrays among the leaves of the arguments."""
        return tuple(i for i, flag in enumerate(self._signature.donated) if flag)

    @property
    def out_tree(self) -> Any:
        """The structure of the result."""
        return self._signature.out_tree

    @property
    def out_avals(self) -> Any:
        """The tree of the result's types."""
        return self.out_tree.unflatten(self._signature.jaxpr.out_avals)

    @property
    def out_info(self) -> Any:
        """The tree of the result, a `ShapeDtypeStruct` for each array."""
        return self.out_tree.unflatten(
            [
                ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)
                for aval in self._signature.jaxpr.out_avals
            ]
        )

    def __repr__(self) -> str:
        """Print the stage and the function's types."""
        ins = ", ".join(map(repr, self._signature.avals))
        outs = ", ".join(map(repr, self._signature.jaxpr.out_avals))
        return f"<{type(self).__name__} {self.fun_name}: ({ins}) -> ({outs})>"


def program_of(signature: Signature, overrides: dict[str, Any] | None) -> Program:
    """Return the program of a signature, with XLA options, ready to be lowered or run."""
    return Program(
        signature.jaxpr,
        signature.consts,
        donated=signature.donated,
        keep_unused=signature.keep_unused,
        overrides=overrides,
        checks=signature.checks,
        in_shardings=signature.in_shardings,
        out_shardings=signature.out_shardings,
    )
