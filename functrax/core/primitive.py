"""The record of a primitive: its name and all its rules, side by side.

Calling conventions, the same for every primitive:

abstract_eval
    ``(*types, **params) -> tuple of types``; checks shapes and dtypes and raises the user's error.
jvp
    ``(primals, tangents, **params) -> (results, tangents_out)``; a tangent is None where it is
    zero.
transpose
    ``(cotangents, *operands, **params) -> one cotangent or None per operand``; operands in which
    the equation is linear arrive as `Linear`, the others as values; a cotangent is None where it
    is zero.
batch
    ``(axis, operands, dims, **params) -> (results, dims_out)``; a dim is None where the operand is
    not mapped.
lower
    ``(b, *operands, **params) -> value or tuple of values``; b is the builder, with ``b.in_types``
    and ``b.out_types``.

Of higher-order primitives, calls and collectives only:

partial
    ``(trace, operands, unknown, params) -> results``; splits known from unknown.
evaluate
    ``(*operands, **params) -> results`` when there is no trace.
stage
    ``(trace, operands, params) -> results``; writes the equation.
axis_names
    ``(params) -> frozenset`` of the named axes that it refers to.
effects
    ``(params) -> frozenset`` of what it does beside computing: ``"io"``, ``"debug"``, ``"check"``,
    and ``"ordered"`` if it must happen in program order. Such equations stay, used or not.
meshes
    ``(params) -> tuple`` of the meshes that it names; it must have ``axis_names`` too.
prune
    ``(params, used) -> Pruned or None``; a smaller equation where some results are not used.
lowers_keys
    Whether ``lower`` itself takes arrays of PRNG keys, as their words; else they are lowered by
    ``batch``.
"""

import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from functrax import errors
from functrax.core.types import NO_AXES, ShapedArray

Rule = Callable[..., Any]


class BatchAxis(NamedTuple):
    """The axis that a batch rule maps over.

    Attributes:
        size: the number of positions.
        name: what collectives call it.
        exact: as in `functrax.core.trace.NamedAxis`.
        spmd: the axes of a mesh that it is divided along, where the program says how values lie.
    """

    size: int
    name: Any = None
    exact: bool = False
    spmd: tuple[Any, ...] = ()


class Pruned(NamedTuple):
    """An equation without what only unused results need: params, and what stays, by position."""

    params: dict[str, Any]
    operands: list[int]
    results: list[int]


class Refusal:
    """A rule that is absent on purpose, with the reason.

    Args:
        name: how the table of primitives prints it.
        reason: one sentence for the error message.
    """

    __slots__ = ("name", "reason")

    def __init__(self, name: str, reason: str) -> None:
        """Keep name and reason."""
        self.name = name
        self.reason = reason

    def __repr__(self) -> str:
        """Print the name."""
        return self.name


ZERO_DERIVATIVE = Refusal("zero", "The derivative is zero wherever it exists.")
NOT_LINEAR = Refusal("not linear", "The operation is not linear in any operand.")


class Linear:
    """Stands for an operand in which an equation is linear, while the equation is transposed."""

    __slots__ = ("aval",)

    def __init__(self, aval: ShapedArray) -> None:
        """Keep the operand's type."""
        self.aval = aval


