"""The options of functrax: one row each, cheap to read, scoped per thread.

A value comes from, in rising order: the row's default, the environment variable ``FUNCTRAX_NAME``,
``config.update`` (all threads), and a ``with`` scope (this thread only). JAX's variables, such as
``JAX_ENABLE_X64``, are not read: a machine may hold both systems, and a setting for one must not
leak into the other.

Options marked ``trace`` change what a function is traced or compiled into; ``config.trace_key()``
stands for all of them in the keys of caches.
"""

import contextlib
import operator
import os
import threading
from collections.abc import Callable, Hashable
from types import TracebackType
from typing import Any

from functrax import errors
from functrax.core.jax_options import GUARDS, IGNORED, PRECISIONS, REFUSED, TRACEBACKS
from functrax.core.option import Option, convert, parse
from functrax.errors import ConfigError


def _option(default: object, kind: type | tuple[str, ...], doc: str, **flags: bool) -> Any:
    """Declare a row in the body of `Config`; Any lets each row carry the type of its value."""
    return Option(default, kind, doc, **flags)


class TraceKey:
    """Stands for the options that change programs: the same object for the same settings.

    Attributes:
        values: those of the options, in the order of `TRACED`.
        checks: what programs check while they run: of "nan", "inf" and "index".
        plain: whether there is nothing to check, and no default device.
    """

    __slots__ = ("checks", "plain", "values")

    def __init__(self, values: tuple[Hashable, ...]) -> None:
        self.values = values
        on = dict(zip(TRACED, values, strict=True))
        self.checks = tuple(kind for option, kind in _CHECKS.items() if on[option])
        self.plain = not self.checks and on["default_device"] is None

    def __repr__(self) -> str:
        """Show the options that differ from their defaults."""
        settings = zip(TRACED, self.values, strict=True)
        changed = (f"{name}={now!r}" for name, now in settings if now != OPTIONS[name].default)
        return f"TraceKey({', '.join(changed)})"


class _InForce(threading.local):
    """The key of the process's options, and of a thread's in its scopes. Each launch reads it:
    `Config`, which has a ``__getattr__``, takes three times as long to read.
    """

    key: TraceKey


