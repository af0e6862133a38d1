"""Keeping jaxlib from importing what functrax does without: `jax`, and jaxlib's MLIR wrappers."""

import sys
import threading
import warnings
from types import TracebackType

_WRAPPERS = "jaxlib.mlir.dialects"


_TOO_LATE = (
    "jax is imported after functrax has read an array that jaxlib cannot read without jax (of "
    "bfloat16, by DLPack, or part of one over several devices). jaxlib has noted that there is no "
    "jax: jax.dlpack.from_dlpack and parts of jax's arrays will fail in this process. Import jax "
    "first."
)


class _Guard(threading.local):
    jax = 0
    wrappers = 0


_guard = _Guard()


class _Finder:
    """Says that a package is missing while this thread is inside a guard; finds nothing.

    It is no `importlib.abc.MetaPathFinder`, whose module takes 20 ms to import.
    """

    def __init__(self) -> None:
        self.has_refused = False

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Refuse jaxlib's own imports; leave those that the user means to others."""
        if (fullname == "jax" and _guard.jax) or (
            fullname.startswith(_WRAPPERS) and _guard.wrappers
        ):
            self.has_refused = self.has_refused or fullname == "jax"
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        if fullname == "jax" and self.has_refused:
            self.has_refused = False
            warnings.warn(_TOO_LATE, stacklevel=2)


sys.meta_path.insert(0, _Finder())  # asked only for what is not in sys.modules yet


class no_jax:  # noqa: N801  (a context manager, used like a function)
    """Keep jaxlib from importing `jax`: inside, this thread cannot.

    Some of jaxlib's readback functions import `jax` to find its Python sharding classes, and fall
    back to the C++ ones when that fails, as it does for users who do not have it.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        """Start refusing."""
        _guard.jax += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop refusing."""
        _guard.jax -= 1


class no_wrappers:  # noqa: N801  (a context manager, used like a function)
    """Keep jaxlib from importing its wrappers of MLIR operations: 30 ms of CPU time once.

    Its C++ imports them to give a StableHLO attribute its Python class, which functrax does not
    use, and goes on without if that fails.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        """Start refusing."""
        _guard.wrappers += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop refusing."""
        _guard.wrappers -= 1
