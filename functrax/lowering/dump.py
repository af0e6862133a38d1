"""Writing programs to files while they are compiled, for ``config.dump_ir_to``."""

import contextlib
import itertools
import os
import re
import warnings

from functrax.core.config import config
from functrax.core.jaxpr import Jaxpr

_unwritable: set[str] = set()


def dump(jaxpr: Jaxpr, name: str, step: str) -> None:
    """Write a program to ``NNN_name_step.txt`` in the folder that the user named, if any.

    Files appear whole, and those of several processes do not overwrite each other. A folder that
    cannot be written to is one warning.

    Args:
        jaxpr: the program.
        name: of the function it was traced from.
        step: what was done to it last.
    """
    folder = config.dump_ir_to
    if folder is None or folder in _unwritable:
        return
    stem = re.sub(r"\W+", "_", f"{name}_{step}")
    try:
        os.makedirs(folder, exist_ok=True)
        path = _reserve(folder, stem)
        temporary = f"{path}.{os.getpid()}.tmp"
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(f"{jaxpr!r}\n")
        os.replace(temporary, path)
    except OSError as error:
        _unwritable.add(folder)
        warnings.warn(f"[dump_ir_to] {stem} was not written: {error}", stacklevel=2)


def _reserve(folder: str, stem: str) -> str:
    """Make an empty file under the next free number."""
    taken = [int(name[:3]) for name in os.listdir(folder) if re.match(r"\d{3}_", name)]
    for number in itertools.count(max(taken, default=-1) + 1):
        path = os.path.join(folder, f"{number:03d}_{stem}.txt")
        with contextlib.suppress(FileExistsError), open(path, "x", encoding="utf-8"):
            return path
    raise AssertionError("numbers do not end")
