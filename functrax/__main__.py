"""Print what functrax finds on this machine: ``python -m functrax``.

Versions, platforms with their devices or the reason why they are missing, the options that are not
at their defaults, and the state of the persistent compilation cache: what a report of a problem
should hold.
"""

import platform
import signal
import sys
from collections.abc import Iterator

import ml_dtypes
import numpy as np

from functrax import errors
from functrax.core.config import OPTIONS, config
from functrax.core.show import fill
from functrax.runtime.cache import summary
from functrax.runtime.devices import default_backend, devices
from functrax.version import __version__
from functrax.xla.client import platforms
from functrax.xla.versions import JAXLIB_VERSION_STRING


def versions() -> Iterator[str]:
    """Yield a line for each piece of software."""
    yield f"functrax   {__version__}"
    yield f"jaxlib     {JAXLIB_VERSION_STRING}"
    yield f"numpy      {np.__version__}"
    yield f"ml_dtypes  {ml_dtypes.__version__}"
    yield f"python     {platform.python_version()} on {platform.platform()}"


def platform_lines() -> Iterator[str]:
    """Yield each platform with its devices, or with the reason why it has none."""
    default = None
    try:
        default = default_backend()
    except errors.DeviceError as error:
        yield f"none to use by default: {error.got or error}"
    for name, state in platforms().items():
        if state == "available":
            found = devices(name)
            note = ", the default" if name == default else ""
            kind = f"{len(found)} x {found[0].device_kind}{note}:"
            yield from fill([name, "", kind, *map(str, found)], 5)
        else:
            yield f"{name}  none: {state}"


def changed_options() -> Iterator[str]:
    """Yield each option that has not its default value."""
    for name, value in config.values().items():
        if value != OPTIONS[name].default:
            yield f"{name} = {value!r}"


def cache_lines() -> Iterator[str]:
    """Yield what the compilation cache is and holds."""
    cache = summary()
    limit = "" if cache.max_size < 0 else f" of at most {cache.max_size / 1e6:,.0f}"
    yield f"state   {cache.state}"
    yield f"folder  {cache.folder or 'none'}"
    yield f"holds   {cache.entries} programs, {cache.size / 1e6:,.1f}{limit} MB"


def report() -> Iterator[str]:
    """Yield the lines of the whole report."""
    sections = {
        "Versions": versions(),
        "Platforms": platform_lines(),
        "Options that are not at their defaults": changed_options(),
        "Compilation cache": cache_lines(),
    }
    for title, lines in sections.items():
        yield title
        yield from (f"  {line}" for line in list(lines) or ["none"])
        yield ""


def main() -> int:
    """Print the report and return the exit status."""
    try:
        for line in report():
            print(line)
    except errors.FunctraxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a traceback
    sys.exit(main())
