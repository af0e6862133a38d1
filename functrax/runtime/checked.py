"""Programs that check themselves while they run: what `debug_nans` and the like compile instead.

Such a program returns, behind its own results, what failed first. How it is made is the business of
``transforms/checks``, which knows loops and branches and installs itself here.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from functrax import errors
from functrax.core.jaxpr import Jaxpr
from functrax.core.types import ShapedArray
from functrax.runtime.array import device_array


class Checked(NamedTuple):
    """A program with its checks.

    Attributes:
        jaxpr: returns its own results, then those that `error` reads.
        types: the types of the latter.
        error: makes the error of their values, or None if nothing failed.
    """

    jaxpr: Jaxpr
    types: tuple[ShapedArray, ...]
    error: Callable[[Sequence[Any]], errors.FunctraxError | None]

    def raise_for(self, buffers: Sequence[Any], places: Sequence[Any]) -> None:
        """Wait for a launch, and raise if a check failed in it.

        Args:
            buffers: the last results of the program.
            places: where each of them is.

        Raises:
            FunctraxError: of the kind of the check.
        """
        states = zip(self.types, buffers, places, strict=True)
        found = self.error([device_array(aval, buffer, place) for aval, buffer, place in states])
        if found is not None:
            raise found


def _unwired(jaxpr: Jaxpr, checks: tuple[str, ...]) -> Checked | None:
    raise errors.InternalError("checks", "`import functrax` before use", "no transformation")


_rewrite: Callable[[Jaxpr, tuple[str, ...]], Checked | None] = _unwired


def install_checks(rewrite: Callable[[Jaxpr, tuple[str, ...]], Checked | None]) -> None:
    """Wire the transformation in (called once, by ``transforms/checks``)."""
    global _rewrite
    _rewrite = rewrite


def with_checks(jaxpr: Jaxpr, checks: tuple[str, ...]) -> Checked | None:
    """Return a program that checks itself.

    Args:
        jaxpr: without constvars.
        checks: what to look for, as in `TraceKey.checks`.

    Returns:
        The program, or None if nothing in it can fail.
    """
    return _rewrite(jaxpr, checks) if checks else None