class Primitive:
    """One operation of the IR. Make it with `declare`; the module's table gives the form of each
    rule.
    """

    __slots__ = (
        "abstract_eval",
        "axis_names",
        "batch",
        "declared",
        "effects",
        "evaluate",
        "jvp",
        "lower",
        "lowers_keys",
        "meshes",
        "name",
        "partial",
        "prune",
        "stage",
        "transpose",
    )

    def __init__(
        self,
        name: str,
        *,
        abstract_eval: Rule,
        jvp: Rule | Refusal,
        transpose: Rule | Refusal,
        batch: Rule | Refusal,
        lower: Rule | Refusal,
        partial: Rule | None = None,
        evaluate: Rule | None = None,
        stage: Rule | None = None,
        axis_names: Callable[[dict[str, Any]], frozenset[str]] | None = None,
        effects: Callable[[dict[str, Any]], frozenset[str]] | None = None,
        meshes: Callable[[dict[str, Any]], tuple[Any, ...]] | None = None,
        prune: Callable[[dict[str, Any], tuple[bool, ...]], Pruned | None] | None = None,
        lowers_keys: bool = False,
        declared: str = "",
    ) -> None:
        """Set the fields once; the record never changes afterwards."""
        setter = object.__setattr__
        setter(self, "name", name)
        setter(self, "abstract_eval", abstract_eval)
        setter(self, "jvp", jvp)
        setter(self, "transpose", transpose)
        setter(self, "batch", batch)
        setter(self, "lower", lower)
        setter(self, "partial", partial)
        setter(self, "evaluate", evaluate)
        setter(self, "stage", stage)
        setter(self, "axis_names", axis_names)
        setter(self, "effects", effects)
        setter(self, "meshes", meshes)
        setter(self, "prune", prune)
        setter(self, "lowers_keys", lowers_keys)
        setter(self, "declared", declared)

    name: str
    abstract_eval: Rule
    jvp: Any
    transpose: Any
    batch: Any
    lower: Any
    partial: Rule | None
    evaluate: Rule | None
    stage: Rule | None
    axis_names: Callable[[dict[str, Any]], frozenset[str]] | None
    effects: Callable[[dict[str, Any]], frozenset[str]] | None
    meshes: Callable[[dict[str, Any]], tuple[Any, ...]] | None
    prune: Callable[[dict[str, Any], tuple[bool, ...]], Pruned | None] | None
    lowers_keys: bool
    declared: str

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: a primitive is declared once, with all its rules."""
        raise errors.InternalError(
            "Primitive", "no change after declaration", f"{self.name}.{name}"
        )

    def __repr__(self) -> str:
        """Print the name."""
        return self.name


registry: dict[str, Primitive] = {}


def declare(name: str, **rules: Any) -> Primitive:
    """Declare a primitive with all its rules and register it by name.

    Args:
        name: the name printed in jaxprs; unique.
        **rules: the fields of `Primitive`.

    Returns:
        The primitive.

    Raises:
        ArgumentError: if the name is taken, or a rule is neither given nor refused.
    """
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame.f_back is not None and frame.f_code.co_filename.endswith(
        ("primitive.py", "rules.py")
    ):
        frame = frame.f_back
    if name in registry:
        raise errors.ArgumentError("declare", "a new primitive name", repr(name))
    for rule in ("abstract_eval", "jvp", "transpose", "batch", "lower"):
        found = rules.get(rule)
        if not callable(found) and not isinstance(found, Refusal):
            raise errors.ArgumentError(
                "declare",
                f"a function or a Refusal as {rule!r} of {name!r}",
                "none" if found is None else repr(found),
                fix="Write a `Refusal` with the reason if there can be no rule.",
            )
    primitive = Primitive(name, **rules, declared=f"{frame.f_code.co_filename}:{frame.f_lineno}")
    registry[name] = primitive
    return primitive


abstract_cache: dict[Any, tuple[ShapedArray, ...]] = {}


def abstract_eval(
    primitive: Primitive, types: tuple[ShapedArray, ...], params: dict[str, Any]
) -> tuple[ShapedArray, ...]:
    """Return the types of a primitive's results, cached on primitive, operand types and params.

    Calls of programs are not cached: the key would keep every program alive, and their types are at
    hand.
    """
    if primitive.partial is not None or primitive.stage is not None:
        return _eval_types(primitive, types, params)
    key = (primitive, types, tuple(params.items())) if params else (primitive, types)
    try:
        found = abstract_cache.get(key)
    except TypeError:  # an unhashable parameter: evaluate every time
        return _eval_types(primitive, types, params)
    if found is None:
        found = _eval_types(primitive, types, params)
        for aval in found:
            _check_sizes(primitive, aval)
        abstract_cache[key] = found
    return found


def _eval_types(
    primitive: Primitive, types: tuple[ShapedArray, ...], params: dict[str, Any]
) -> tuple[ShapedArray, ...]:
    """Apply the rule. What is computed on each device alone varies like its operands; rules of
    programs and collectives, which name axes, say it themselves.
    """
    varying = NO_AXES.union(*[aval.varying for aval in types])
    if not varying or primitive.axis_names is not None:
        return primitive.abstract_eval(*types, **params)
    plain = [aval.update(varying=NO_AXES) for aval in types]
    return tuple(
        [aval.update(varying=varying) for aval in primitive.abstract_eval(*plain, **params)]
    )


def _check_sizes(primitive: Primitive, aval: ShapedArray) -> None:
    """Refuse what XLA ends the process for: fewer elements than none, and 2**63 bytes."""
    if any(size < 0 for size in aval.shape):
        raise errors.ShapeError(primitive.name, "sizes >= 0", f"{aval!r}")
    if aval.size > 2**59 or 0 in aval.shape:
        size = math.prod(size or 1 for size in aval.shape)
        if size * getattr(aval.dtype, "itemsize", 16) >= 2**63:
            raise errors.OutOfMemoryError(
                primitive.name,
                "an array of fewer than 2**63 bytes",
                f"{aval!r}",
                fix="Use smaller sizes: no device holds so much.",
            )


def missing_rule(primitive: Primitive, transform: str, rule: str) -> errors.MissingRuleError:
    """Return the error for a primitive that lacks a transform's rule."""
    refusal = getattr(primitive, rule)
    if refusal is NOT_LINEAR and errors.is_internal_file(primitive.declared.rpartition(":")[0]):
        return errors.MissingRuleError(
            transform,
            "operations that are linear in what is transposed",
            f"{primitive.name!r}, which is linear in no operand",
            fix="Use `vjp`, which linearizes first.",
        )
    reason = refusal.reason + " " if isinstance(refusal, Refusal) else ""
    return errors.MissingRuleError(
        transform,
        f"a primitive with a rule for {rule!r}",
        f"{primitive.name!r}, which has none",
        fix=f"{reason}Add `{rule}=` to its declaration at {primitive.declared}.",
    )
