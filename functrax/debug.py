"""Looking into running programs: print, call a function, stop; and at where arrays lie."""

from functrax.sharding.drawing import visualize_array_sharding, visualize_sharding
from functrax.transforms.callbacks import debug_callback as callback
from functrax.transforms.debugging import breakpoint
from functrax.transforms.debugging import debug_print as print

__all__ = [
    "breakpoint",
    "callback",
    "print",
    "visualize_array_sharding",
    "visualize_sharding",
]


def __dir__() -> list[str]:
    return __all__
