"""The communication of compiled programs: what, between which devices, how many bytes, why."""

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from functrax import errors
from functrax.lowering.hlo_text import Instruction, Program, Visit, short_source, type_bytes
from functrax.sharding.mesh import Mesh

KINDS = (
    *("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute"),
    *("collective-broadcast", "ragged-all-to-all"),
)

# The last part of the path of an operation that a user wrote, or that is the derivative of one.
WRITTEN = frozenset(
    (
        *("psum", "psum_invariant", "pmax", "pmin", "pvary", "psum_scatter", "reduce_scatter"),
        *("all_gather", "all_gather_invariant", "all_to_all", "ragged_all_to_all"),
        *("ppermute", "pbroadcast"),
    )
)


class Collective(NamedTuple):
    """One operation of a compiled program in which devices exchange data.

    Attributes:
        kind: ``"all-reduce"``, ``"all-gather"``, ``"reduce-scatter"``, ``"all-to-all"``,
            ``"collective-permute"``, ``"collective-broadcast"`` or ``"ragged-all-to-all"``.
        axes: the axes of the mesh along which devices exchange data.
        group_size: how many devices exchange data with each other. It is the product of the sizes
            of the axes, or less where the compiler uses a part of an axis.
        operand_bytes: what each device has before, all operands together.
        result_bytes: what each device has after.
        sent_bytes: what each device sends each time: see `sent`.
        times: how often it runs; None if a loop around it runs an unknown number of times.
        conditional: whether it is in a branch that may not be taken.
        explicit: whether the program asks for it; if not the compiler's partitioner does.
        operation: the path of the operation in the program that it belongs to.
        source: the ``path:line`` of that operation, or an empty string.
    """

    kind: str
    axes: tuple[object, ...]
    group_size: int
    operand_bytes: int
    result_bytes: int
    sent_bytes: int
    times: int | None
    conditional: bool
    explicit: bool
    operation: str
    source: str

    @property
    def total_bytes(self) -> int:
        """The bytes that each device sends in a run; of unknown loops, in one round."""
        return self.sent_bytes * (1 if self.times is None else self.times)


def collectives(text: str, mesh: Mesh | None = None) -> list[Collective]:
    """Return the collectives of a compiled program, in the order in which it runs them.

    Args:
        text: the optimized program in HLO's text form.
        mesh: its devices in its order, which names the axes.
    """
    program = Program(text)
    found = [_collective(program, visit, mesh) for visit in program.visits()]
    return [one for one in found if one is not None and one.group_size > 1]


def implicit(text: str, mesh: Mesh | None) -> list[Collective]:
    """Return the collectives that the partitioner has added to a compiled program."""
    return [one for one in collectives(text, mesh) if not one.explicit]


def check_explicit(text: str, mesh: Mesh | None, name: str) -> None:
    """Raise if the partitioner has added a collective to a program.

    Args:
        text: the optimized program in HLO's text form.
        mesh: its devices in its order.
        name: of the function.

    Raises:
        CommunicationError: naming the largest, and its line.
    """
    added = implicit(text, mesh)
    if not added:
        return
    largest = max(added, key=lambda one: one.total_bytes)
    others = f", and {len(added) - 1} more" if len(added) > 1 else ""
    axes = ", ".join(map(repr, largest.axes))
    name_of = largest.operation.rpartition("/")[2]
    operation = repr(name_of) if name_of else "an operation without a name"
    raise errors.CommunicationError(
        "no_implicit_comms",
        f"no communication in {name!r} that it does not ask for",
        f"{largest.kind} of {largest.operand_bytes} bytes along {axes or 'devices'} for "
        f"{operation}{others}",
        where=short_source(largest.source) or None,
        fix="Change the shardings of its operands or its result, or write the communication in "
        "`shard_map`; `explain_comms` shows all.",
    )


