"""Looking into running programs: print, call a function, stop."""

from functrax.transforms.callbacks import debug_callback as callback
from functrax.transforms.debugging import breakpoint
from functrax.transforms.debugging import debug_print as print

__all__ = ["breakpoint", "callback", "print"]


def __dir__() -> list[str]:
    return __all__
