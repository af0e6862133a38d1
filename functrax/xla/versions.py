"""Which jaxlib is installed, whether functrax can use it, and how it differs from the others."""

import os

# Read once, when jaxlib's C++ library is loaded; without it every process prints INFO lines.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")

try:
    from jaxlib.version import __version__ as _installed
except ModuleNotFoundError:
    _installed = ""

from functrax.errors import DeviceError

OLDEST = (0, 10, 2)
NEWEST_BELOW = (0, 13)


def parse_version(text: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: ``"0.12.0.1.dev3"`` gives ``(0, 12, 0, 1)``."""
    numbers: list[int] = []
    for part in text.split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


def check_version(text: str) -> tuple[int, ...]:
    """Return the parsed jaxlib version.

    Raises:
        DeviceError: functrax does not know this version, or there is no jaxlib (empty text).
    """
    version = parse_version(text)
    if not OLDEST <= version < NEWEST_BELOW:
        raise DeviceError(
            "import functrax",
            "jaxlib >=0.10.2,<0.13",
            f"jaxlib {text}" if text else "no jaxlib at all",
            fix='Run `pip install "jaxlib>=0.10.2,<0.13"` in this environment.',
        )
    return version


JAXLIB_VERSION_STRING: str = _installed
JAXLIB_VERSION: tuple[int, ...] = check_version(JAXLIB_VERSION_STRING)

# From here on the differences, each named after what it changes for us.

#: `array_result_handler` takes a fourth argument, which must be True: else it calls methods that
#: only jax installs.
HANDLER_TAKES_SKIP_CHECKS = JAXLIB_VERSION < (0, 11)

#: More than about 32 collective CPU programs in flight deadlock; 40 s later the process is aborted.
COLLECTIVES_CAN_DEADLOCK = JAXLIB_VERSION < (0, 12)
