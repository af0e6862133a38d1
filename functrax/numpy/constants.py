"""Constants, and NumPy's abstract scalar types for `issubdtype`."""

from typing import Final

import numpy as np

#: The version of the Python array API standard that the names follow.
__array_api_version__: Final = "2024.12"
e: Final = np.e
euler_gamma: Final = np.euler_gamma
inf: Final = np.inf
nan: Final = np.nan
newaxis: Final = None
pi: Final = np.pi

generic = np.generic
number = np.number
inexact = np.inexact
floating = np.floating
complexfloating = np.complexfloating
integer = np.integer
signedinteger = np.signedinteger
unsignedinteger = np.unsignedinteger
character = np.character
flexible = np.flexible
object_ = np.object_
dtype = np.dtype
