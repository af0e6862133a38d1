"""The ahead-of-time stages of a jitted function: what `.trace`, `.lower` and `.compile` return."""

from functrax.transforms.ahead import Lowered, Traced
from functrax.transforms.ahead_compiled import Compiled
from functrax.transforms.ahead_stage import ArgInfo

__all__ = ["ArgInfo", "Compiled", "Lowered", "Traced"]


def __dir__() -> list[str]:
    return __all__