def sent(kind: str, size: int, operand: int) -> int:
    """Return the bytes that a device sends in one collective among `size`, each with `operand`
    bytes, by the ring algorithms, which are optimal: 2(n-1)/n B for all-reduce, (n-1) B for
    all-gather, (n-1)/n B for reduce-scatter and all-to-all, B for permute and broadcast.

    Source: Patarasu and Yuan, Bandwidth optimal all-reduce algorithms, 2009.
    """
    if kind == "all-reduce":
        return -(-2 * (size - 1) * operand // size)
    if kind == "all-gather":
        return (size - 1) * operand
    if kind in ("reduce-scatter", "all-to-all", "ragged-all-to-all"):
        return -(-(size - 1) * operand // size)
    return operand


def _collective(program: Program, visit: Visit, mesh: Mesh | None) -> Collective | None:
    one = visit.instruction
    kind = one.opcode.removesuffix("-start")
    if kind not in KINDS:
        return None
    groups = _groups(one, mesh)
    size = max(map(len, groups), default=1)
    operands = [visit.computation[name].type for name in one.operands if name in visit.computation]
    operand = sum(map(type_bytes, operands))
    if kind == "ragged-all-to-all":  # data, where results go, and four arrays of offsets and sizes
        operand = type_bytes(operands[0])
    result = _result(one, kind, size, operand)
    whole = visit.whole.instruction if visit.whole is not None else one
    if kind == "all-reduce" and "calls=%all-reduce-scatter" in whole.attributes:
        # TPUs write a reduce-scatter as a fusion of a sum and a slice.
        kind, result = "reduce-scatter", type_bytes(whole.type)
    path = visit.op_name
    generated = any('is_spmd_generated="true"' in part.attributes for part in (one, whole))
    return Collective(
        kind,
        _axes(groups, mesh),
        size,
        operand,
        result,
        sent(kind, size, operand),
        visit.times,
        visit.conditional,
        not generated and _is_written(path),
        _first(path),
        program.where(visit),
    )


def _first(path: str) -> str:
    """Return the path of the first operation that an instruction is for."""
    path = re.split("[;:]", path)[0].replace("/(", "/")
    return re.sub(r"\.\d+$", "", path)  # XLA numbers what has no path


def _is_written(path: str) -> bool:
    return all(any(name in WRITTEN for name in names) for names in _operations(path))


def _operations(path: str) -> list[list[str]]:
    """Return the names of the operations that an instruction is for: of each collective that XLA
    has combined in it (``a/(psum:b/psum)``), those that it has merged (``a/mul;b/psum``).
    """
    return [
        [one.rpartition("/")[2].partition("[")[0].strip("()") for one in part.split(";")]
        for part in path.split(":")
    ]


def _result(one: Instruction, kind: str, size: int, operand: int) -> int:
    if not one.opcode.endswith("-start"):
        return type_bytes(one.type)
    # The type of a start has its operands and counters too.
    return operand * size if kind == "all-gather" else operand


# Which devices ------------------------------------------------------------------------------------

_LISTED = re.compile(r"replica_groups=\{((?:\{[\d,]*\},?)*)\}")
_IOTA = re.compile(r"replica_groups=\[([\d,]+)\]<=(\[[\d,]+\](?:T\([\d,]+\))?)")
_NAMED = re.compile(
    r"replica_groups=\w*\[([^\]]*)\](?:, ?device_ids=\((\[[\d,]+\](?:T\([\d,]+\))?|[\d, ]*)\))?"
    r" ?\{([^}]*)\}"
)
_PAIRS = re.compile(r"source_target_pairs=\{((?:\{\d+,\d+\},?)*)\}")
_SIZE = re.compile(r"""['"](.*?)['"]=(\d+)""")
_USED = re.compile(r"""['"](.*?)['"](?::\((\d+)\)(\d+))?""")


def _groups(one: Instruction, mesh: Mesh | None) -> list[list[int]]:
    """Return the devices that exchange data, by their numbers in the program."""
    text = one.attributes
    if pairs := _PAIRS.search(text):
        return _chains([_numbers(pair) for pair in re.findall(r"\{([\d,]+)\}", pairs[1])])
    if iota := _IOTA.search(text):
        return _iota(iota[2]).reshape(_numbers(iota[1])).tolist()
    if named := _NAMED.search(text):
        return _named_groups(*named.groups())
    listed = _LISTED.search(text)
    found = [_numbers(group) for group in re.findall(r"\{([\d,]+)\}", listed[1])] if listed else []
    everyone = list(range(mesh.size)) if mesh is not None else []
    return found or [everyone]  # no group at all means one of all


def _chains(pairs: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the sets of devices that pairs connect."""
    found: dict[int, list[int]] = {}
    for pair in pairs:
        joined = list(dict.fromkeys(n for end in pair for n in found.get(end, [end])))
        found.update(dict.fromkeys(joined, joined))
    return list({id(chain): chain for chain in found.values()}.values())


def _named_groups(sizes: str, ids: str | None, used: str) -> list[list[int]]:
    """Read ``mesh['x'=4,'y'=2], device_ids=([4,2]T(1,0)) {'x','y':(1)2}``: the groups along some
    axes of the partitioner's own mesh, or factors of them (``(outer)size``).
    """
    axes = dict(_SIZE.findall(sizes))
    shape: list[int] = []
    chosen: list[int] = []
    along = {name: (pre, size) for name, pre, size in _USED.findall(used)}
    for name, text in axes.items():
        size = int(text)
        outer, own = along.get(name, ("", ""))
        parts = [int(outer), int(own), size // (int(outer) * int(own))] if own else [size]
        if name in along:
            chosen.append(len(shape) + (1 if own else 0))
        shape += parts
    count = math.prod(shape)
    numbers = np.arange(count)
    if ids:
        numbers = _iota(ids) if ids.startswith("[") else np.array(_numbers(ids))
    rest = [i for i in range(len(shape)) if i not in chosen]
    among = math.prod(shape[i] for i in chosen)
    return numbers.reshape(shape).transpose([*rest, *chosen]).reshape(-1, among).tolist()


def _iota(text: str) -> "np.ndarray[tuple[int, ...], np.dtype[np.int_]]":
    """Read ``[4,2]T(1,0)``: counted in that shape, transposed, row by row."""
    shape, _, order = text.partition("T")
    sizes = _numbers(shape)
    found = np.arange(math.prod(sizes)).reshape(sizes)
    return (found.transpose(_numbers(order)) if order else found).reshape(-1)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def _axes(groups: Sequence[Sequence[int]], mesh: Mesh | None) -> tuple[object, ...]:
    """Return the axes of a mesh along which the members of a group differ."""
    if mesh is None or max((n for group in groups for n in group), default=0) >= mesh.size:
        return ()
    places = np.array(np.unravel_index(np.arange(mesh.size), mesh.axis_sizes)).T
    differ = [False] * len(mesh.axis_names)
    for group in groups:
        spread = places[list(group)]
        differ = [was or bool(np.ptp(column)) for was, column in zip(differ, spread.T, strict=True)]
    return tuple(name for name, found in zip(mesh.axis_names, differ, strict=True) if found)
