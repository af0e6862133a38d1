"""Train a convolutional network on scikit-learn's handwritten digits, from scratch, with functrax.

Run ``python examples/digits.py`` (or ``make train``): it trains, shows its progress, tests, draws
the loss curve and the misclassified digits, and saves the parameters. ``--evaluate FILE`` loads
parameters and tests them. Where there are several devices, each takes a part of every batch.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from tqdm import tqdm

import functrax
import functrax.numpy as jnp
from common import (
    AdamState,
    Params,
    adam_init,
    adam_update,
    default_devices,
    draw_losses,
    integer,
    load_params,
    prepare_folder,
    save_figure,
    save_params,
    time_spent,
)
from functrax import lax, nn, random
from functrax.sharding import Mesh, NamedSharding, PartitionSpec

TRAINING_SIZE, TEST_SIZE = 1437, 360
CURE = "Make one with `python examples/digits.py`."


class Data(NamedTuple):
    """Images, float32 of shape (n, 8, 8, 1) in [0, 1], and labels, int32 of shape (n,)."""

    images: np.ndarray
    labels: np.ndarray


def load_data() -> tuple[Data, Data]:
    """Return the 1,797 scans as a training set and a test set of 360, always split in the same
    way.
    """
    digits: Any = load_digits()
    images = (digits.images[..., None] / 16).astype(np.float32)
    labels = digits.target.astype(np.int32)
    order = np.random.default_rng(2026).permutation(len(labels))
    test, train = order[:TEST_SIZE], order[TEST_SIZE:]
    return Data(images[train], labels[train]), Data(images[test], labels[test])


# The model: pure functions of a dictionary of parameters ------------------------------------------

SHAPES = {
    "conv1": (3, 3, 1, 32),
    "conv2": (3, 3, 32, 64),
    "dense1": (4 * 4 * 64, 128),
    "dense2": (128, 10),
}


def init_params(key: functrax.Array) -> Params:
    """Draw weights by He's rule and set biases to zero."""
    params: Params = {}
    keys = random.split(key, len(SHAPES))
    for (name, shape), layer_key in zip(SHAPES.items(), keys, strict=True):
        fan_in = int(np.prod(shape[:-1]))
        params[f"{name}.weight"] = random.normal(layer_key, shape) * np.sqrt(2 / fan_in)
        params[f"{name}.bias"] = jnp.zeros(shape[-1])
    return params


def convolve(params: Params, name: str, x: functrax.Array) -> functrax.Array:
    """Apply a 3x3 convolution with bias and ReLU; x: (batch, height, width, channels)."""
    layout = ("NHWC", "HWIO", "NHWC")
    x = lax.conv_general_dilated(
        x, params[f"{name}.weight"], (1, 1), "SAME", dimension_numbers=layout
    )
    return nn.relu(x + params[f"{name}.bias"])


def max_pool(x: functrax.Array) -> functrax.Array:
    """Halve height and width by taking the maximum of each 2x2 window."""
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def predict(params: Params, images: functrax.Array) -> functrax.Array:
    """Return the logits, (batch, 10), of images, (batch, 8, 8, 1)."""
    x = convolve(params, "conv1", images)
    x = max_pool(convolve(params, "conv2", x))
    x = x.reshape(x.shape[0], -1)
    x = nn.relu(x @ params["dense1.weight"] + params["dense1.bias"])
    return x @ params["dense2.weight"] + params["dense2.bias"]


def loss(params: Params, images: functrax.Array, labels: functrax.Array) -> functrax.Array:
    """Return the mean cross-entropy."""
    return -jnp.mean(
        jnp.sum(nn.log_softmax(predict(params, images)) * nn.one_hot(labels, 10), axis=-1)
    )


def shift(key: functrax.Array, image: functrax.Array) -> functrax.Array:
    """Move one image, (8, 8, 1), by up to one pixel each way; `vmap` makes it a function of a
    batch.
    """
    row, column = random.randint(key, (2,), 0, 3)
    padded = jnp.pad(image, ((1, 1), (1, 1), (0, 0)))
    return lax.dynamic_slice(padded, (row, column, jnp.zeros_like(row)), image.shape)


@functrax.jit
def train_step(
    params: Params,
    state: AdamState,
    key: functrax.Array,
    images: functrax.Array,
    labels: functrax.Array,
) -> tuple[Params, AdamState, functrax.Array]:
    """Shift the images at random, take one Adam step, and return the loss before it."""
    keys = random.split(key, images.shape[0])
    shifted = functrax.vmap(shift)(keys, images)
    value, grads = functrax.value_and_grad(loss)(params, shifted, labels)
    params, state = adam_update(grads, state, params)
    return params, state, value


@functrax.jit
def classify(params: Params, images: functrax.Array) -> functrax.Array:
    """Return the most likely digit of each image."""
    return jnp.argmax(predict(params, images), axis=-1)


# Training -----------------------------------------------------------------------------------------


