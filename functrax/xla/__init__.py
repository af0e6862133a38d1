"""The ground floor: the only package that imports ``jaxlib``."""

# First of all modules: it refuses a jaxlib that functrax does not know, and quiets its C++ log.
from functrax.xla.versions import JAXLIB_VERSION

__all__ = ["JAXLIB_VERSION"]
