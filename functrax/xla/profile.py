"""XLA's profiler: what ran when, on the host and on the devices."""

import threading
from types import TracebackType
from typing import Any

from jaxlib import _profiler as _profiler_module  # pyright: ignore[reportAttributeAccessIssue]

from functrax.errors import ConfigError
from functrax.xla._native import jax

_profiler: Any = _profiler_module

#: ``with Annotation("step", step_num=3): ...`` names a stretch of the host's time in a profile.
Annotation: Any = _profiler.TraceMe


# jaxlib starts a second session without a word, and both come out wrong.
_running = threading.Lock()


class Session:
    """A recording that started when it was made; there can be one at a time in a process.

    Use it as a context manager, or call `stop`.

    Args:
        python_level: 1 records every Python call, which is slow; 0 records none.
        host_level: how much of XLA's own work on the host is recorded, 0 to 3.

    Attributes:
        data: the recording once it has stopped: a serialized XSpace; empty before.

    Raises:
        ConfigError: another session is running.
    """

    def __init__(self, python_level: int = 0, host_level: int = 2) -> None:
        if not _running.acquire(blocking=False):
            raise ConfigError("profile", "one profile at a time", "another one that is running")
        options = _profiler.ProfileOptions()
        options.python_tracer_level = python_level
        options.host_tracer_level = host_level
        self._session: Any = _profiler.ProfilerSession(options)
        self.data = b""

    def stop(self) -> bytes:
        """End the recording and return it."""
        if not self.data:
            self.data = self._session.stop()
            _running.release()
        return self.data

    def export(self, folder: str) -> None:
        """Write the recording below a folder, for TensorBoard, XProf and Perfetto."""
        self._session.export(self.stop(), folder)

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def planes(data: bytes) -> Any:
    """Return the timelines of a recording: planes of lines of events with names and times."""
    from jaxlib import _profile_data  # pyright: ignore[reportAttributeAccessIssue]

    reader: Any = _profile_data
    return reader.ProfileData.from_serialized_xspace(data).planes


def start_server(port: int) -> Any:
    """Let other programs (TensorBoard) record this process, while the object returned is alive."""
    return _profiler.start_server(port)


def pprof_to_json(profile: bytes) -> str:
    """Return a heap profile (`Client.heap_profile`) in readable form."""
    return jax.pprof_profile_to_json(profile)
