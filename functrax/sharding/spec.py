"""Partition specs: along which axes of a mesh each dimension of an array is divided."""

from collections.abc import Hashable, Iterator
from typing import Any, ClassVar

from functrax import errors


class _Unconstrained:
    """The compiler may divide this dimension as it likes."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Print the name."""
        return "UNCONSTRAINED"

    def __reduce__(self) -> str:
        """Pickle by name: there is one."""
        return "UNCONSTRAINED"


UNCONSTRAINED = _Unconstrained()


class PartitionSpec:
    """Along which axes of a mesh each dimension of an array is divided.

    Args:
        *partitions: for each dimension the name of an axis, a tuple of names (the first is the
            outermost), None if it is not divided, or ``PartitionSpec.UNCONSTRAINED``. Dimensions
            that are not mentioned are not divided.
        unreduced: must be empty: types hold no shardings.
        reduced: likewise.

    Raises:
        ArgumentError: if a name is there twice, or cannot be one.

    Example:
        >>> PartitionSpec("data", None, ("x", "y"))
        P('data', None, ('x', 'y'))
    """

    __slots__ = ("_hash", "partitions")

    UNCONSTRAINED: ClassVar[Any] = UNCONSTRAINED
    prints_in_programs: ClassVar[bool] = True
    partitions: tuple[Any, ...]

    def __init__(
        self,
        *partitions: Any,
        unreduced: frozenset[Any] = frozenset(),
        reduced: frozenset[Any] = frozenset(),
    ) -> None:
        """Keep the names in one form: ``("a",)`` is ``"a"``, ``()`` is None."""
        if unreduced or reduced:
            raise errors.ArgumentError(
                "PartitionSpec",
                "neither unreduced nor reduced axes",
                f"unreduced={set(unreduced)}, reduced={set(reduced)}",
                fix="Sum with `lax.psum` inside of `shard_map`.",
            )
        self.partitions = tuple(map(_canonical, partitions))
        self._hash = hash((PartitionSpec, self.partitions))
        seen: set[Any] = set()
        for name in self.axes():
            if name in seen:
                raise errors.ArgumentError(
                    "PartitionSpec",
                    "each axis name at most once",
                    f"{name!r} twice in {self!r}",
                    fix="An axis of the mesh can divide one dimension only.",
                )
            seen.add(name)

    def axes(self) -> tuple[Any, ...]:
        """Return the names of all axes that divide a dimension, in order."""
        return tuple(name for entry in self.partitions for name in names_of(entry))

    def normalized(self, ndim: int) -> tuple[tuple[Any, ...], ...]:
        """Return the axes that divide each of `ndim` dimensions; UNCONSTRAINED is none."""
        found = tuple(map(names_of, self.partitions))
        return found + ((),) * (ndim - len(found))

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the entries."""
        return iter(self.partitions)

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self.partitions)

    def __getitem__(self, index: Any) -> Any:
        """Return an entry, or a tuple of them."""
        return self.partitions[index]

    def __add__(self, other: Any) -> "PartitionSpec":
        """Append entries."""
        return PartitionSpec(*self.partitions, *other)

    def __radd__(self, other: Any) -> "PartitionSpec":
        """Prepend entries."""
        return PartitionSpec(*other, *self.partitions)

    def index(self, value: Any) -> int:
        """Return the first dimension with this entry."""
        return self.partitions.index(_canonical(value))

    def count(self, value: Any) -> int:
        """Return the number of dimensions with this entry."""
        return self.partitions.count(_canonical(value))

    def __eq__(self, other: object) -> bool:
        """Compare the entries. A trailing None counts, though arrays lie in the same way."""
        return isinstance(other, PartitionSpec) and self.partitions == other.partitions

    def __hash__(self) -> int:
        """Hash the entries."""
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as a call."""
        return PartitionSpec, self.partitions

    def __repr__(self) -> str:
        """Print as a call of ``P``."""
        return f"P({', '.join(map(repr, self.partitions))})"


def _canonical(entry: Any) -> Any:
    names = tuple(entry) if isinstance(entry, tuple | list) else (entry,)
    for name in names:
        is_group = isinstance(name, tuple | list | PartitionSpec)
        alone = len(names) == 1 and names == (entry,)
        is_mark = (name is None or name is UNCONSTRAINED) and not alone
        if is_group or is_mark or not isinstance(name, Hashable):
            raise errors.ArgumentError(
                "PartitionSpec",
                "for each dimension the name of an axis, a tuple of names, or None",
                f"{entry!r}",
                fix="Write P('x', ('y', 'z'), None).",
            )
    return names if len(names) > 1 else names[0] if names else None


def names_of(entry: Any) -> tuple[Any, ...]:
    """Return the axes of one entry of a spec."""
    if entry is None or entry is UNCONSTRAINED:
        return ()
    return entry if isinstance(entry, tuple) else (entry,)
