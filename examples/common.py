"""What the examples share: Adam, loss curves, parameters in files, habits of the command line."""

import argparse
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from matplotlib import pyplot as plt

import functrax
import functrax.numpy as jnp

plt.switch_backend("Agg")  # pictures go into files

Params = dict[str, functrax.Array]

# Adam, as pure functions (Kingma and Ba, 2015) ----------------------------------------------------


class AdamState(NamedTuple):
    """The number of steps taken, and running means of the gradients and of their squares."""

    count: functrax.Array
    mean: Params
    square: Params


def adam_init(params: Params) -> AdamState:
    """Return the state before the first step."""
    mean, square = (functrax.tree.map(jnp.zeros_like, params) for _ in range(2))
    return AdamState(jnp.zeros((), jnp.int32), mean, square)


def adam_update(
    grads: Params,
    state: AdamState,
    params: Params,
    rate: Any = 1e-3,
    b1: float = 0.9,
    b2: float = 0.999,
    decay: float = 0.0,
) -> tuple[Params, AdamState]:
    """Return the parameters and the state after a step.

    The decay of the weights is apart from their gradients (Loshchilov and Hutter, 2019).
    """
    count = state.count + 1
    mean = functrax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mean, grads)
    square = functrax.tree.map(lambda s, g: b2 * s + (1 - b2) * g * g, state.square, grads)
    scale = rate * jnp.sqrt(1 - b2**count) / (1 - b1**count)
    kept = 1 - rate * decay
    params = functrax.tree.map(
        lambda p, m, s: kept * p - scale * m / (jnp.sqrt(s) + 1e-8), params, mean, square
    )
    return params, AdamState(count, mean, square)


# Pictures and files, of which no half is ever seen ------------------------------------------------


def draw_losses(
    losses: list[float], path: Path, label: str = "cross-entropy", scale: str = "log"
) -> None:
    """Draw the loss of every step, and its running mean."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    window = max(1, len(losses) // 50)
    smooth = np.convolve(losses, np.ones(window) / window, "valid")
    axes.plot(losses, color="0.8" if window > 1 else "C0", label="each step")
    if window > 1:
        steps = np.arange(len(smooth)) + window - 1
        axes.plot(steps, smooth, color="C0", label=f"mean of {window} steps")
    axes.set(xlabel="step", ylabel=label, yscale=scale, title="Training loss")
    axes.legend()
    save_figure(figure, path)


def save_figure(figure: Any, path: Path) -> None:
    """Write a PNG."""
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))
    plt.close(figure)


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a temporary file in the same folder, then give it its name."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_params(params: Params, path: Path) -> None:
    """Save parameters in the safetensors format, which holds arrays and no code."""
    arrays = {name: np.asarray(value) for name, value in params.items()}
    content = safetensors.numpy.save(arrays)
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def load_params(
    path: Path, cure: str, expect: Callable[[Mapping[str, np.ndarray]], Mapping[str, Any]]
) -> Params:
    """Load parameters and check their names, shapes and dtypes.

    Args:
        path: a file that `save_params` has made.
        cure: what to do about a file that is not such.
        expect: a function of the arrays in the file that returns what they must be.

    Raises:
        functrax.errors.FileError: if the file is missing, damaged, or holds something else.
    """

    def file_error(expected: str, got: str) -> functrax.errors.FileError:
        return functrax.errors.FileError("evaluate", expected, got, where="", fix=cure)

    try:
        if path.is_dir():
            raise IsADirectoryError("a folder")
        arrays = safetensors.numpy.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise file_error("a safetensors file", f"{path}: {error}") from None
    types = expect(arrays)
    for name in sorted({*types, *arrays}):
        wanted, found = types.get(name), arrays.get(name)
        if wanted is None:
            raise file_error("the parameters of this network", f"a {name!r} in {path}")
        text = f"{name!r} of shape {wanted.shape} and dtype {wanted.dtype}"
        if found is None:
            raise file_error(text, f"none in {path}")
        if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
            raise file_error(text, f"shape {found.shape} and dtype {found.dtype} in {path}")
        if not np.isfinite(found).all():
            raise file_error(f"{name!r} of finite numbers", f"NaN or infinities in {path}")
    return {name: jnp.asarray(value) for name, value in arrays.items()}


def prepare_folder(folder: Path, *names: str) -> None:
    """Make the output folder and check that these files can be written, before any work is done.

    Raises:
        functrax.errors.FileError: if they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        for name in names:
            if (folder / name).is_dir():
                raise IsADirectoryError(f"{name} is a folder there")
    except OSError as error:
        raise functrax.errors.FileError(
            "train",
            "a folder that can be written",
            f"{folder}: {error}",
            where="",
            fix="Choose another with `--out`.",
        ) from None


# The command line ---------------------------------------------------------------------------------


def time_spent(total: float) -> str:
    """Say how many of the seconds since the start functrax spent on what."""
    spent = functrax.timings
    running = total - spent.trace - spent.lower - spent.compile
    return (
        f"time: tracing {spent.trace:.2f} s, lowering {spent.lower:.2f} s, "
        f"compiling {spent.compile:.2f} s, running {running:.2f} s"
    )


def integer(least: int, most: float = math.inf) -> Callable[[str], int]:
    """Return a parser of the command line's integers in a range."""

    def parse(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            limit = f"{least} or more" if most == math.inf else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"{value} is not {limit}")
        return value

    parse.__name__ = "integer"  # argparse says "invalid integer value"
    return parse


def default_devices(size: int) -> int:
    """Return the largest number of local devices that divides a size."""
    count = functrax.local_device_count()
    return max(n for n in range(1, count + 1) if size % n == 0)
