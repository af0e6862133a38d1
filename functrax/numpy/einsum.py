"""Sums of products over named axes."""

import functools
from typing import Any, NamedTuple

import numpy as np

from functrax import errors
from functrax.core import dtypes
from functrax.core.arguments import integers, listed
from functrax.core.trace import Array, Value, bind, describe
from functrax.numpy.linear import contract
from functrax.numpy.operands import cast, operand, promote, to_array
from functrax.primitives import elementwise as lax
from functrax.primitives.convert import convert
from functrax.primitives.precision import canonical_precision
from functrax.primitives.reduce import reduce_or, reduce_sum
from functrax.primitives.rules import full, reshape, transpose_axes
from functrax.primitives.select import select_n
from functrax.primitives.shape import iota_p
from functrax.transforms.fuse import fuse

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def einsum(
    subscripts: Any, /, *operands: Any, out: None = None, optimize: Any = "auto",
    precision: Any = None, preferred_element_type: Any = None, _dot_general: None = None,
    out_sharding: None = None,
) -> Array:  # fmt: skip
    """Multiply arrays and sum, with a letter for each axis.

    Args:
        subscripts: str such as ``"bij,bjk->bik"``: letters for the axes of each array, an ellipsis
            for any axes in front, and after the arrow the axes of the result; without an arrow, the
            letters that occur once, in alphabetical order. Or arrays and lists of ints in turn.
        *operands: arrays; dtypes are promoted, axes of size 1 broadcast.
        out: must be None.
        optimize: how the order of products is found for three or more arrays: "auto", "optimal",
            "greedy", True, False for left to right, or a path.
        precision: as in `matmul`.
        preferred_element_type: the dtype to sum in and return.
        out_sharding: must be None.

    Returns:
        An array.

    Raises:
        ArgumentError: if the subscripts are ill-formed.
        ShapeError: if sizes of one letter differ.

    Example:
        >>> jnp.einsum("ij,j->i", jnp.eye(2), jnp.array([1.0, 2.0]))
        Array([1., 2.], dtype=float32)
    """
    if out is not None:
        raise errors.ArgumentError("einsum", "out=None", errors.type_name(out))
    if not isinstance(subscripts, str):
        subscripts, operands = _from_lists((subscripts, *operands))
    values = [operand(x, "einsum") for x in operands]
    if len({x.aval.dtype for x in values}) > 1:
        values = promote("einsum", *values)
    preferred = preferred_element_type
    if preferred is not None:
        preferred = dtypes.canonicalize(preferred, "einsum")
    shapes = tuple([x.aval.shape for x in values])
    plan = _plan(subscripts, shapes, _hashable(optimize))
    if plan.product is not None and not (values[0].aval.weak_type and values[1].aval.weak_type):
        swapped, numbers, order = plan.product
        a, b = values[::-1] if swapped else values
        result = contract(a, b, numbers, precision, preferred, "einsum")
        return result if order is None else transpose_axes(result, order)
    precision = canonical_precision(precision, "einsum")
    return _fused(*values, plan=plan, precision=precision, preferred=preferred)


class Plan(NamedTuple):
    """How a sum of products is computed.

    Attributes:
        inputs: the letters of each operand.
        output: the letters of the result.
        path: which operands are multiplied at each step.
        product: for one product of two operands that needs nothing else: whether they are
            exchanged, its dimension numbers, and the order of axes that remains to be made.
    """

    inputs: tuple[str, ...]
    output: str
    path: tuple[tuple[int, ...], ...]
    product: tuple[bool, Any, tuple[int, ...] | None] | None


@functools.lru_cache(4096)
def _plan(subscripts: str, shapes: tuple[tuple[int, ...], ...], optimize: Any) -> Plan:
    inputs, output = _parse(subscripts, tuple(map(len, shapes)))
    _check_sizes(subscripts, inputs, shapes)
    path = _path(inputs, output, shapes, optimize)
    return Plan(inputs, output, path, _single_product(inputs, output, shapes))