class Config(threading.local):
    """The options, as attributes: the class has the values of the process, a thread its scopes.

    Example:
        >>> config.enable_x64
        False
        >>> with config.scope(enable_x64=True):
        ...     config.enable_x64
        True
    """

    # fmt: off
    enable_x64: bool = _option(
        False, bool, "Numbers whose width nobody asked for have 64 bits, not 32.", trace=True)
    numpy_dtype_promotion: str = _option(
        "standard", ("standard", "strict"), "Promote mixed dtypes, or refuse to.", trace=True)
    numpy_rank_promotion: str = _option(
        "allow", ("allow", "warn", "raise"), "When ranks differ and broadcast.", trace=True)
    default_matmul_precision: str | None = _option(
        None, PRECISIONS, "Precision of products that ask for none.", trace=True, optional=True)
    default_device: Any = _option(
        None, object, "Where new arrays and computations go.", trace=True, optional=True)
    mesh: Any = _option(
        None, object, "The mesh of specs that name none; see set_mesh.", trace=True, optional=True)
    default_prng_impl: str = _option(
        "threefry2x32", ("threefry2x32",), "The generator of keys that name none.", trace=True)
    enable_custom_prng: bool = _option(
        False, bool, "random.PRNGKey returns typed keys.", trace=True)
    threefry_partitionable: bool = _option(
        True, bool, "Random bits do not depend on the sharding.", trace=True)
    random_seed_offset: int = _option(0, int, "Added to every seed of a key.", trace=True)
    grad_convention: str = _option(
        "jax", ("jax", "exact"), "Gradients through pmap and named axes: whose.", trace=True)
    disable_jit: bool = _option(False, bool, "Run jitted functions eagerly.", trace=True)
    debug_nans: bool = _option(False, bool, "Raise where a NaN appears.", trace=True)
    debug_infs: bool = _option(False, bool, "Raise where an infinity appears.", trace=True)
    debug_index: bool = _option(
        False, bool, "Raise where an index known only at run time is out of bounds.", trace=True)
    key_reuse: str = _option(
        "warn", ("warn", "error", "off"), "What to do when a key is used twice.", trace=True)
    debug_key_reuse: bool = _option(False, bool, "Set key_reuse to 'error'.", trace=True)
    no_implicit_comms: bool = _option(
        False, bool, "Raise where only the compiler's partitioner communicates.", trace=True)
    enable_checks: bool = _option(
        False, bool, "Check every program after every transform (slow).", trace=True)
    check_tracer_leaks: bool = _option(False, bool, "Raise where a tracer outlives its trace.")

    platforms: str | None = _option(
        None, str, "What to start, by commas; the first is default.", optional=True, scoped=False)
    num_cpu_devices: int = _option(
        -1, int, "Virtual CPU devices; -1 leaves it to XLA_FLAGS, else one.", scoped=False)
    cpu_collectives_implementation: str = _option(
        "gloo", ("gloo", "mpi"), "Transport between CPU processes.", scoped=False)
    distributed_debug: bool = _option(False, bool, "Log how processes start and join.")

    enable_compilation_cache: bool = _option(True, bool, "Keep compiled programs on disk.")
    compilation_cache_dir: str | None = _option(
        None, str, "The folder of that cache; None is the user's cache folder.", optional=True)
    compilation_cache_max_size: int = _option(4 << 30, int, "Bytes it may take; -1: no bound.")
    persistent_cache_min_compile_time_secs: float = _option(
        0.0, float, "Keep only what took this long to compile.")
    persistent_cache_min_entry_size_bytes: int = _option(0, int, "Keep only what is this large.")
    raise_persistent_cache_errors: bool = _option(False, bool, "Raise when it fails, not warn.")

    log_compiles: bool = _option(False, bool, "Log each trace and compilation.")
    explain_cache_misses: bool = _option(False, bool, "Log why a function is traced again.")
    warn_retraces: bool = _option(True, bool, "Warn of lines that trace again and again.")
    dump_ir_to: str | None = _option(
        None, str, "Folder for each program before and after each pass.", optional=True)
    traceback_filtering: str = _option("auto", TRACEBACKS, "How functrax's frames are hidden.")
    pprint_use_color: bool = _option(True, bool, "Print jaxprs in colour on a terminal.")
    transfer_guard: str | None = _option(
        None, GUARDS, "What to do on a transfer in any direction.", optional=True)
    transfer_guard_host_to_device: str | None = _option(
        None, GUARDS, "What to do on a transfer from host to device.", optional=True)
    transfer_guard_device_to_device: str | None = _option(
        None, GUARDS, "What to do on a transfer between devices.", optional=True)
    transfer_guard_device_to_host: str | None = _option(
        None, GUARDS, "What to do on a transfer from device to host.", optional=True)
    # fmt: on

    @staticmethod
    def trace_key() -> TraceKey:
        """Return what stands for all options that change programs, in cache keys.

        Returns:
            A `TraceKey`: the same object for the same settings, in any thread.

        Example:
            >>> with config.scope(enable_x64=True):
            ...     config.trace_key()
            TraceKey(enable_x64=True)
        """
        return in_force.key

    def update(self, name: str, value: object) -> None:
        """Set an option for all threads.

        Args:
            name: str, the option, with or without JAX's prefix ``jax_``.
            value: object, of the kind that the option's row says.

        Raises:
            ConfigError: for an unknown name, another kind of value, or a change that is too late.

        Example:
            >>> config.update("jax_enable_x64", False)
        """
        changes = _checked("config.update", {_resolve(name, "config.update"): value})
        with _lock:
            for changed, new in changes.items():
                setattr(Config, changed, new)
            _InForce.key = _intern_key({})
            for local, keys in _scoped_threads.values():
                keys["key"] = _intern_key(local)

    def scope(self, **options: object) -> "Scope":
        """Set options for this thread until a ``with`` block ends.

        Args:
            **options: object, values by option name.

        Returns:
            A context manager, which is also a decorator.

        Raises:
            ConfigError: for an unknown name, or another kind of value.

        Example:
            >>> with config.scope(debug_nans=True, log_compiles=True):
            ...     config.debug_nans, config.log_compiles
            (True, True)
        """
        return Scope("config.scope", {_resolve(n, "config.scope"): v for n, v in options.items()})

    def on_update(self, name: str, check: Callable[[Any], None]) -> None:
        """Have a function look at each new value of an option before it takes effect.

        Args:
            name: str, the option.
            check: Callable, called with the value; it refuses it by raising.

        Raises:
            ConfigError: for an unknown name.

        Example:
            >>> config.on_update("log_compiles", lambda value: None)
        """
        _checks.setdefault(_resolve(name, "config.on_update"), []).append(check)

    def values(self) -> dict[str, Any]:
        """Return the value of every option in this thread.

        Returns:
            A new dict by option name.

        Example:
            >>> config.values()["numpy_rank_promotion"]
            'allow'
        """
        return {name: getattr(self, name) for name in OPTIONS}

    def read(self, name: str) -> Any:
        """Return the value of an option in this thread.

        Args:
            name: str, the option, with or without JAX's prefix ``jax_``.

        Raises:
            ConfigError: for an unknown name.

        Example:
            >>> config.read("jax_enable_x64")
            False
        """
        found = _resolve(name, "config.read")
        return REFUSED[found][0] if found in REFUSED else getattr(self, found, None)

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse assignment: it does not say whether one thread or all are meant."""
        scope = f"`with config.scope({name}={value!r}):`"
        cure = f"Call config.update({name!r}, {value!r}), or {scope}."
        raise ConfigError("config", "an update or a scope", f"an assignment to {name}", fix=cure)

    def __getattr__(self, name: str) -> Any:
        """Read an option by JAX's name; what is no option is an error."""
        found = name if name.startswith("_") else _resolve(name, "config")
        return object.__getattribute__(self, found)

    def __repr__(self) -> str:
        """Show every option and its value."""
        return "\n".join(f"{name} = {value!r}" for name, value in self.values().items())


