"""Checks inside of transformed functions, and errors as values: `jax.experimental.checkify`."""

from functrax.core.config import debug_index
from functrax.transforms.checks.functions import (
    Error,
    all_checks,
    automatic_checks,
    check,
    check_error,
    checkify,
    debug_check,
    div_checks,
    float_checks,
    index_checks,
    init_error,
    nan_checks,
    user_checks,
)

__all__ = [
    "Error",
    "all_checks",
    "automatic_checks",
    "check",
    "check_error",
    "checkify",
    "debug_check",
    "debug_index",
    "div_checks",
    "float_checks",
    "index_checks",
    "init_error",
    "nan_checks",
    "user_checks",
]


def __dir__() -> list[str]:
    """Show what is public."""
    return __all__
