"""A generator of small random programs for the laws in `tests/test_laws.py`.

A program is a function of two vectors to a vector, so that programs nest in each other: a block is
a list of steps, each of which adds a vector to those that there are; a step applies an operation,
or another block inside a transform. Interpreted with ``wrapped=False``, the transforms that change
nothing are left out, and those that differentiate stay.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from hypothesis import strategies as st

import functrax
import functrax.numpy as jnp
from functrax import lax
from functrax.custom_batching import custom_vmap, sequential_vmap
from functrax.custom_derivatives import SymbolicZero

SIZE = 3
_MIX = np.array([[0.5, -1.0, 0.25], [1.0, 0.75, -0.5], [-0.25, 0.5, 1.0]])
Vector = Any
Function = Callable[[Vector, Vector], Vector]


def vector(*values: float) -> Vector:
    """Return a vector in double precision."""
    return jnp.asarray(np.array(values), "float64")


# Operations: smooth, or with kinks that random points do not meet; none makes equal elements ------

OPERATIONS: dict[str, Function] = {
    "add": lambda x, y: x + y,
    "at-add": lambda x, y: x.at[np.array([0, 0, 2])].add(y),
    "at-set": lambda x, y: x.at[1].set(2 * y[0]),
    "concatenate": lambda x, y: jnp.concatenate([y[1:], x[:1]]),
    "constant": lambda x, y: x * vector(0.5, 1.5, -1.0),
    "cumsum": lambda x, y: jnp.cumsum(x) - y,
    "divide": lambda x, y: x / (1.5 + y * y),
    "dot": lambda x, y: jnp.dot(x, y) * x,
    "exp": lambda x, y: jnp.exp(-x * x) + x,
    "gather": lambda x, y: x[jnp.argmax(y)] * y,
    "integers": lambda x, y: x * jnp.arange(1, 4) + y.astype(int).astype("float64") * 0,
    "matmul": lambda x, y: jnp.asarray(_MIX, "float64") @ x,
    "maximum": lambda x, y: jnp.maximum(x, y * 0.9),
    "outer": lambda x, y: jnp.outer(x, y).sum(0),
    "power": lambda x, y: x**3 - 0.5 * y,
    "reverse": lambda x, y: x[::-1],
    "sin": lambda x, y: jnp.sin(x) * 1.5,
    "sort": lambda x, y: jnp.sort(x) + 0.1 * y,
    "subtract-mean": lambda x, y: x - 0.5 * x.mean(),
    "tanh": lambda x, y: jnp.tanh(x) + 0.3 * y,
    "where": lambda x, y: jnp.where(x > y, x, 0.5 * x - y),
}

# Transforms ---------------------------------------------------------------------------------------


def with_custom_jvp(f: Function) -> Function:
    """Say by a rule what the derivative is anyway."""

    @functrax.custom_jvp
    def g(x: Vector, y: Vector) -> Vector:
        return f(x, y)

    g.defjvp(lambda primals, tangents: functrax.jvp(f, primals, tangents))
    return g


def with_symbolic_jvp(f: Function) -> Function:
    """The same, where the rule is told which tangents are zero."""

    @functrax.custom_jvp
    def g(x: Vector, y: Vector) -> Vector:
        return f(x, y)

    def rule(primals: Any, tangents: Any) -> Any:
        return functrax.jvp(f, primals, [_instance(t) for t in tangents])

    g.defjvp(rule, symbolic_zeros=True)
    return g


def _instance(tangent: Any) -> Vector:
    is_zero = isinstance(tangent, SymbolicZero)
    return jnp.zeros(tangent.shape, tangent.dtype) if is_zero else tangent


def with_custom_vjp(f: Function, mode: str = "reverse", **options: Any) -> Function:
    """Say by a rule what the pullback is anyway."""

    def g(x: Vector, y: Vector) -> Vector:
        return f(x, y)

    wrapped = functrax.custom_vjp(g, **({"mode": mode} if mode != "reverse" else {}))
    wrapped.defvjp(
        lambda x, y: (f(x, y), (x, y)),
        lambda kept, ct: functrax.vjp(f, *kept)[1](ct),
        **options,
    )
    return wrapped


def with_symbolic_vjp(f: Function) -> Function:
    """The same, where the rules are told what is differentiated and which cotangents are zero."""

    @functrax.custom_vjp
    def g(x: Vector, y: Vector) -> Vector:
        return f(x, y)

    def forward(x: Any, y: Any) -> Any:
        return f(x.value, y.value), (x.value, y.value)

    def backward(kept: Any, ct: Any) -> Any:
        return functrax.vjp(f, *kept)[1](_instance(ct))

    g.defvjp(forward, backward, symbolic_zeros=True)
    return g


def with_custom_gradient(f: Function) -> Function:
    """The same, by the pullback that closes over what it needs."""
    return functrax.custom_gradient(lambda x, y: functrax.vjp(f, x, y))


def with_custom_vmap(f: Function) -> Function:
    """Say by a rule what mapping it is anyway."""

    @custom_vmap
    def g(x: Vector, y: Vector) -> Vector:
        return f(x, y)

    @g.def_vmap
    def rule(axis_size: int, in_batched: Any, x: Vector, y: Vector) -> Any:
        return functrax.vmap(f, [0 if b else None for b in in_batched])(x, y), True

    return g


def gradient(f: Function) -> Function:
    """Differentiate the sum with respect to the first vector."""
    return functrax.grad(lambda x, y: f(x, y).sum())


def pushed(f: Function) -> Function:
    """Differentiate along the second vector."""
    return lambda x, y: functrax.jvp(lambda x: f(x, y), (x,), (y,))[1]


def chosen(f: Function) -> Function:
    """Take a branch; the other one would give NaN."""
    return lambda x, y: lax.cond(x.sum() < 1e9, f, lambda x, y: jnp.log(-1.0 - x * x), x, y)


def looped(f: Function, **options: Any) -> Function:
    """Take one step of a loop that does not know how many it takes."""

    def run(x: Vector, y: Vector) -> Vector:
        below = lambda state: state[0] < 1  # noqa: E731
        step = lambda state: (state[0] + 1, f(state[1], y))  # noqa: E731
        return lax.while_loop(below, step, (0, x), **options)[1]

    return run


#: What leaves a function of two vectors as it is.
IDENTITIES: dict[str, Callable[[Function], Function]] = {
    "checkpoint": functrax.checkpoint,
    "checkpoint-dots": partial(
        functrax.checkpoint, policy=functrax.checkpoint_policies.dots_saveable
    ),
    "chosen": chosen,
    "custom_jvp": with_custom_jvp,
    "custom_jvp-symbolic": with_symbolic_jvp,
    "custom_gradient": with_custom_gradient,
    "custom_vjp": with_custom_vjp,
    "custom_vjp-remat": partial(with_custom_vjp, optimize_remat=True),
    "custom_vjp-symbolic": with_symbolic_vjp,
    "custom_vjp-transpose": partial(with_custom_vjp, mode="transpose"),
    "custom_vmap": with_custom_vmap,
    "eager": lambda f: f,
    "inlined": lambda f: functrax.jit(f, inline=True),
    "jit": functrax.jit,
    "linearized": lambda f: lambda x, y: functrax.linearize(f, x, y)[0],
    "mapped": lambda f: lambda x, y: functrax.vmap(f)(x[None], y[None])[0],
    "mapped-in-first": lambda f: (
        lambda x, y: functrax.vmap(f, (1, None), -1)(jnp.stack([y, x], 1), y)[:, 1]
    ),
    "mapped-in-second": lambda f: lambda x, y: functrax.vmap(f, (None, 0))(x, jnp.stack([y, x]))[0],
    "pulled": lambda f: lambda x, y: functrax.vjp(f, x, y)[0],
    "scanned": lambda f: lambda x, y: lax.scan(lambda c, t: (f(c, t), c), x, y[None])[0],
    "sequential_vmap": sequential_vmap,
    "serial": lambda f: lambda x, y: lax.map(lambda pair: f(*pair), (x[None], y[None]))[0],
}
#: The same, at the cost of larger programs where it is differentiated.
LOOPS: dict[str, Callable[[Function], Function]] = {
    "looped": looped,
    "looped-at-most": partial(looped, max_steps=2),
}
#: What differentiates it.
DERIVATIVES: dict[str, Callable[[Function], Function]] = {"gradient": gradient, "pushed": pushed}
TRANSFORMS = IDENTITIES | DERIVATIVES

# Programs -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """An operation, or a transform of a block, applied to two of the vectors."""

    name: str
    left: int
    right: int
    block: "Block | None" = None

    def __str__(self) -> str:
        """Print for hypothesis."""
        inner = f"({self.block})" if self.block else ""
        return f"{self.name}{inner}[{self.left},{self.right}]"


@dataclass(frozen=True)
class Block:
    """Steps; the result is the sum of the last two vectors."""

    steps: tuple[Step, ...]
    wrapped: bool = True

    def __str__(self) -> str:
        """Print for hypothesis."""
        return " ".join(map(str, self.steps))

    def plain(self) -> "Block":
        """The block without the transforms that change nothing."""
        return Block(self.steps, False)

    def __call__(self, x: Vector, y: Vector) -> Vector:
        """Interpret it."""
        vectors = [x, y]
        for step in self.steps:
            left, right = (vectors[place % len(vectors)] for place in (step.left, step.right))
            vectors.append(self._function(step)(left, right))
        return vectors[-1] + 0.5 * vectors[-2]

    def _function(self, step: Step) -> Function:
        if step.block is None:
            return OPERATIONS[step.name]
        inner = step.block if self.wrapped else step.block.plain()
        if not self.wrapped and step.name in IDENTITIES:
            return inner
        return TRANSFORMS[step.name](inner)


_places = st.integers(0, 4)


def operations() -> st.SearchStrategy[Step]:
    """Steps that apply an operation."""
    return st.builds(Step, st.sampled_from(sorted(OPERATIONS)), _places, _places)


def blocks(steps: st.SearchStrategy[Step], longest: int) -> st.SearchStrategy[Block]:
    """Blocks of a few steps."""
    return st.lists(steps, min_size=1, max_size=longest).map(lambda s: Block(tuple(s)))


def nested(names: list[str], inner: st.SearchStrategy[Block]) -> st.SearchStrategy[Step]:
    """Steps that apply a transform of a block."""
    return st.builds(Step, st.sampled_from(names), _places, _places, inner)


def programs(depth: int = 2, derivatives: bool = True) -> st.SearchStrategy[Block]:
    """Programs with transforms of programs inside, to some depth."""
    names = sorted(TRANSFORMS if derivatives else IDENTITIES)
    found = blocks(operations(), 3)
    for _ in range(depth):
        found = blocks(operations() | nested(names, found), 3)
    return found


def stacks(derivatives: int) -> st.SearchStrategy[list[str]]:
    """Lists of transforms to apply one after the other, a few of which differentiate."""
    names = st.lists(st.sampled_from(sorted(TRANSFORMS)), min_size=2, max_size=6)
    return names.filter(lambda s: sum(name in DERIVATIVES for name in s) <= derivatives)


# No two small sums of these are equal, so that no maximum or sorting meets a tie.
POINT = vector(0.31847, -0.72613, 1.13291), vector(0.54119, 0.87737, -0.46071)
DIRECTION = vector(0.6, 0.35, -0.8), vector(-0.45, 0.7, 0.25)
