"""The ahead-of-time stages of a jitted function: what `.trace`, `.lower` and `.compile` return."""

from functrax.transforms.ahead import ArgInfo, Compiled, Lowered, Traced

__all__ = ["ArgInfo", "Compiled", "Lowered", "Traced"]


def __dir__() -> list[str]:
    return __all__
