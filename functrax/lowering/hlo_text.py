"""Reading compiled programs in HLO's text form: computations, calls, loops, lines of the source."""

import math
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = ")
_OPERAND = re.compile(r"%([\w.\-]+)")
_ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,<=]*)\]")
_CALLEES = re.compile(
    r"\b(calls|to_apply|body|condition|branch_computations|true_computation|false_computation"
    r"|called_computations)=(\{[^}]*\}|%?[\w.\-]+)"
)
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_OP_NAME = re.compile(r'op_name="((?:[^"\\]|\\.)*)"')
_FRAME = re.compile(r"stack_frame_id=(\d+)")
_FILE = re.compile(r'source_file="((?:[^"\\]|\\.)*)"')
_LINE = re.compile(r"source_line=(\d+)")


class Instruction(NamedTuple):
    """One instruction.

    Attributes:
        name: unique in its computation.
        type: of the result, as text.
        opcode: such as ``all-reduce``.
        operands: the names of the operands.
        attributes: what follows the operands.
    """

    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str

    @property
    def op_name(self) -> str:
        """The path of the operation in the user's program, or an empty string."""
        found = _OP_NAME.search(self.attributes)
        return found[1] if found else ""


Computation = dict[str, Instruction]


class Visit(NamedTuple):
    """An instruction as a run of the program meets it.

    Attributes:
        instruction: the instruction.
        computation: where it stands.
        times: how often it runs; None if a loop around it runs an unknown number of times.
        conditional: whether it is in a branch, which may not be taken.
        whole: the fusion, call or start that it is a part of, if any.
    """

    instruction: Instruction
    computation: Computation
    times: int | None
    conditional: bool
    whole: "Visit | None" = None

    @property
    def op_name(self) -> str:
        """The path of the operation in the user's program: its own, or that of the whole."""
        own = self.instruction.op_name
        return own or (self.whole.op_name if self.whole is not None else "")


class Program:
    """A module in text form.

    Args:
        text: what `Compiled.as_text` returns.

    Attributes:
        computations: by name.
        entry: the name of the first one to run.
    """

    def __init__(self, text: str) -> None:
        """Read the computations and the table of source lines."""
        self.computations: dict[str, Computation] = {}
        self.entry = ""
        tables: dict[str, dict[int, str]] = {}
        section: dict[int, str] = {}
        body: Computation = {}
        for line in text.splitlines():
            if header := _HEADER.match(line):
                body = self.computations[header[2]] = {}
                self.entry = header[2] if header[1] else self.entry
            elif start := _INSTRUCTION.match(line):
                body[start[1]] = _read(start[1], line[start.end() :])
            elif line in _TABLES:
                section = tables[line] = {}
            elif line[:1].isdigit():
                number, _, rest = line.partition(" ")
                section[int(number)] = rest
        self._frames = _source_lines(tables)

    def visits(self) -> Iterator[Visit]:
        """Yield every instruction that can run, in order, as often as it is called from."""
        yield from self._visit(self.entry, 1, False, None)

    def _visit(
        self, name: str, times: int | None, conditional: bool, whole: Visit | None
    ) -> Iterator[Visit]:
        body = self.computations.get(name, {})
        for one in body.values():
            visit = Visit(one, body, times, conditional, whole)
            yield visit
            # What is started calls the computation; its update and its end only name it.
            if one.opcode.endswith(("-update", "-done")):
                continue
            trips = _TRIPS.search(one.attributes)
            for role, named in _CALLEES.findall(one.attributes):
                count, branch = (
                    times,
                    conditional or role.endswith(("_computation", "_computations")),
                )
                if role in ("body", "condition"):
                    # The condition is asked once more than the body runs.
                    each = int(trips[1]) + (role == "condition") if trips else None
                    count = None if times is None or each is None else times * each
                inside = visit if role == "calls" else None
                for callee in _OPERAND.findall(named) or [named]:
                    yield from self._visit(callee, count, branch, inside)

    def where(self, visit: Visit) -> str:
        """Return ``path:line`` of the source of an instruction, or an empty string.

        What the partitioner inserts may have no line of its own: then it is that of the first
        instruction which uses it, or of what it moves.
        """
        one, body = visit.instruction, visit.computation
        near = [one, *[user for user in body.values() if one.name in user.operands]]
        near += [body[name] for name in one.operands if name in body]
        found = next(filter(None, map(self._line, near)), "")
        return self.where(visit.whole) if not found and visit.whole is not None else found

    def _line(self, one: Instruction) -> str:
        frame = _FRAME.search(one.attributes)
        if frame:
            return self._frames.get(int(frame[1]), "")
        file, line = _FILE.search(one.attributes), _LINE.search(one.attributes)
        return f"{file[1]}:{line[1]}" if file and line else ""


_TABLES = ("FileNames", "FunctionNames", "FileLocations", "StackFrames")


def _source_lines(tables: dict[str, dict[int, str]]) -> dict[int, str]:
    """Return ``path:line`` by the number of the stack frame."""
    files = {number: text.strip('"') for number, text in tables.get("FileNames", {}).items()}
    places: dict[int, str] = {}
    for number, text in tables.get("FileLocations", {}).items():
        file, line = re.search(r"file_name_id=(\d+)", text), re.search(r"\bline=(\d+)", text)
        if file and line:
            places[number] = f"{files.get(int(file[1]), '')}:{line[1]}"
    found: dict[int, str] = {}
    for number, text in tables.get("StackFrames", {}).items():
        place = re.search(r"file_location_id=(\d+)", text)
        if place:
            found[number] = places.get(int(place[1]), "")
    return found


def _read(name: str, text: str) -> Instruction:
    """Read what follows the equals sign: type, opcode, operands, attributes."""
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    rest = text[end:].lstrip()
    opening = rest.index("(")
    closing = _closing(rest, opening)
    operands = tuple(_OPERAND.findall(rest[opening:closing]))
    return Instruction(name, text[:end], rest[:opening], operands, rest[closing + 1 :])


def _closing(text: str, opening: int) -> int:
    """Return the place of the parenthesis that closes the one at `opening`."""
    depth, quoted = 0, False
    for i in range(opening, len(text)):
        c = text[i]
        if c == '"' and text[i - 1] != "\\":
            quoted = not quoted
        elif not quoted and c in "()":
            depth += 1 if c == "(" else -1
            if depth == 0:
                return i
    return len(text) - 1


def type_bytes(text: str) -> int:
    """Return the bytes of a type, all elements of a tuple together."""
    total = 0
    for dtype, shape in _ARRAY.findall(text):
        sizes = [int(size.lstrip("<=")) for size in shape.split(",") if size]
        total += (math.prod(sizes) * _bits(dtype) + 7) // 8
    return total


def _bits(dtype: str) -> int:
    """Return the bits of an element: ``f8e4m3fn`` has 8."""
    if dtype == "pred":
        return 8
    digits = re.match(r"(?:bf|[sufc])(\d+)", dtype)
    return int(digits[1]) if digits else 0  # tokens have no data


def short_source(where: str) -> str:
    """Return ``file.py:line`` of ``path/file.py:line``."""
    return os.path.basename(where)
