"""Functions with their own rules for `vmap`, with the names of ``jax.custom_batching``."""

from functrax.core.public import directory as _directory
from functrax.transforms.custom_vmap import custom_vmap as custom_vmap
from functrax.transforms.custom_vmap import sequential_vmap as sequential_vmap

__dir__ = _directory(__name__)