def train(
    data: Data, seed: int, epochs: int, batch_size: int, devices: int
) -> tuple[Params, list[float]]:
    """Train with a progress bar; return the parameters and the loss of every step.

    All devices hold the parameters, and each its part of the batch: the compiler adds the sums of
    gradients that follow from that.
    """
    mesh = Mesh(functrax.local_devices()[:devices], "batch")
    everywhere = NamedSharding(mesh, PartitionSpec())
    divided = NamedSharding(mesh, PartitionSpec("batch"))
    key = random.key(seed)
    key, init_key = random.split(key)
    params = init_params(init_key)
    state = adam_init(params)
    if devices > 1:
        params, state, key = functrax.device_put((params, state, key), everywhere)
    order = np.random.default_rng(seed)
    steps = len(data.labels) // batch_size
    images, labels = jnp.asarray(data.images), jnp.asarray(data.labels)
    losses: list[functrax.Array] = []
    start = time.perf_counter()
    with tqdm(total=epochs * steps, unit="step", disable=None) as bar:
        for epoch in range(epochs):
            shuffled = order.permutation(len(data.labels)).astype(np.int32)
            for step in range(steps):
                chosen = shuffled[step * batch_size : (step + 1) * batch_size]
                key, step_key = random.split(key)
                batch = images[chosen], labels[chosen]
                if devices > 1:
                    batch = functrax.device_put(batch, divided)
                params, state, value = train_step(params, state, step_key, *batch)
                losses.append(value)
                bar.update()
            last = float(losses[-1])  # waits for it
            rate = (epoch + 1) * steps * batch_size / (time.perf_counter() - start)
            bar.set_postfix_str(
                f"epoch {epoch + 1}/{epochs}, loss {last:.4f}, {rate:,.0f} examples/s"
            )
    return params, [float(value) for value in losses]


def draw_mistakes(data: Data, predicted: np.ndarray, path: Path) -> None:
    """Draw the test digits that were misclassified (the first 24 of them), with what they are and
    what they were taken for.
    """
    wrong = np.flatnonzero(predicted != data.labels)
    shown = wrong[:24]
    columns = max(2, min(6, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    figure, axes = plt.subplots(figsize=(1.6 * columns, 1.9 * rows + 0.4), layout="constrained")
    axes.axis("off")
    axes.set_title(f"{len(wrong)} of {len(predicted)} test digits misclassified", fontsize=9)
    for place, index in enumerate(shown):
        left, top = 10 * (place % columns), -12 * (place // columns)
        image = data.images[index, ..., 0]
        axes.imshow(image, cmap="gray_r", vmin=0, vmax=1, extent=(left, left + 8, top - 8, top))
        text = f"{data.labels[index]} taken for {predicted[index]}"
        axes.text(left + 4, top + 0.7, text, ha="center", fontsize=8)
    axes.set(xlim=(-1, 10 * columns - 1), ylim=(3 - 12 * rows, 3))
    save_figure(figure, path)


# The command line ---------------------------------------------------------------------------------


def report(params: Params, data: Data) -> np.ndarray:
    """Print the test accuracy and return the predictions."""
    predicted = np.asarray(classify(params, data.images))
    correct = int((predicted == data.labels).sum())
    print(f"test accuracy: {correct / len(data.labels):.4f} ({correct} of {len(data.labels)})")
    return predicted


def main(arguments: list[str] | None = None) -> int:
    """Train or evaluate, as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seed",
        type=integer(0, 2**31 - 1),
        default=0,
        help="of initialization, shifts and shuffling (default 0)",
    )
    parser.add_argument(
        "--epochs", type=integer(1), default=30, help="passes over the training set (default 30)"
    )
    parser.add_argument(
        "--batch-size",
        type=integer(1, TRAINING_SIZE),
        default=64,
        help="images per step (default 64)",
    )
    parser.add_argument(
        "--devices",
        type=integer(1),
        help="devices that share each batch; it must divide the batch size (default: all local "
        "ones that do)",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out"), help="folder for what it makes (default out)"
    )
    parser.add_argument(
        "--evaluate",
        type=Path,
        metavar="FILE",
        help="test the parameters in FILE instead of training",
    )
    options = parser.parse_args(arguments)
    devices = options.devices or default_devices(options.batch_size)
    if devices > functrax.local_device_count() or options.batch_size % devices:
        parser.error(
            f"argument --devices: {devices} devices, where there are "
            f"{functrax.local_device_count()} and a batch has {options.batch_size} images"
        )
    training, test = load_data()
    try:
        if options.evaluate:
            types = functrax.eval_shape(init_params, random.key(0))
            report(load_params(options.evaluate, CURE, lambda _: types), test)
            return 0
        names = "loss.png", "mistakes.png", "digits.safetensors"
        prepare_folder(options.out, *names)
        functrax.timings.reset()
        start = time.perf_counter()
        params, losses = train(training, options.seed, options.epochs, options.batch_size, devices)
        predicted = report(params, test)
        print(time_spent(time.perf_counter() - start))
        save_params(params, options.out / names[2])
        draw_losses(losses, options.out / names[0])
        draw_mistakes(test, predicted, options.out / names[1])
    except OSError as error:  # FileError is one too
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {names[0]}, {names[1]} and {names[2]} to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
