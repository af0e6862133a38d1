"""SciPy's functions on arrays that can be traced, differentiated, vectorized and compiled."""

from functrax.core.public import directory as _directory
from functrax.scipy import special as special

__dir__ = _directory(__name__)
