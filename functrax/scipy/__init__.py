"""SciPy's functions on arrays that can be traced, differentiated, vectorized and compiled."""

from functrax.scipy import special as special
