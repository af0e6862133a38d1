"""Numeric derivatives, and the comparison with them."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from functrax.core import dtypes
from functrax.errors import GradientCheckError
from functrax.numpy.creation import asarray
from functrax.testing.functions import Function

Tolerance = float | Mapping[Any, float] | None

# By how much two derivatives may differ, absolutely and relatively, by the dtype of the function.
_TOLERANCES: dict[Any, float] = {
    **{kind: max(1e-1, float(dtypes.finfo(kind).eps)) for kind in dtypes.SMALL_FLOATS},
    dtypes.bfloat16: 1e-1,
    dtypes.float16: 1e-2,
    dtypes.float32: 2e-3,
    dtypes.complex64: 2e-3,
    dtypes.float64: 1e-5,
    dtypes.complex128: 1e-5,
}
# The step in float64. Rounding would allow a smaller one, but a function may compute in float32 on
# the way and still return float64.
_STEP = 1e-4


def host(x: Any) -> np.ndarray[Any, Any]:
    """Return an array as NumPy's, in 64 bits."""
    return np.asarray(x).astype(np.complex128 if dtypes.is_complex(x.dtype) else np.float64)


def furthest(got: Any, wanted: Any, atol: float, rtol: float) -> tuple[int, ...] | None:
    """Return the index of the element that is furthest beyond the tolerances, if any is."""
    got, wanted = host(got), host(wanted)
    with np.errstate(invalid="ignore"):
        excess = np.abs(got - wanted) - (atol + rtol * np.abs(wanted))
    same = (got == wanted) | (np.isnan(got) & np.isnan(wanted))
    excess = np.where(same, -np.inf, np.nan_to_num(excess, nan=np.inf))
    if not excess.size or excess.max() <= 0:
        return None
    return tuple(int(i) for i in np.unravel_index(int(excess.argmax()), excess.shape))


class Numeric:
    """The numeric derivative of a function at a point."""

    def __init__(
        self, check: "Check", function: Function, values: Sequence[Any], results: Sequence[Any]
    ) -> None:
        self.function = function
        self.base = [host(x) for x in values]
        self.dtypes = [x.dtype for x in self.base]
        computed = self._wide_results(check, results)
        if computed is None:
            self.dtypes = [x.dtype for x in values]
            computed = [*values, *results]
        rounding = max(float(dtypes.finfo(dtypes.to_real(x.dtype)).eps) for x in computed)
        check.rounding = max(check.rounding, rounding)
        self.step = check.eps or max(_STEP, check.rounding ** (1 / 3))

    def _wide_results(self, check: "Check", results: Sequence[Any]) -> list[Any] | None:
        """Call the function in 64 bits; None unless it is the same function there."""
        try:
            found = self._call(self.base)
        except Exception:  # whatever a function says of a dtype that it does not take
            return None
        if not found or [x.shape for x in found] != [x.shape for x in results]:
            return None
        allowed = 4 * max(_TOLERANCES[kind] for kind in check.kinds)
        pairs = zip(found, results, strict=True)
        same = all(furthest(x, y, allowed, allowed) is None for x, y in pairs)
        return found if same else None

    def _call(self, values: Sequence[Any]) -> list[Any]:
        return self.function(
            *(asarray(x, dtype) for x, dtype in zip(values, self.dtypes, strict=True))
        )

    def along(self, directions: Sequence[Any]) -> list[np.ndarray[Any, Any]]:
        """Return the derivative of each result in a direction, by central differences."""
        steps = [self.step * host(d) for d in directions]
        ahead = self._call([x + s for x, s in zip(self.base, steps, strict=True)])
        behind = self._call([x - s for x, s in zip(self.base, steps, strict=True)])
        found: list[np.ndarray[Any, Any]] = []
        with np.errstate(invalid="ignore"):  # infinity minus infinity, where it does not change
            for a, b in zip(map(host, ahead), map(host, behind), strict=True):
                found.append(np.where(a == b, 0, (a - b) / (2 * self.step)))
        return found


class Check:
    """The options of a check, its source of random directions, and its verdict.

    Attributes:
        kinds: the dtypes among the user's arguments and results: the tolerance is that of the
            coarsest, for a derivative may pass through all of them.
        rounding: the relative precision in which the function was found to compute.
    """

    def __init__(
        self, call: str, atol: Tolerance, rtol: Tolerance, eps: float | None, message: str = ""
    ) -> None:
        self.call = call
        self.atol = atol
        self.rtol = rtol
        self.eps = eps
        self.message = message
        self.random = np.random.default_rng(0)
        self.kinds: set[Any] = set()
        self.rounding = 0.0

    def direction(self, like: Any) -> Any:
        """Return a random array of the same shape and dtype."""
        drawn: Any = self.random.standard_normal(like.shape)
        if dtypes.is_complex(like.dtype):
            drawn = drawn + 1j * self.random.standard_normal(like.shape)
        return asarray(drawn, like.dtype)

    def tolerances(self) -> tuple[float, float]:
        """Return what is allowed, absolutely and relatively."""

        def allowed(given: Tolerance) -> float:
            if given is not None and not isinstance(given, Mapping):
                return given
            own = {dtypes.canonicalize(key): value for key, value in (given or {}).items()}
            return max(own.get(kind, _TOLERANCES[kind]) for kind in self.kinds)

        return allowed(self.atol), allowed(self.rtol)

    def compare(self, what: str, name: str, got: Any, wanted: Any, source: str) -> None:
        """Raise unless two arrays are alike within the tolerances."""
        atol, rtol = self.tolerances()
        place = furthest(got, wanted, atol, rtol)
        if place is None:
            return
        at = f"element {place} of {name}" if place else name
        right = f"{host(wanted)[place]:.6g}, {source} (atol={atol:g}, rtol={rtol:g})"
        fix = (
            "A custom rule in it may be wrong. If it has a kink there, move the arguments; if this "
            "is rounding, raise atol or rtol."
        )
        self.fail(f"{what} at {at} to be {right}", f"{host(got)[place]:.6g}", fix)

    def fail(self, expected: str, got: str, fix: str = "") -> NoReturn:
        """Raise the error of a failed check."""
        fix = " ".join(filter(None, (fix, self.message)))
        raise GradientCheckError(self.call, expected, got, fix=fix or None)
