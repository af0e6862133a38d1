"""What `checkpoint` keeps: names for values, policies, and what there is to see of it."""

from functrax.primitives.residuals import checkpoint_name
from functrax.transforms.remat.policies import (
    Offloadable,
    Recompute,
    Saveable,
    checkpoint_policies,
)
from functrax.transforms.remat.saved import print_saved_residuals

__all__ = [
    "Offloadable",
    "Recompute",
    "Saveable",
    "checkpoint_name",
    "checkpoint_policies",
    "print_saved_residuals",
]


def __dir__() -> list[str]:
    return __all__