def _single_product(
    inputs: tuple[str, ...], output: str, shapes: tuple[tuple[int, ...], ...]
) -> tuple[bool, Any, tuple[int, ...] | None] | None:
    """Plan one dot_general, if nothing has to be summed, repeated or stretched before it."""
    if len(inputs) != 2:
        return None
    left, right = inputs
    if any(
        len(own) != len(set(own)) or not set(own) <= set(other) | set(output)
        for own, other in ((left, right), (right, left))
    ):
        return None
    sizes = dict(zip(left, shapes[0], strict=True))
    if any(sizes.get(c, size) != size for c, size in zip(right, shapes[1], strict=True)):
        return None
    swapped, numbers, result = pairing(left, right, set(output), output)
    order = None if result == output else tuple(map(result.index, output))
    return swapped, numbers, order


def pairing(left: str, right: str, kept: set[str], output: str | None) -> tuple[bool, Any, str]:
    """Return whether to exchange two operands, the dimension numbers, and the letters of their
    product.
    """
    shared = [c for c in left if c in right]
    batch = [c for c in shared if c in kept]
    summed = [c for c in shared if c not in kept]
    only_left = [c for c in left if c not in right]
    only_right = [c for c in right if c not in left]
    result, exchanged = (
        "".join(batch + only_left + only_right),
        "".join(batch + only_right + only_left),
    )
    swapped = output is not None and output == exchanged != result
    if swapped:  # it saves a transposition
        left, right, result = right, left, exchanged
    numbers = (
        (tuple(map(left.index, summed)), tuple(map(right.index, summed))),
        (tuple(map(left.index, batch)), tuple(map(right.index, batch))),
    )
    return swapped, numbers, result


def _hashable(optimize: Any) -> Any:
    """Return a word, a bool, or the steps of a path as a tuple.

    Raises:
        ArgumentError: if it is none of these.
    """
    if isinstance(optimize, bool | str):
        return optimize
    call, name = "einsum", "optimize"
    steps = [step for step in listed(call, name, optimize) if step != "einsum_path"]
    return tuple([integers(call, name, step) for step in steps])


