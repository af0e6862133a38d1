"""Every error a user can cause, in one form.

A message reads ``[call] expected WHAT; got WHAT (file:line). CURE`` so that it answers, in this
order: which functrax function was called, what it needed, what arrived, where in the user's own
code, and what to do about it. The location is found by walking out of this package; pass
``where=`` when the line that matters is another one. Where a library function is made of others, an
error about an argument names the one that the user called.

Classes also derive from the built-in exception that NumPy or JAX would raise, so ``except
TypeError`` keeps working.
"""

import inspect
import os
import sys
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import ClassVar

_PACKAGE_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep


def is_internal_file(filename: str) -> bool:
    """Tell whether a source file belongs to functrax itself, so its frames are not the user's."""
    return filename.startswith(_PACKAGE_FOLDER)


def user_frame(frame: FrameType | None = None) -> FrameType | None:
    """Return the innermost frame that is not functrax's own, or None when there is none."""
    frame = frame or sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None and is_internal_file(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def type_name(value: object) -> str:
    """Return what users call the type of a value: arrays of every kind are Arrays."""
    own = [kind for kind in type(value).__mro__ if kind.__module__.startswith("functrax.")]
    names = [kind.__name__ for kind in own]
    name = "Array" if "Array" in names else type(value).__name__
    return f"traced {name}" if "Tracer" in names else name


def a_value(value: object) -> str:
    """Return the type of a value as what a message got."""
    name = type_name(value)
    article = {"Array": "an ", "traced Array": "a "}
    return article.get(name, "a value of type ") + name


def user_location() -> str | None:
    """Return ``file.py:line`` of the user's code that is running now, or None."""
    frame = user_frame(sys._getframe(1))  # pyright: ignore[reportPrivateUsage]
    if frame is None:
        return None
    return short_place(frame.f_code.co_filename, frame.f_lineno)


def short_place(filename: str, line: int) -> str:
    """Return ``file.py:line``."""
    return f"{os.path.basename(filename)}:{line}"


_LIBRARY = ("functrax.numpy", "functrax.lax", "functrax.primitives", "functrax.nn",
            "functrax.random", "functrax.scipy")  # fmt: skip


def _called_function(call: str) -> str:
    """Return the library function that the user's line calls, or `call` if that is further out."""
    frame, name = sys._getframe(1), call  # pyright: ignore[reportPrivateUsage]
    while frame is not None and is_internal_file(frame.f_code.co_filename):
        if frame.f_code.co_name == call.rpartition(".")[2]:
            name = call
        else:
            name = _public_name(frame) or name
        frame = frame.f_back
    return name


def _public_name(frame: FrameType) -> str | None:
    """Return the name of the public library function that a frame runs, or None."""
    name, module = frame.f_code.co_name, frame.f_globals["__name__"]
    if name == "__call__" and module == "functrax.numpy.scalar_types":
        return frame.f_locals["cls"].__name__  # jnp.int8(300)
    if name.startswith(("_", "<")) or not module.startswith(_LIBRARY):
        return None
    module = module.replace("primitives", "lax")
    while module not in sys.modules or "__dir__" not in vars(sys.modules[module]):
        module = module.rpartition(".")[0]
    function = inspect.unwrap(vars(sys.modules[module]).get(name, _public_name))
    return name if getattr(function, "__code__", None) is frame.f_code else None


class FunctraxError(Exception):
    """The base of every error that functrax raises on purpose.

    Args:
        call: the function the user called, without package (``"grad"``, ``"jit"``,
            ``"dot_general"``).
        expected: what it needs, as a noun phrase that follows "expected".
        got: what arrived instead (shapes, dtypes, path), or None if there is nothing to show.
        where: ``file:line`` that matters; the innermost user line when not given.
        fix: what the user can do, as one or more sentences.

    Attributes:
        is_of_arguments: whether it is about what a function was given, so that `call` should be the
            one that the user called, and not one that this is made of.
    """

    is_of_arguments: ClassVar[bool] = False

    def __init__(
        self,
        call: str,
        expected: str,
        got: str | None = None,
        *,
        where: str | None = None,
        fix: str | None = None,
    ) -> None:
        """Compose the message from its parts; see the class for what each is."""
        if self.is_of_arguments and where is None:
            call = _called_function(call)
        self.call = call
        self.expected = expected
        self.got = got
        self.where = where if where is not None else user_location()
        self.fix = fix
        super().__init__(self._message())

    def _message(self) -> str:
        text = f"[{self.call}] expected {self.expected}"
        if self.got is not None:
            text += f"; got {self.got}"
        if self.where:
            text += f" ({self.where})"
        text += "."
        if self.fix:
            text += f" {self.fix}"
        return text

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from the parts when unpickled (worker processes send errors back)."""
        return _rebuild, (type(self), self.call, self.expected, self.got, self.where, self.fix)


def _rebuild(
    kind: type[FunctraxError],
    call: str,
    expected: str,
    got: str | None,
    where: str | None,
    fix: str | None,
) -> FunctraxError:
    return kind(call, expected, got, where=where or "", fix=fix)


class ShapeError(FunctraxError, TypeError, ValueError):
    """Shapes do not broadcast, contract, or match what an operation needs.

    Example: ``jnp.ones((3, 4)) @ jnp.ones((3, 4))``. Cure: reshape or transpose an operand.
    """

    is_of_arguments = True


class DtypeError(FunctraxError, TypeError):
    """An operation does not take values of this dtype.

    Example: ``lax.sin`` of an integer array. Cure: convert with ``astype``.
    """

    is_of_arguments = True


class TypePromotionError(DtypeError, ValueError):
    """Dtypes have no common type in the promotion lattice.

    Example: an int4 array plus a float32 array. Cure: convert one of them with ``astype``.
    """


class ArgumentError(FunctraxError, TypeError, ValueError):
    """An argument has a value, name, number or combination that the function does not take.

    Example: ``jit(f, static_argnums=7)`` for a function of two arguments. Cure: as the message
        says.
    """

    is_of_arguments = True


class TreeError(FunctraxError, TypeError, ValueError):
    """Two pytrees should match, or one should be a prefix of the other, and are not.

    Example: ``tree.map(f, {"a": 1}, {"b": 1})``. Cure: make the structures agree at the path named.
    """


class AxesError(FunctraxError, ValueError, TypeError):
    """``in_axes``/``out_axes`` do not fit the arguments, or mapped sizes differ.

    Example: ``vmap(f)(zeros(3), zeros(4))``. Cure: give the axis of each argument, or None to
        broadcast it.
    """


class AxisNameError(FunctraxError, NameError):
    """A collective names an axis that no enclosing ``vmap``, ``pmap`` or ``shard_map`` binds.

    Example: ``lax.psum(x, "i")`` outside ``vmap(..., axis_name="i")``. Cure: bind the name.
    """


class TracerError(FunctraxError, TypeError):
    """A traced value was used where Python needs a concrete one.

    Example: ``if x > 0:`` on an argument ``x`` of a jitted function. Cure: ``jnp.where``, or a
        static argument.
    """


class TracerBoolError(TracerError):
    """A traced value decided Python control flow (``if``, ``while``, ``and``, ``assert``)."""


class TracerIndexError(TracerError, IndexError):
    """A traced value was used as a Python integer: a list index, a loop bound, a shape."""


class TracerArrayError(TracerError):
    """A traced value was converted to a NumPy array or a Python number."""


class LeakedTracerError(FunctraxError, RuntimeError):
    """A traced value was used after the transformation that made it ended.

    Example: a jitted function that appends its argument to a global list. Cure: return the value
        instead.
    """


class TraceLimitError(FunctraxError, RuntimeError):
    """A jitted function would be traced more often than its ``max_traces`` allows.

    Example: ``jit(f, max_traces=1)`` called with arrays of two shapes. Cure: as the message says,
        for what changed; or a larger ``max_traces``.
    """


class HashError(FunctraxError, TypeError, ValueError):
    """A value that must be hashable (a static argument, a dict key) is not.

    Example: a list passed as a static argument. Cure: a tuple, or pass it as a traced argument.
    """


class MissingRuleError(FunctraxError, NotImplementedError):
    """A primitive has no rule for a transform.

    Example: ``grad`` through a user primitive declared without ``jvp``. Cure: add the rule to its
        declaration.
    """


class CustomRuleError(FunctraxError, TypeError, ValueError):
    """A ``custom_jvp``/``custom_vjp`` rule returned the wrong tree, shape or dtype.

    Example: a bwd function that returns one cotangent for two arguments. Cure: as the message says.
    """


class BoundsError(FunctraxError, IndexError, ValueError):
    """An index, slice or axis lies outside the array: a static one, or one known only at run time
    under `debug_index` or `checking.index_checks`.

    Example: ``x[5]`` for ``x`` of shape ``(3,)``. Cure: an index in range.
    """

    is_of_arguments = True


class NonFiniteError(FunctraxError, FloatingPointError):
    """A NaN or an infinity appeared, and `debug_nans`, `debug_infs` or `checking.nan_checks` asked.

    Example: ``jit(jnp.log)(-1.0)`` under ``debug_nans``. Cure: the message names the operation that
        made it, its line, the iteration of each loop around it, and the pass: look there first.
    """


class DivisionError(FunctraxError, ZeroDivisionError):
    """Something was divided by zero, and `checking.div_checks` asked.

    Example: ``x // 0`` in a function under ``checkify``. Cure: guard the divisor by `jnp.where`.
    """


class CheckError(FunctraxError, ValueError):
    """A `checking.check` failed: what it should hold is false.

    Its message begins with the text that `check` was given. Cure: as that text says.
    """

    def _message(self) -> str:
        """Put the user's text first, and what happened behind it."""
        where = f" at {self.where}" if self.where else ""
        return f"{self.expected} (`{self.call}` failed{where}{f', {self.got}' if self.got else ''})"


class UnhandledCheckError(FunctraxError, ValueError):
    """A program with a `checking.check` was compiled, and nothing in it handles the check.

    Example: ``jit(f)(x)`` for an ``f`` that calls `check`. Cure: ``jit(checkify(f))(x)``, which
        returns the error as a value.
    """


class DonatedError(FunctraxError, RuntimeError, ValueError):
    """An array was used after its buffer was donated to a call, or deleted.

    Example: ``y = step(x)`` with ``donate_argnums=0``, then ``x + 1``. Cure: use the result, or do
        not donate.
    """


class IntegerOverflowError(FunctraxError, OverflowError):
    """An integer does not fit the dtype it is converted to.

    Example: ``jnp.asarray(2**40)`` with 32-bit defaults. Cure: ask for ``dtype="int64"``.
    """

    is_of_arguments = True


class KeyTypeError(FunctraxError, TypeError):
    """A PRNG key arrived where numbers are expected, or the reverse.

    Example: ``random.key(0) + 1``. Cure: ``random.key_data(key)`` for the bits,
        ``random.key(seed)`` for a key.
    """

    is_of_arguments = True


class KeyReuseError(FunctraxError, RuntimeError, TypeError):
    """A PRNG key is used twice, so numbers meant to be independent are the same.

    Example: ``random.normal(key) + random.uniform(key)`` under ``jit`` with the option
        ``key_reuse="error"``. Cure: ``random.split(key)``, and each new key once.
    """


class ConfigError(FunctraxError, AttributeError, ValueError):
    """A configuration name or value is unknown, or comes too late to take effect.

    Example: ``config.update("enable_x46", True)``. Cure: the message lists close names.
    """


class DeviceError(FunctraxError, RuntimeError):
    """A platform or device is not known, not present, or cannot start.

    Example: ``functrax.devices("tpu")`` on a laptop. Cure: install the extra named, or choose
        another platform.
    """


class TransferError(FunctraxError, RuntimeError):
    """An array moves between the host and a device, or between devices, where a transfer guard
    forbids that.

    Example: ``jit(f)(np.ones(3))`` under ``transfer_guard("disallow")``. Cure: `device_put` it
        before the loop.
    """


class CommunicationError(FunctraxError, RuntimeError):
    """A compiled program communicates where the user's did not ask for it, and `no_implicit_comms`
    forbids that.

    Example: ``x @ w`` for a ``w`` whose rows are divided among devices, with a replicated result.
        Cure: other shardings, or a collective in `shard_map`; the message names the line.
    """


class ExchangeError(FunctraxError, BufferError):
    """An array cannot be shared with another library in the way asked for.

    Example: ``dlpack.from_dlpack(x, copy=False)`` of a transposed array. Cure: allow a copy.
    """


class OutOfMemoryError(FunctraxError, MemoryError, RuntimeError):
    """The device has too little memory to compile or run a program."""


class ExecutionError(FunctraxError, RuntimeError):
    """XLA reported a failure while compiling or running a program."""


class MissingTargetError(ExecutionError):
    """A program calls a compiled function that is not registered with XLA.

    Example: ``ffi.ffi_call("my_kernel", x)(x)`` before the kernel's library is loaded. Cure:
        ``ffi.register_ffi_target`` first.
    """


class GradientCheckError(FunctraxError, AssertionError):
    """A derivative differs from the numeric one.

    Example: ``testing.check_grads(f, (1.0,), 1)`` for an ``f`` with a wrong custom rule. Cure: the
        message says which derivative is wrong, where, and by how much.
    """


class JaxprError(FunctraxError, TypeError, ValueError):
    """A jaxpr is ill-formed or its text cannot be parsed."""


class FileError(FunctraxError, OSError, ValueError):
    """A file is missing, damaged, or not what it should be; or a folder cannot be written."""


class InternalError(FunctraxError, AssertionError):
    """Functrax broke one of its own promises: this is a bug in functrax, not in your program.

    Cure: report it with the program that shows it.
    """


class RetraceWarning(UserWarning):
    """A jitted function is traced again and again from one line, instead of run.

    Example: ``for x in xs: jit(lambda x: x + 1)(x)``. Cure: as the message says; the option
        ``warn_retraces`` turns it off.
    """


class GradConventionWarning(UserWarning):
    """A gradient goes through a sum over an axis by JAX's convention, once for each line.

    Example: ``pmap(grad(lambda w, x: lax.psum(w * x, "i")), "i")``. Cure: as the message says;
        ``warnings.filterwarnings("ignore", category=GradConventionWarning)`` turns it off.
    """


class KeyReuseWarning(UserWarning):
    """A PRNG key is used twice; see `KeyReuseError`. The option ``key_reuse`` turns it off, or
    makes it an error.
    """


class ForkWarning(UserWarning):
    """A process forks after devices have started: XLA's threads are not in the copy, which hangs
    when it computes.

    Example: ``multiprocessing.Pool`` on Linux before Python 3.14. Cure:
        ``multiprocessing.get_context("spawn")``, or fork before the first computation.
    """


class CacheWarning(UserWarning):
    """The persistent compilation cache had an entry it could not use, or a folder it could not
    write.
    """


def _never() -> bool:
    return False


keeps_frames: Callable[[], bool] = _never
"""Whether tracebacks keep functrax's own frames; the options (core/config) put theirs here."""


def filter_traceback(error: BaseException) -> BaseException:
    """Drop functrax's own frames from an error's traceback, keeping the user's.

    Set ``FUNCTRAX_TRACEBACK=full``, or the option ``traceback_filtering`` to "off", to keep every
    frame.
    """
    if os.environ.get("FUNCTRAX_TRACEBACK") == "full" or keeps_frames():
        return error
    kept: list[TracebackType] = []
    traceback = error.__traceback__
    while traceback is not None:
        if not is_internal_file(traceback.tb_frame.f_code.co_filename):
            kept.append(traceback)
        traceback = traceback.tb_next
    chain: TracebackType | None = None
    for link in reversed(kept):
        chain = TracebackType(chain, link.tb_frame, link.tb_lasti, link.tb_lineno)
    return error.with_traceback(chain)


def __dir__() -> list[str]:
    """Show the classes: the functions here are for functrax itself."""
    kinds = (FunctraxError, UserWarning)
    return [n for n, c in globals().items() if isinstance(c, type) and issubclass(c, kinds)]
