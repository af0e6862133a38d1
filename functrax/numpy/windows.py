"""Window functions for signals."""

from collections.abc import Callable

import numpy as np

from functrax.core import dtypes
from functrax.core.arguments import integer
from functrax.core.trace import Array
from functrax.numpy.creation import array
from functrax.numpy.operands import known_real


def _window(function: Callable[[int], np.ndarray], M: int) -> Array:  # type: ignore[type-arg]
    """Compute a window on the host: it is a constant."""
    length = integer(getattr(function, "__name__", "kaiser"), "M", M)
    return array(function(length).astype(dtypes.float_dtype()), dtypes.float_dtype())


def bartlett(M: int) -> Array:
    """Return the triangular window.

    Args:
        M: int, its length.

    Returns:
        A floating vector of that length.
    """
    return _window(np.bartlett, M)


def blackman(M: int) -> Array:
    """Return the Blackman window.

    Args:
        M: int, its length.

    Returns:
        A floating vector of that length.
    """
    return _window(np.blackman, M)


def hamming(M: int) -> Array:
    """Return the Hamming window.

    Args:
        M: int, its length.

    Returns:
        A floating vector of that length.
    """
    return _window(np.hamming, M)


def hanning(M: int) -> Array:
    """Return the Hann window.

    Args:
        M: int, its length.

    Returns:
        A floating vector of that length.
    """
    return _window(np.hanning, M)


def kaiser(M: int, beta: float) -> Array:
    """Return the Kaiser window.

    Args:
        M: int, its length.
        beta: float, its shape.

    Returns:
        A floating vector of that length.
    """
    shape = known_real("kaiser", "beta", beta)
    return _window(lambda size: np.kaiser(size, shape), M)
