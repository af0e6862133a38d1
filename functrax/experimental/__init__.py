"""What JAX keeps in `jax.experimental`; the functions themselves are no less stable here."""

from functrax.transforms.callbacks import io_callback

__all__ = ["io_callback"]


def __dir__() -> list[str]:
    return __all__