def _from_lists(arguments: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """Return the alternating form as a string and the arrays."""
    pairs, rest = divmod(len(arguments), 2)

    def letters(axes: Any) -> str:
        found = listed("einsum", "subscripts", axes)
        if all(axis is Ellipsis or _is_letter(axis) for axis in found):
            return "".join("..." if axis is Ellipsis else _LETTERS[axis] for axis in found)
        expected = f"a string, or arrays and lists of axes from 0 to {len(_LETTERS) - 1} in turn"
        raise errors.ArgumentError("einsum", expected, describe(axes))

    inputs = ",".join(letters(arguments[2 * i + 1]) for i in range(pairs))
    text = f"{inputs}->{letters(arguments[-1])}" if rest else inputs
    return text, tuple(arguments[2 * i] for i in range(pairs))


def _is_letter(axis: Any) -> bool:
    return isinstance(axis, int | np.integer) and 0 <= int(axis) < len(_LETTERS)


def _parse(subscripts: str, ranks: tuple[int, ...]) -> tuple[tuple[str, ...], str]:
    """Return the letters of each operand and of the result, with letters for the ellipsis."""
    text = subscripts.replace(" ", "")
    left, arrow, output = text.partition("->")
    parts = left.split(",")
    plain = text.replace("...", "").replace("->", "").replace(",", "")
    if len(parts) != len(ranks) or not all(c in _LETTERS for c in plain):
        raise errors.ArgumentError(
            "einsum", f"letters, '...', ',' and '->' for {len(ranks)} arrays", repr(subscripts)
        )
    hidden = [rank - len(part.replace("...", "")) if "..." in part else 0
              for part, rank in zip(parts, ranks, strict=True)]  # fmt: skip
    spare = [c for c in _LETTERS[::-1] if c not in plain][: max(hidden, default=0)][::-1]
    inputs = tuple(
        part.replace("...", "".join(spare[len(spare) - n :]) if n > 0 else "")
        for part, n in zip(parts, hidden, strict=True)
    )
    if any(len(part) != rank for part, rank in zip(inputs, ranks, strict=True)):
        raise errors.ArgumentError(
            "einsum",
            f"one letter per axis of arrays of {', '.join(map(str, ranks))} axes",
            repr(subscripts),
        )
    joined = "".join(inputs)
    if not arrow:
        once = sorted(c for c in set(plain) if joined.count(c) == 1)
        return inputs, "".join(spare) + "".join(once)
    output = output.replace("...", "".join(spare))
    if len(set(output)) != len(output) or not set(output) <= set(joined):
        raise errors.ArgumentError(
            "einsum", "letters of the arrays, each once, after the arrow", repr(subscripts)
        )
    return inputs, output


def _check_sizes(subscripts: str, inputs: tuple[str, ...], shapes: tuple[Any, ...]) -> None:
    sizes: dict[str, int] = {}
    for letters, shape in zip(inputs, shapes, strict=True):
        for letter, size in zip(letters, shape, strict=True):
            known = sizes.setdefault(letter, size)
            if size not in (1, known) and known != 1:
                raise errors.ShapeError(
                    "einsum",
                    f"one size for each letter of {subscripts!r}",
                    f"{known} and {size} for {letter!r}, in shapes {', '.join(map(str, shapes))}",
                )
            sizes[letter] = max(size, known)


def _path(
    inputs: tuple[str, ...], output: str, shapes: tuple[Any, ...], optimize: Any
) -> tuple[tuple[int, ...], ...]:
    """Return which operands are multiplied at each step."""
    count = len(inputs)
    if count <= 2:
        return (tuple(range(count)),)
    if optimize is False:
        return ((0, 1), *((0, count - 2 - i) for i in range(count - 2)))
    if isinstance(optimize, tuple):
        _check_path(optimize, count)
        return optimize
    large = optimize == "auto" and count > 5
    kind = optimize if large else _SEARCHES.get(optimize, optimize)
    path, _ = _found_path(",".join(inputs) + "->" + output, shapes, kind)
    return tuple(map(tuple, path))


#: How the order of products is found, by what users ask for; other words are opt_einsum's own.
_SEARCHES: dict[Any, str] = {True: "optimal", "auto": "optimal"}


def _check_path(path: tuple[tuple[int, ...], ...], count: int) -> None:
    """Raise unless the steps of a path multiply all arrays, each once.

    Raises:
        ArgumentError: showing the path.
    """
    left = count
    for step in path:
        if not step or len({*step}) < len(step) or not all(0 <= i < left for i in step):
            left = 0
            break
        left -= len(step) - 1
    if left != 1:
        expected = f"a path that multiplies {count} arrays, each once, as optimize"
        raise errors.ArgumentError("einsum", expected, repr([*path]))


def _found_path(equation: str, shapes: tuple[Any, ...], kind: Any) -> tuple[Any, Any]:
    """Search the order of products.

    Raises:
        ArgumentError: if opt_einsum does not know this kind of search.
    """
    import opt_einsum

    try:
        return opt_einsum.contract_path(equation, *shapes, shapes=True, optimize=kind)
    except KeyError:
        words = "True, False, 'auto', 'optimal', 'greedy' or a path as optimize"
        raise errors.ArgumentError("einsum", words, repr(kind)) from None


@fuse
def _fused(*values: Value, plan: Plan, precision: Any, preferred: Any) -> Value:
    """Multiply along the path; the result is weak only if all arrays are."""
    weak = preferred is None and all(x.aval.weak_type for x in values)
    if preferred is not None and dtypes.is_bool(values[0].aval.dtype):
        values = tuple([cast(x, preferred) for x in values])
    terms = list(zip(values, plan.inputs, strict=True))
    for step in plan.path:
        chosen = [terms.pop(i) for i in sorted(step, reverse=True)][::-1]
        while len(chosen) > 1:
            kept = set(plan.output).union(*(letters for _, letters in terms + chosen[2:]))
            last = not terms and len(chosen) == 2
            (a, b), rest = chosen[:2], chosen[2:]
            output = plan.output if last else None
            chosen = [_multiply(a, b, kept, output, precision, preferred), *rest]
        terms.append(chosen[0])
    ((value, letters),) = terms
    value, letters = _single(value, letters, set(plan.output))
    value = transpose_axes(value, tuple(map(letters.index, plan.output)))
    value = value if preferred is None else cast(value, preferred)
    return to_array(convert(value, value.aval.dtype, weak))


def _single(value: Value, letters: str, kept: set[str]) -> tuple[Value, str]:
    """Take diagonals of repeated letters and sum letters that nothing else has."""
    for letter in sorted(set(letters)):
        while letters.count(letter) > 1:
            value, letters = _diagonal(value, letters, letter)
    gone = tuple(i for i, letter in enumerate(letters) if letter not in kept)
    if gone:
        value = _summed(value, gone)
        letters = "".join(letter for letter in letters if letter in kept)
    return value, letters


def _diagonal(value: Value, letters: str, letter: str) -> tuple[Value, str]:
    """Keep the elements whose two indices agree: mask the rest and sum them away."""
    first = letters.index(letter)
    second = letters.index(letter, first + 1)
    shape = value.aval.shape
    if shape[first] != shape[second]:
        raise errors.ShapeError(
            "einsum", f"equal sizes for the two axes {letter!r}", repr(value.aval)
        )

    def index(axis: int) -> Value:
        params = {"dtype": dtypes.int32, "shape": shape, "dimension": axis}
        return bind(iota_p, **params)[0]

    zero = full(shape, 0, value.aval.dtype)
    value = _summed(select_n(lax.eq(index(first), index(second)), zero, value), (second,))
    return value, letters[:second] + letters[second + 1 :]


def _summed(value: Value, axes: tuple[int, ...]) -> Value:
    """Sum over axes; of booleans, whose product is *and*, the sum is *or*."""
    return (reduce_or if dtypes.is_bool(value.aval.dtype) else reduce_sum)(value, axes)


def _multiply(
    a: tuple[Value, str], b: tuple[Value, str], kept: set[str], output: str | None, precision: Any,
    preferred: Any,
) -> tuple[Value, str]:  # fmt: skip
    """Multiply two terms and sum the letters that nothing else has."""
    (x, left), (y, right) = a, b
    if not (len(left) == len(set(left)) and set(left) <= kept | set(right)):
        x, left = _single(x, left, kept | set(right))
    if not (len(right) == len(set(right)) and set(right) <= kept | set(left)):
        y, right = _single(y, right, kept | set(left))
    x, left = _without_units(x, left, y, right)
    y, right = _without_units(y, right, x, left)
    swapped, numbers, result = pairing(left, right, kept, output)
    x, y = (y, x) if swapped else (x, y)
    return contract(x, y, numbers, precision, preferred, "einsum"), result


def _without_units(x: Value, left: str, y: Value, right: str) -> tuple[Value, str]:
    """Drop axes of size 1 whose letter has another size in the other operand: they broadcast."""
    sizes = dict(zip(right, y.aval.shape, strict=True))
    gone = [i for i, c in enumerate(left) if x.aval.shape[i] == 1 and sizes.get(c, 1) != 1]
    if not gone:
        return x, left
    shape = tuple(size for i, size in enumerate(x.aval.shape) if i not in gone)
    return reshape(x, shape), "".join(c for i, c in enumerate(left) if i not in gone)


def einsum_path(subscripts: Any, /, *operands: Any, optimize: Any = "auto") -> tuple[Any, str]:
    """Return the order of products that `einsum` would take, and a description.

    Args:
        subscripts: str, as in `einsum`.
        *operands: arrays.
        optimize: as in `einsum`.

    Returns:
        ``(path, description)``.

    Raises:
        ArgumentError, ShapeError: as `einsum`.
    """
    if not isinstance(subscripts, str):
        subscripts, operands = _from_lists((subscripts, *operands))
    shapes = tuple(operand(x, "einsum_path").aval.shape for x in operands)
    inputs, output = _parse(subscripts, tuple(map(len, shapes)))
    _check_sizes(subscripts, inputs, shapes)
    wanted = _hashable(optimize)
    if isinstance(wanted, tuple):
        _check_path(wanted, len(shapes))
    if wanted is False:
        wanted = _path(inputs, output, shapes, False)
    path, information = _found_path(subscripts, shapes, _SEARCHES.get(wanted, wanted))
    return [*map(tuple, path)], str(information)
