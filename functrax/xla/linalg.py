"""Dense linear algebra on the CPU: LAPACK, as custom calls. Importing SciPy, it is loaded late."""

import threading
from typing import Any

import numpy as np

from functrax.errors import DtypeError
from functrax.xla.custom_call import register_target

_LETTERS = {"float32": "s", "float64": "d", "complex64": "c", "complex128": "z"}

# Routines for symmetric and orthogonal matrices are named otherwise where complex ones are meant.
_COMPLEX_NAMES = {
    "orgqr": "ungqr",
    "ormqr": "unmqr",
    "syevd": "heevd",
    "sytrd": "hetrd",
}

_lock = threading.Lock()
_loaded: list[bool] = []


def load_lapack() -> None:
    """Make LAPACK's routines known to the CPU compiler; must come before a program is compiled.

    jaxlib takes the routines from SciPy, whose import this costs (50 to 200 ms), once.
    """
    with _lock:
        if _loaded:
            return
        from jaxlib import lapack
        from jaxlib.cpu import _lapack  # pyright: ignore[reportAttributeAccessIssue]

        wrapper: Any = lapack
        native: Any = _lapack
        for name, handler, api_version in wrapper.registrations()["cpu"]:
            register_target(name, handler, "cpu", api_version)
        native.initialize()
        _loaded.append(True)


def lapack_target(routine: str, dtype: np.dtype[Any]) -> str:
    """Return the custom call target of a LAPACK routine for a dtype.

    Args:
        routine: its name for real numbers, without the letter of the type: ``"potrf"``.
        dtype: of the matrix.

    Raises:
        DtypeError: LAPACK has no such type.

    Example:
        >>> lapack_target("orgqr", np.dtype("complex64"))
        'lapack_cungqr_ffi'
    """
    letter = _LETTERS.get(dtype.name)
    if letter is None:
        raise DtypeError(
            f"linalg ({routine})",
            "float32, float64, complex64 or complex128",
            f"dtype {dtype}",
            fix="Convert it first, for example with astype('float32').",
        )
    name = _COMPLEX_NAMES.get(routine, routine) if dtype.kind == "c" else routine
    return f"lapack_{letter}{name}_ffi"
