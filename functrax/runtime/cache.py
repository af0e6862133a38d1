"""The persistent compilation cache: what one process compiled, later ones load from disk.

It is on by default. A program is found by a hash of all that decides what XLA makes of it: the
StableHLO module without source locations and name, the compile options, platform, device kind and
count, the CPU's features, and the versions of everything. Loading takes 1 to 3 ms where compiling
the smallest program takes 30 to 50 ms, so everything is kept (measured on 2 cores, jaxlib 0.10.2
and 0.12). Whatever goes wrong with the folder is one `CacheWarning`, and the program is compiled.

Options: ``enable_compilation_cache``, ``compilation_cache_dir``, ``compilation_cache_max_size``,
``persistent_cache_min_compile_time_secs``, ``persistent_cache_min_entry_size_bytes``,
``raise_persistent_cache_errors``. Whom an entry must be trusted from, says `cache_folder`.
"""

import functools
import os
import sysconfig
import threading
import time
import warnings
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

from functrax import errors
from functrax.core.config import config
from functrax.runtime.cache_folder import (
    CALL,
    ENTRY,
    VERSION,
    CacheFolder,
    Entry,
    default_path,
    sha256,
)
from functrax.xla.callbacks import HostFunction
from functrax.xla.client import Client
from functrax.xla.executable import Executable, OutType
from functrax.xla.mlir import Module, module_bytes
from functrax.xla.options import CompileOptions
from functrax.xla.versions import JAXLIB_VERSION_STRING

# Environment variables that the compilers of the platforms read.
_VARIABLES = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")

# The packages that compile for a platform, beside jaxlib.
_PLUGINS = {
    "gpu": ("jax-cuda13-plugin", "jax-cuda13-pjrt", "jax-cuda12-plugin", "jax-cuda12-pjrt"),
    "tpu": ("libtpu",),
}

# What /proc/cpuinfo says of a core that decides which instructions it has (x86, ARM, RISC-V).
_CPU_LINES = (
    *("vendor_id", "cpu family", "model", "model name", "stepping", "flags", "Features"),
    *("CPU implementer", "CPU architecture", "CPU variant", "CPU part", "isa"),
)


@dataclass(frozen=True, slots=True)
class CacheSummary:
    """The state of the persistent compilation cache.

    Attributes:
        folder: where it is; None if there is nowhere to put it.
        entries: the number of programs in it.
        size: the bytes that they take.
        max_size: the bytes that they may take; negative for no limit.
        hits: programs that this process loaded from it.
        misses: programs that this process looked for and had to compile.
        seconds_saved: what compiling the loaded ones once took, less what loading them took.
        state: ``"on"``, or why it is off or only read.
    """

    folder: str | None
    entries: int
    size: int
    max_size: int
    hits: int
    misses: int
    seconds_saved: float
    state: str

    def __str__(self) -> str:
        """Say it in two lines."""
        plural = "" if self.entries == 1 else "s"
        limit = "" if self.max_size < 0 else f" of at most {_readable(self.max_size)}"
        return (
            f"compilation cache {self.state}: {self.folder}, {self.entries} program{plural}, "
            f"{_readable(self.size)}{limit}\n"
            f"this process: {self.hits} loaded, {self.misses} compiled, "
            f"{self.seconds_saved:.1f} s saved"
        )

    __repr__ = __str__