class Scope(contextlib.ContextDecorator):
    """Options that hold in one thread while a ``with`` block, or a decorated function, runs.

    Args:
        call: str, the function the user called.
        options: dict, values by option name.

    Raises:
        ConfigError: for another kind of value, or an option that one thread cannot change.

    Example:
        >>> @config.scope(enable_x64=True)
        ... def wide():
        ...     return config.enable_x64
        >>> wide(), config.enable_x64
        (True, False)
    """

    __slots__ = ("_changes",)

    def __init__(self, call: str, options: dict[str, object]) -> None:
        for name in options:
            if name in OPTIONS and not OPTIONS[name].scoped:
                cure = f"Call config.update({name!r}, ...) before the first computation."
                raise ConfigError(call, "an option that one thread can change", name, fix=cure)
        self._changes = _checked(call, options)

    def __enter__(self) -> None:
        """Put the new values in place, and the old ones on the thread's stack."""
        local = vars(config)
        saved = {name: local[name] for name in self._changes if name in local}
        local.setdefault("stack", []).append((self, saved))
        local.update(self._changes)
        _refresh_key(local)

    def __exit__(self, *error: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Bring the old values back."""
        local = vars(config)
        stack = local["stack"]
        # The last entry, unless generators suspended inside scopes end in another order.
        place = max(index for index, (scope, _) in enumerate(stack) if scope is self)
        _, saved = stack.pop(place)
        for name in self._changes:
            local.pop(name, None)
        local.update(saved)
        _refresh_key(local)


class ScopedOption:
    """A function that makes the `Scope` of one option, such as ``functrax.enable_x64``.

    Args:
        name: str, the option.

    Example:
        >>> with enable_x64(True):
        ...     config.enable_x64
        True
    """

    def __init__(self, name: str) -> None:
        self.__name__ = self.__qualname__ = name
        self.__doc__ = f"{OPTIONS[name].doc} Holds for this thread in ``with {name}(value):``."

    def __call__(self, new_val: object = True) -> Scope:
        """Return a scope in which the option has a value.

        Args:
            new_val: object, the value; for switches, True when not given.

        Returns:
            A context manager, which is also a decorator.

        Raises:
            ConfigError: for a value that the option does not take.
        """
        return Scope(self.__name__, {self.__name__: new_val})


# ---- names and values


def _resolve(name: str, call: str) -> str:
    """Turn a name, JAX's or ours, into ours."""
    short = name.removeprefix("jax_") if isinstance(name, str) else name
    short = _ALIASES.get(short, short)
    if short in OPTIONS or short in IGNORED or short in REFUSED:
        return short
    import difflib  # here, because it takes milliseconds and only an error needs it

    close = difflib.get_close_matches(str(short), OPTIONS, n=3)
    known = "config.values() has all of them."
    cure = f"Did you mean {' or '.join(map(repr, close))}?" if close else known
    raise ConfigError(call, "the name of an option", repr(name), fix=cure)


def _checked(call: str, options: dict[str, object]) -> dict[str, object]:
    """Return options with values of the right kind, and those they imply, if all checks agree."""
    changes: dict[str, object] = {}
    for name, value in options.items():
        if name in OPTIONS:
            changes[name] = convert(call, name, OPTIONS[name], value)
            changes.update(dict.fromkeys(_IMPLIED.get(name, ()), changes[name]))
        elif name in REFUSED and value != REFUSED[name][0]:
            default, cure = REFUSED[name]
            raise ConfigError(call, f"{default!r} for {name}", repr(value), fix=cure)
    for name, value in changes.items():
        for check in _checks.get(name, ()):
            check(value)
    return changes


# ---- the key


def _intern_key(local: dict[str, Any]) -> TraceKey:
    shared = vars(Config)
    values = tuple(local[name] if name in local else shared[name] for name in TRACED)
    key = _keys.get(values)
    return key if key is not None else _keys.setdefault(values, TraceKey(values))


def _refresh_key(local: dict[str, Any]) -> None:
    """Make the key of this thread agree with its scopes."""
    keys = vars(in_force)
    if not _traced.isdisjoint(local):
        with _lock:
            keys["key"] = _intern_key(local)
            _scoped_threads[id(local)] = local, keys
    elif keys:
        with _lock:
            del keys["key"], _scoped_threads[id(local)]


_checks: dict[str, list[Callable[[Any], None]]] = {}
_keys: dict[tuple[Hashable, ...], TraceKey] = {}
_scoped_threads: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {}  # whose keys to renew
_lock = threading.Lock()

OPTIONS: dict[str, Option] = {n: row for n, row in vars(Config).items() if isinstance(row, Option)}
TRACED: tuple[str, ...] = tuple(name for name, row in OPTIONS.items() if row.trace)
_traced = frozenset(TRACED)
_CHECKS = {"debug_nans": "nan", "debug_infs": "inf", "debug_index": "index"}
_ALIASES = {"platform_name": "platforms"}
_IMPLIED = {"transfer_guard": tuple(n for n in OPTIONS if n.startswith("transfer_guard_"))}

for _name, _row in OPTIONS.items():
    _variable = "FUNCTRAX_" + _name.upper()
    _text = os.environ.get(_variable)
    setattr(Config, _name, parse(_variable, _row, _text) if _text else _row.default)
    # JAX's name, for reading. Not by __getattr__, which would make every read twice as slow.
    setattr(Config, "jax_" + _name, property(operator.attrgetter(_name)))
_InForce.key = _intern_key({})
in_force = _InForce()
config = Config()
errors.keeps_frames = lambda: config.traceback_filtering == "off"

enable_x64 = ScopedOption("enable_x64")
debug_nans = ScopedOption("debug_nans")
debug_infs = ScopedOption("debug_infs")
debug_index = ScopedOption("debug_index")
debug_key_reuse = ScopedOption("debug_key_reuse")
enable_checks = ScopedOption("enable_checks")
enable_custom_prng = ScopedOption("enable_custom_prng")
check_tracer_leaks = checking_leaks = ScopedOption("check_tracer_leaks")
numpy_dtype_promotion = ScopedOption("numpy_dtype_promotion")
numpy_rank_promotion = ScopedOption("numpy_rank_promotion")
default_matmul_precision = ScopedOption("default_matmul_precision")
default_device = ScopedOption("default_device")
default_prng_impl = ScopedOption("default_prng_impl")
threefry_partitionable = ScopedOption("threefry_partitionable")
log_compiles = ScopedOption("log_compiles")
explain_cache_misses = ScopedOption("explain_cache_misses")
no_implicit_comms = ScopedOption("no_implicit_comms")
transfer_guard = ScopedOption("transfer_guard")
transfer_guard_host_to_device = ScopedOption("transfer_guard_host_to_device")
transfer_guard_device_to_device = ScopedOption("transfer_guard_device_to_device")
transfer_guard_device_to_host = ScopedOption("transfer_guard_device_to_host")
