"""Pictures of how arrays lie on devices: boxes in a terminal, a table in a notebook."""

import itertools
import os
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from functrax import errors
from functrax.sharding.shardings import Sharding

ColorMap: TypeAlias = Callable[[float], Sequence[float]]
Color: TypeAlias = tuple[int, int, int]

_LINES = 10  # of text that a drawing of scale 1 has, and how much taller than wide a character is
_ASPECT = 2.5
_NARROWEST = 3  # characters that a cell needs
_MOST_ROWS = 32
_GAP = "…"


class Drawing:
    """The parts of an array with the devices that hold them, as a grid.

    Its `str` is the drawing without colours; notebooks show it as a table with them.

    Args:
        shape: of the array, with one or two dimensions.
        sharding: how it lies.
        scale: how large to draw.
        min_width: the fewest characters of a cell, unless there are too many cells.
        max_width: the most characters of the drawing.
        color_map: a colour, as red, green and blue from 0 to 1, for a number from 0 to 1.

    Raises:
        ShapeError: for another number of dimensions, or if the sharding does not divide the shape.
    """

    def __init__(
        self,
        shape: Sequence[int],
        sharding: Sharding,
        scale: float = 1.0,
        min_width: int = 9,
        max_width: int = 80,
        color_map: ColorMap | None = None,
    ) -> None:
        """Find the parts."""
        shape = tuple(shape)
        if len(shape) not in (1, 2):
            raise errors.ShapeError(
                "visualize_sharding",
                "a shape of one or two dimensions",
                f"{shape}",
                fix="Choose two of them: `visualize_sharding(shape[-2:], "
                "NamedSharding(mesh, P(*spec[-2:])))`.",
            )
        self.rows = _parts(shape, sharding)
        self.shape = shape if len(shape) == 2 else (1, *shape)
        self.is_flat = len(shape) == 1
        self.scale, self.min_width, self.max_width = scale, min_width, max_width
        groups = list(dict.fromkeys(tuple(cell) for row in self.rows for cell in row))
        fractions = {group: i / max(1, len(groups)) for i, group in enumerate(groups)}
        self.colors = {
            group: _color(color_map, fraction, i)
            for i, (group, fraction) in enumerate(fractions.items())
        }

    def text(self, use_color: bool = False) -> str:
        """Return the drawing in characters."""
        columns = _shown(len(self.rows[0]), (self.max_width - 1) // (_NARROWEST + 1))
        rows = _shown(len(self.rows), _MOST_ROWS)
        room = max(_NARROWEST, (self.max_width - 1) // len(columns) - 1)
        high, wide = self.shape
        aspect = 1.0 if self.is_flat else wide / max(1, high)
        wanted = int(self.scale * _LINES * _ASPECT * aspect / len(columns)) - 1
        width = min(room, max(self.min_width, wanted))
        height = 1 if self.is_flat else max(1, int(self.scale * _LINES / len(rows)) - 1)
        bars = ["─" * width] * len(columns)
        top, middle, bottom = (f"{a}{b.join(bars)}{c}" for a, b, c in ("┌┬┐", "├┼┤", "└┴┘"))
        drawn = [self._row(row, columns, width, height, use_color) for row in rows]
        return "\n".join([top, f"\n{middle}\n".join(drawn), bottom])

    def _row(
        self,
        number: int,
        columns: Sequence[int],
        width: int,
        height: int,
        use_color: bool,
    ) -> str:
        row = self.rows[number]
        is_gap = [number < 0 or i < 0 for i in columns]
        labels = [
            [_GAP] if gap else textwrap.wrap(_label(row[i], width), width)
            for i, gap in zip(columns, is_gap, strict=True)
        ]
        height = 1 if number < 0 else max(height, *map(len, labels))
        lines: list[str] = []
        for y in range(height):
            cells: list[str] = []
            for i, gap, label in zip(columns, is_gap, labels, strict=True):
                at = y - (height - len(label)) // 2
                cell = (label[at] if 0 <= at < len(label) else "").center(width)
                color = self.colors[tuple(row[i])] if use_color and not gap else None
                cells.append(cell if color is None else _painted(cell, color))
            lines.append(f"│{'│'.join(cells)}│")
        return "\n".join(lines)

    def __str__(self) -> str:
        """Return the drawing in characters, without colours."""
        return self.text()

    def _repr_html_(self) -> str:
        """Return the drawing as a table, for notebooks."""
        height = max(24, int(200 * self.scale / len(self.rows))) if not self.is_flat else 40
        rows = "".join(
            f"<tr>{''.join(self._html_cell(cell, height) for cell in row)}</tr>"
            for row in self.rows
        )
        return f'<table style="border-collapse:collapse">{rows}</table>'

    def _html_cell(self, cell: Sequence[Any], height: int) -> str:
        import html  # slow, and seldom needed

        color = self.colors[tuple(cell)]
        style = (
            f"background:rgb{color};color:{'black' if _is_light(color) else 'white'};"
            f"border:1px solid white;padding:4px;text-align:center;height:{height}px;min-width:60px"
        )
        title = html.escape(", ".join(map(str, cell)))
        return f'<td style="{style}" title="{title}">{html.escape(_label(cell))}</td>'


def visualize_sharding(
    shape: Sequence[int],
    sharding: Sharding,
    *,
    use_color: bool = True,
    scale: float = 1.0,
    min_width: int = 9,
    max_width: int = 80,
    color_map: ColorMap | None = None,
) -> None:
    """Draw which part of an array each device holds.

    In a terminal the drawing is printed, in boxes; in a notebook it is shown as a table. Parts that
    several devices hold name them all.

    Args:
        shape: of the array: one or two dimensions.
        sharding: how it lies.
        use_color: whether to draw in colours where the output is a terminal.
        scale: how large to draw.
        min_width: the fewest characters of a cell, unless there are too many cells for that.
        max_width: the most characters of the drawing, which also fits the terminal.
        color_map: a colour, as red, green and blue from 0 to 1, for a number from 0 to 1.

    Raises:
        ShapeError: for another number of dimensions, or if the sharding does not divide the shape.

    Example:
        >>> mesh = functrax.make_mesh((1,), ("x",), devices=functrax.devices("cpu")[:1])
        >>> sharding = functrax.NamedSharding(mesh, functrax.P("x"))
        >>> functrax.debug.visualize_sharding((8,), sharding)
        ┌────────────────────────┐
        │         CPU 0          │
        └────────────────────────┘
    """
    import shutil  # slow, and seldom needed

    fitting = min(max_width, shutil.get_terminal_size().columns)
    drawing = Drawing(shape, sharding, scale, min_width, fitting, color_map)
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if hasattr(shell, "kernel"):
        sys.modules["IPython"].display.display(drawing)
        return
    print(drawing.text(use_color and sys.stdout.isatty() and "NO_COLOR" not in os.environ))


def visualize_array_sharding(arr: Any, **kwargs: Any) -> None:
    """Draw which part of an array each device holds.

    Args:
        arr: an array of one or two dimensions.
        **kwargs: those of `visualize_sharding`.

    Raises:
        ArgumentError: if it is not an array on devices: traced values lie as the compiler likes.
        ShapeError: for another number of dimensions.

    Example:
        >>> x = functrax.device_put(jnp.ones((4, 4)), functrax.devices("cpu")[0])
        >>> functrax.debug.visualize_array_sharding(x, scale=0.3)
        ┌─────────┐
        │  CPU 0  │
        │         │
        └─────────┘
    """
    if not isinstance(getattr(arr, "sharding", None), Sharding):
        raise errors.ArgumentError(
            "visualize_array_sharding",
            "an array on devices",
            errors.a_value(arr),
            fix="Call it outside of `jit`, or draw a sharding by `visualize_sharding`.",
        )
    visualize_sharding(arr.shape, arr.sharding, **kwargs)


# ---- parts, labels, colours


def _shown(count: int, most: int) -> list[int]:
    """Return which of some rows or columns are drawn; -1 stands for those left out."""
    if count <= max(3, most):
        return list(range(count))
    return [*range(max(1, most - 2)), -1, count - 1]


def _parts(shape: tuple[int, ...], sharding: Sharding) -> list[list[list[Any]]]:
    """Return the devices that hold each part: rows of cells of devices."""
    held: dict[tuple[int, ...], list[Any]] = {}
    for device, index in sharding.devices_indices_map(shape).items():
        starts = tuple(part.start or 0 for part in index)
        held.setdefault((0, *starts)[-2:], []).append(device)
    rows, columns = (sorted(set(starts)) for starts in zip(*held, strict=True))
    return [[held[row, column] for column in columns] for row in rows]


def _label(devices: Sequence[Any], width: int | None = None) -> str:
    """Return ``CPU 0,2,4-7``; spaces after the commas where a line must be broken."""
    ids = sorted(device.id for device in devices)
    runs: list[str] = []
    for _, group in itertools.groupby(enumerate(ids), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        runs += [f"{run[0]}-{run[-1]}"] if len(run) > 2 else map(str, run)
    text = f"{devices[0].platform.upper()} {','.join(runs)}"
    return text if width is None or len(text) <= width else text.replace(",", ", ")


def _color(color_map: ColorMap | None, fraction: float, number: int) -> Color:
    if color_map is not None:
        red, green, blue = [max(0.0, min(1.0, float(c))) for c in color_map(fraction)[:3]]
    else:
        import colorsys  # slow, and seldom needed

        # Neighbours differ much: hues a golden section apart, in two shades.
        red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.55, 0.9 - number % 2 * 0.25)
    return round(255 * red), round(255 * green), round(255 * blue)


def _is_light(color: Color) -> bool:
    red, green, blue = color
    return 0.299 * red + 0.587 * green + 0.114 * blue > 140


def _painted(text: str, color: Color) -> str:
    ink = "0;0;0" if _is_light(color) else "255;255;255"
    return f"\x1b[48;2;{';'.join(map(str, color))}m\x1b[38;2;{ink}m{text}\x1b[0m"