def _readable(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


class _Counts:
    """What this process found and did not find."""

    def __init__(self) -> None:
        self.hits = self.misses = 0
        self.saved = 0.0


class _Store:
    """One folder as this process sees it: the first problem is told, and then avoided.

    Attributes:
        folder: the folder, or None if it cannot be used.
        problem: why it cannot be used, or not be written to; empty if it can.
        in_use: the programs that this process holds. A loop whose Python functions are made anew
            in each call is traced anew each time, but its program is the same one.
    """

    def __init__(self, path: str | None) -> None:
        """Open the folder of a path, or of the user if it is None."""
        self.folder: CacheFolder | None = None
        self.problem = ""
        self.in_use: weakref.WeakValueDictionary[str, Executable] = weakref.WeakValueDictionary()
        try:
            self.folder = CacheFolder(path or default_path(), named=path is not None)
        except (OSError, RuntimeError, ValueError) as error:  # ValueError: a null character in it
            self._give_up("a folder to keep programs in", error)

    def load(
        self,
        key: str,
        client: Client,
        options: CompileOptions,
        out_types: Sequence[OutType],
        callbacks: Sequence[HostFunction],
    ) -> Executable | None:
        """Return a program if the folder has it; a damaged entry is told and removed."""
        if self.folder is None:
            return None
        start = time.perf_counter()
        try:
            entry = self.folder.read(key)
            if entry is None:
                return None
            executable = client.deserialize(entry.payload, options, out_types, callbacks)
        except errors.MissingTargetError:  # the entry is whole
            raise
        except errors.FunctraxError as error:
            self.folder.remove(key)
            what = f"{self.folder.entry_path(key)!r}: {error.got}"
            _tell("a whole entry", what, "It is made anew.")
            return None
        except OSError as error:
            self.folder = None
            self._give_up("a folder to read programs from", error)
            return None
        with _lock:
            _counts.hits += 1
            _counts.saved += entry.seconds - (time.perf_counter() - start)
        return executable

    def save(self, key: str, client: Client, executable: Executable, seconds: float) -> None:
        """Keep a program, if it is worth it and the folder can be written to."""
        with _lock:
            _counts.misses += 1
        if self.problem or self.folder is None:
            return
        if seconds < config.persistent_cache_min_compile_time_secs:
            return
        try:
            payload = client.serialize(executable)
            if len(payload) >= config.persistent_cache_min_entry_size_bytes:
                entry = Entry(payload, seconds)
                self.folder.write(key, entry, config.compilation_cache_max_size)
        except (OSError, errors.FunctraxError) as error:
            self._give_up("to write an entry", error)

    def _give_up(self, expected: str, error: Exception) -> None:
        ours = error if isinstance(error, errors.FunctraxError) else None
        self.problem = str(error) if ours is None else f"{ours.got}"
        fix = "This process goes on without." if ours is None else ours.fix
        _tell(expected, self.problem, fix or "")


_lock = threading.Lock()
_counts = _Counts()
_stores: dict[str | None, _Store] = {}


def _tell(expected: str, got: str, fix: str) -> None:
    error = errors.FileError(CALL, expected, got, fix=fix)
    if config.raise_persistent_cache_errors:
        raise error
    warnings.warn(str(error), errors.CacheWarning, stacklevel=2)


def _store() -> _Store:
    path = config.compilation_cache_dir
    store = _stores.get(path)
    if store is None:
        with _opening:
            store = _stores.get(path)
            if store is None:
                store = _stores[path] = _Store(path)
    return store


_opening = threading.Lock()


def compile_cached(
    client: Client,
    module: Module,
    options: CompileOptions,
    out_types: Sequence[OutType],
    callbacks: Sequence[HostFunction] = (),
) -> Executable:
    """Load a program from the cache; compile and keep it if it is not there.

    Args:
        client: the platform.
        module: a StableHLO module.
        options: where and how to compile.
        out_types: shape and dtype of each result.
        callbacks: the host functions that it calls. The module, and so the entry, knows them by
            number only: whoever loads it brings its own.

    Raises:
        FunctraxError: XLA refused the program.
    """
    if not config.enable_compilation_cache or _dumps(options):
        return client.compile(module, options, out_types, callbacks)
    store = _store()
    key = entry_key(client, module, options)
    executable = None if callbacks else store.in_use.get(key)
    if executable is not None:
        return executable
    executable = store.load(key, client, options, out_types, callbacks)
    if executable is None:
        start = time.perf_counter()
        executable = client.compile(module, options, out_types, callbacks)
        store.save(key, client, executable, time.perf_counter() - start)
    if not callbacks:
        store.in_use[key] = executable
    return executable


def _dumps(options: CompileOptions) -> bool:
    """Tell whether XLA is to write what it does to files, for which it must compile."""
    return "xla_dump_to" in os.environ.get("XLA_FLAGS", "") or b"xla_dump_to" in options.serialize()


def entry_key(client: Client, module: Module, options: CompileOptions) -> str:
    """Return the name of a program in the cache: all that decides what XLA makes of it, hashed."""
    return sha256(_compiler(client), options.serialize(), module_bytes(module)).hex()


@functools.cache
def _compiler(client: Client) -> bytes:
    """Describe what compiles for a platform, and what it compiles for."""
    facts = (
        VERSION,
        JAXLIB_VERSION_STRING,
        client.platform,
        client.platform_version,
        _plugin_versions(client.platform),
        [device.device_kind for device in client.devices],
        client.describe_devices(),
        _cpu(),
        [os.environ.get(name) for name in _VARIABLES],
    )
    return repr(facts).encode()


def _plugin_versions(platform: str) -> list[str]:
    if platform not in _PLUGINS:
        return []
    from importlib import metadata  # slow, and CPUs need none

    wanted = [item for name in _PLUGINS[platform] for item in metadata.distributions(name=name)]
    return [f"{item.metadata['Name']} {item.version}" for item in wanted]


def _cpu() -> list[str]:
    """Describe the CPU: programs are made of its own instructions."""
    facts = [sysconfig.get_platform()]
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if not line.strip():  # the other cores are like the first
                    break
                if line.partition(":")[0].strip() in _CPU_LINES:
                    facts.append(line)
    except OSError:  # not Linux
        pass
    return facts


def summary() -> CacheSummary:
    """Return where the cache is, what it holds, and what it did for this process.

    Example:
        >>> summary().hits >= 0
        True
    """
    store = _store()
    files = [] if store.folder is None else store.folder.files()
    state = "on"
    if store.problem:
        state = f"{'only read' if store.folder else 'off'} ({store.problem})"
    if not config.enable_compilation_cache:
        state = "off (enable_compilation_cache is False)"
    return CacheSummary(
        folder=None if store.folder is None else store.folder.path,
        entries=sum(file.path.endswith(ENTRY) for file in files),
        size=sum(file.size for file in files),
        max_size=config.compilation_cache_max_size,
        hits=_counts.hits,
        misses=_counts.misses,
        seconds_saved=_counts.saved,
        state=state,
    )


def clear() -> None:
    """Delete every program from the cache's folder; other processes only have to compile again."""
    store = _store()
    if store.folder is not None:
        store.folder.clear()
