"""Train a language model on the sources of Python's standard library, byte by byte, on all devices.

Run ``python examples/lm.py`` (or ``make lm``): it trains a small transformer, shows its progress,
tests, draws the loss curve, writes a sample of text, and saves the parameters. ``--parallel`` says
how devices work together; the losses are the same to rounding.

- ``pmap``: every device has all parameters and a part of each batch; gradients are averaged.
- ``jit``: parameters are divided too, along both axes of a mesh (FSDP and tensor-parallel), by
  shardings; the compiler finds what devices have to send.
- ``shard_map``: the same, with what devices send written out.

``--evaluate FILE`` loads parameters, tests them, and writes a sample.
"""

import argparse
import functools
import itertools
import re
import sys
import sysconfig
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
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
    save_params,
    time_spent,
    write_atomically,
)
from functrax import lax, nn, random
from functrax.sharding import Mesh, NamedSharding
from functrax.sharding import PartitionSpec as P

BYTES = 256
SAMPLE = 600  # bytes that are written after the prompt
CURE = "Make one with `python examples/lm.py`."


# The text -----------------------------------------------------------------------------------------


def load_data(folder: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes of the standard library's modules as a training and a test text.

    About one module in 16 is for testing; its name decides it, so that it is the same everywhere.

    Raises:
        functrax.errors.FileError: if there are no sources.
    """
    folder = folder or Path(sysconfig.get_paths()["stdlib"])
    texts: tuple[list[bytes], list[bytes]] = ([], [])
    for path in sorted(folder.glob("[a-z]*.py")):  # those with an underscore are partly generated
        texts[zlib.crc32(path.name.encode()) % 16 == 0].append(path.read_bytes())
    if not all(texts):
        raise functrax.errors.FileError(
            "train",
            "the sources of Python's standard library",
            f"{sum(map(len, texts))} modules in {folder}",
            where="",
            fix="Use a Python that was installed with them.",
        )
    training, test = (np.frombuffer(b"".join(text), np.uint8) for text in texts)
    return training, test


def batches(text: np.ndarray, seed: int, size: int, length: int) -> Iterator[np.ndarray]:
    """Yield batches of pieces drawn from the text at random, int32 of shape (size, length)."""
    generator = np.random.default_rng(seed)
    while True:
        starts = generator.integers(0, len(text) - length + 1, size)
        yield text[starts[:, None] + np.arange(length)].astype(np.int32)


# The model: pure functions of a dictionary of parameters ------------------------------------------


class Size(NamedTuple):
    """How large a model is."""

    width: int
    layers: int
    heads: int
    context: int


# What divides each parameter when parameters are divided. "model" divides the work of a layer: its
# heads and hidden units (tensor-parallel, Shoeybi et al., 2019). "data", which divides the batch,
# divides what is left, and a layer's parameters come together when it is their turn (FSDP,
# Rajbhandari et al., 2020). All but the first three have a leading axis, the layers.
SPECS = {
    "embedding": P(None, "data"),
    "position": P(None, "data"),
    "norm": P(),
    "attention.norm": P(),
    "attention.in": P(None, "data", None, "model"),
    "attention.out": P(None, "model", None, "data"),
    "dense.norm": P(),
    "dense.in": P(None, "data", "model"),
    "dense.out": P(None, "model", "data"),
}


def init_params(key: functrax.Array, size: Size) -> Params:
    """Draw weights; norms start from 0, which is added to 1."""
    width, layers, heads, context = size
    shapes = {
        "embedding": (BYTES, width),
        "position": (context, width),
        "norm": (width,),
        "attention.norm": (layers, width),
        "attention.in": (layers, width, 3, heads, width // heads),
        "attention.out": (layers, heads, width // heads, width),
        "dense.norm": (layers, width),
        "dense.in": (layers, width, 4 * width),
        "dense.out": (layers, 4 * width, width),
    }
    deviation = {
        "embedding": 0.02,
        "position": 0.02,
        "attention.in": width**-0.5,
        "attention.out": (2 * layers * width) ** -0.5,
        "dense.in": width**-0.5,
        "dense.out": (8 * layers * width) ** -0.5,
    }
    keys = random.split(key, len(shapes))
    return {
        name: deviation.get(name, 0.0) * random.normal(layer_key, shape)
        for (name, shape), layer_key in zip(shapes.items(), keys, strict=True)
    }


class Ways(NamedTuple):
    """What a model does where its parameters are divided; by default nothing.

    Attributes:
        gather: takes the name and a device's part of a parameter; returns all of it that this
            device's heads and hidden units need.
        total: takes what a device's heads or hidden units contribute; returns the sum of all.
    """

    gather: Callable[[str, Any], Any] = lambda name, x: x
    total: Callable[[Any], Any] = lambda x: x


ALONE = Ways()


def normalize(x: functrax.Array, scale: functrax.Array) -> functrax.Array:
    """Divide vectors by their root mean square (Zhang and Sennrich, 2019)."""
    return x * lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6) * (1 + scale)


def predict(params: Params, tokens: functrax.Array, ways: Ways = ALONE) -> functrax.Array:
    """Return logits, (batch, length, 256), of the byte after each of tokens, (batch, length)."""

    def layer(x: functrax.Array, weights: Params) -> tuple[functrax.Array, None]:
        w = {name: ways.gather(name, value) for name, value in weights.items()}
        y = normalize(x, w["attention.norm"])
        query, key, value = jnp.einsum("btw,wchd->cbthd", y, w["attention.in"])
        y = nn.dot_product_attention(query, key, value, is_causal=True)
        x = x + ways.total(jnp.einsum("bthd,hdw->btw", y, w["attention.out"]))
        y = nn.gelu(normalize(x, w["dense.norm"]) @ w["dense.in"])
        return x + ways.total(y @ w["dense.out"]), None

    if ways is not ALONE:  # going back gathers again: no device ever has the weights of all layers
        layer = functrax.checkpoint(layer)
    embedding = ways.gather("embedding", params["embedding"])
    position = ways.gather("position", params["position"])
    x = embedding[tokens] + position[: tokens.shape[1]]
    layers = {name: value for name, value in params.items() if "." in name}
    x, _ = lax.scan(layer, x, layers)
    return normalize(x, params["norm"]) @ embedding.T


def loss(params: Params, tokens: functrax.Array, ways: Ways = ALONE) -> functrax.Array:
    """Return the mean cross-entropy of each byte but the first of pieces of text, in bits."""
    scores = nn.log_softmax(predict(params, tokens[:, :-1], ways))
    return -jnp.mean(jnp.take_along_axis(scores, tokens[:, 1:, None], axis=-1)) / np.log(2)


# Training, in three ways --------------------------------------------------------------------------


class Program(NamedTuple):
    """How devices train together.

    Attributes:
        start: takes a key; returns parameters and the state of Adam, on the devices.
        step: takes these and a batch; returns them after a step, and the loss before it.
        collect: takes the parameters as `step` returns them; returns them as they were written.
    """

    start: Callable[[functrax.Array], tuple[Params, AdamState]]
    step: Callable[[Params, AdamState, np.ndarray], tuple[Params, AdamState, functrax.Array]]
    collect: Callable[[Params], Params]


def start(key: functrax.Array, size: Size) -> tuple[Params, AdamState]:
    """Return parameters and the state before the first step."""
    params = init_params(key, size)
    return params, adam_init(params)


def update(grads: Params, params: Params, state: AdamState, steps: int) -> tuple[Params, AdamState]:
    """Take a step whose size rises for the first twentieth of all steps and then falls to 0."""
    done = state.count / steps
    rate = 3e-3 * jnp.minimum(20 * (done + 1 / steps), 0.5 * (1 + jnp.cos(np.pi * done)))
    return adam_update(grads, state, params, rate, b2=0.98, decay=0.1)


def by_pmap(mesh: Mesh, size: Size, steps: int) -> Program:
    """Give every device all parameters and a part of each batch."""
    devices = mesh.devices.flatten().tolist()

    @functools.partial(functrax.pmap, axis_name="data", devices=devices, donate_argnums=(0, 1))
    def one(params: Params, state: AdamState, tokens: functrax.Array) -> Any:
        value, grads = functrax.value_and_grad(loss)(params, tokens)
        value, grads = lax.pmean((value, grads), "data")
        return *update(grads, params, state, steps), value

    def step(params: Params, state: AdamState, tokens: np.ndarray) -> Any:
        params, state, value = one(params, state, tokens.reshape(len(devices), -1, tokens.shape[1]))
        return params, state, value[0]

    return Program(
        lambda key: functrax.replicate(start(key, size), devices), step, functrax.unreplicate
    )


def axes_of(name: str) -> tuple[str | None, ...]:
    """Return the axis of the mesh that divides each dimension of a parameter, of one layer if it
    has layers.
    """
    axes = SPECS[name].partitions
    return axes[1:] if "." in name else axes


def by_jit(mesh: Mesh, size: Size, steps: int) -> Program:
    """Say how parameters and batches lie on the devices, and leave the rest to the compiler."""

    def gather(name: str, x: functrax.Array) -> functrax.Array:
        axes = [axis if axis == "model" else None for axis in axes_of(name)]
        return lax.with_sharding_constraint(x, NamedSharding(mesh, P(*axes)))

    def total(x: functrax.Array) -> functrax.Array:
        return lax.with_sharding_constraint(x, batch)

    def step(params: Params, state: AdamState, tokens: functrax.Array) -> Any:
        ways = Ways(gather, total)
        value, grads = functrax.value_and_grad(loss)(params, tokens, ways)
        return *update(grads, params, state, steps), value

    everywhere, batch = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    divided = {name: NamedSharding(mesh, spec) for name, spec in SPECS.items()}
    places = divided, AdamState(everywhere, divided, divided)
    return Program(
        functrax.jit(functools.partial(start, size=size), out_shardings=places),
        functrax.jit(
            step,
            in_shardings=(*places, batch),
            out_shardings=(*places, everywhere),
            donate_argnums=(0, 1),
        ),
        functrax.device_get,
    )


def by_shard_map(mesh: Mesh, size: Size, steps: int) -> Program:
    """Write out what devices send.

    That of the backward pass follows from it: what was gathered for a layer has its gradient
    scattered again with a `psum_scatter`, and a parameter that all devices have gets the sum of
    their gradients, since its type says that it is the same everywhere.
    """

    def gather(name: str, x: functrax.Array) -> functrax.Array:
        axes = axes_of(name)
        if "data" not in axes:
            return x
        return lax.all_gather(x, "data", axis=axes.index("data"), tiled=True)

    def total(x: functrax.Array) -> functrax.Array:
        return lax.psum(x, "model")

    def mean_loss(params: Params, tokens: functrax.Array) -> functrax.Array:
        return lax.pmean(loss(params, tokens, Ways(gather, total)), "data")

    places = SPECS, AdamState(P(), SPECS, SPECS)

    @functools.partial(functrax.jit, donate_argnums=(0, 1))
    @functrax.shard_map(mesh=mesh, in_specs=(*places, P("data")), out_specs=(*places, P()))
    def step(params: Params, state: AdamState, tokens: functrax.Array) -> Any:
        value, grads = functrax.value_and_grad(mean_loss)(params, tokens)
        return *update(grads, params, state, steps), value

    return Program(by_jit(mesh, size, steps).start, step, functrax.device_get)


PROGRAMS = {"pmap": by_pmap, "jit": by_jit, "shard_map": by_shard_map}


def train(
    text: np.ndarray, program: Program, seed: int, steps: int, batch_size: int, context: int
) -> tuple[Params, list[float], float]:
    """Train with a progress bar; return the parameters, the loss of every step, and the number of
    bytes in a second.
    """
    params, state = program.start(random.key(seed))
    losses: list[functrax.Array] = []
    rate = float("nan")
    start = time.perf_counter()
    with tqdm(total=steps, unit="step", disable=None) as bar:
        pieces = batches(text, seed, batch_size, context + 1)
        for step, tokens in enumerate(itertools.islice(pieces, steps), 1):
            params, state, value = program.step(params, state, tokens)
            losses.append(value)
            bar.update()
            if step == 1:
                value.block_until_ready()  # compiling is not counted
                start = time.perf_counter()
            elif step % 10 == 0 or step == steps:
                last = float(value)  # waits for it
                rate = (step - 1) * batch_size * context / (time.perf_counter() - start)
                bar.set_postfix_str(f"loss {last:.3f} bits per byte, {rate:,.0f} tokens/s")
    return program.collect(params), [float(value) for value in losses], rate


# Testing and writing ------------------------------------------------------------------------------


@functrax.jit
def mean_loss(params: Params, pieces: functrax.Array) -> functrax.Array:
    """Return the mean loss of pieces of text, (number, length)."""
    return jnp.mean(lax.map(lambda piece: loss(params, piece[None]), pieces, batch_size=64))


def test_loss(params: Params, text: np.ndarray) -> float:
    """Return the bits per byte of a text, cut into pieces as long as the context."""
    context = len(params["position"])
    starts = np.arange(0, len(text) - context, context)
    pieces = text[starts[:, None] + np.arange(context + 1)].astype(np.int32)
    return float(mean_loss(params, pieces))


@functools.partial(functrax.jit, static_argnames="length")
def generate(
    params: Params, key: functrax.Array, prompt: functrax.Array, length: int
) -> functrax.Array:
    """Return a prompt, (n,), and what follows it, (n + length,), drawn byte by byte."""
    context = len(params["position"])
    text = jnp.zeros(max(len(prompt) + length, context), jnp.int32).at[: len(prompt)].set(prompt)

    def draw(place: functrax.Array, text: functrax.Array) -> functrax.Array:
        begin = jnp.maximum(place - context, 0)
        window = lax.dynamic_slice(text, (begin,), (context,))
        logits = predict(params, window[None])[0, place - begin - 1]
        byte = random.categorical(random.fold_in(key, place), logits / 0.8)
        return text.at[place].set(byte)

    text = lax.fori_loop(len(prompt), len(prompt) + length, draw, text)
    return text[: len(prompt) + length]


def readable(text: np.ndarray) -> str:
    """Return bytes as characters that every terminal can show; others in hexadecimal digits."""
    return "".join(chr(c) if 32 <= c < 127 or c in b"\n\t" else f"\\x{c:02x}" for c in text)


# The command line ---------------------------------------------------------------------------------


def report(params: Params, text: np.ndarray, seed: int, prompt: str) -> str:
    """Print the test loss and a sample of text; return the sample."""
    print(f"test loss: {test_loss(params, text):.4f} bits per byte")
    start = np.frombuffer(prompt.encode(), np.uint8).astype(np.int32)
    sample = readable(np.asarray(generate(params, random.key(seed), start, SAMPLE)))
    print(f"sample:\n{sample}")
    return sample


def size_of(arrays: Mapping[str, np.ndarray]) -> Size:
    """Return the size of a model from its parameters; if they are not such, a small one."""
    shapes = [arrays[name].shape if name in arrays else () for name in ("position", "attention.in")]
    if [len(shape) for shape in shapes] != [2, 5]:
        return Size(1, 1, 1, 1)
    (context, width), (layers, _, _, heads, _) = shapes
    return Size(width, layers, heads, context)


def parameter_types(size: Size) -> Mapping[str, Any]:
    """Return the shapes and dtypes of the parameters of a model."""
    return functrax.eval_shape(functools.partial(init_params, size=size), random.key(0))


def mesh_shape(text: str) -> tuple[int, int]:
    """Parse the shape of a mesh, such as ``4x2``."""
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not two sizes, such as 4x2")
    return int(found[1]), int(found[2])


def devices_of(options: argparse.Namespace) -> tuple[int, int]:
    """Return the shape of the mesh that the command line asks for.

    Raises:
        ValueError: if it does not fit the devices that there are, or the model.
    """
    width, heads, size = options.width, options.heads, options.batch_size
    present = functrax.local_device_count()
    by_default = default_devices(np.gcd(size, width)), 1
    data, model = options.mesh or ((options.devices, 1) if options.devices else by_default)
    asked = f"argument {'--mesh' if options.mesh else '--devices'}: "
    if width % heads:
        raise ValueError(f"argument --heads: {heads} heads cannot divide a width of {width}")
    if options.devices not in (None, data * model):
        raise ValueError(f"{asked}{data * model} devices, and --devices says {options.devices}")
    if data * model > present:
        raise ValueError(f"{asked}{data * model} devices, where there are {present}")
    if options.parallel == "pmap" and model > 1:
        raise ValueError(f"{asked}pmap divides the batch alone; use --parallel jit or shard_map")
    if size % data:
        raise ValueError(f"{asked}{data} devices cannot divide a batch of {size} pieces")
    if options.parallel != "pmap" and width % data:
        raise ValueError(f"{asked}{data} devices cannot divide a width of {width}")
    if heads % model:
        raise ValueError(f"{asked}{model} devices cannot divide {heads} heads")
    return data, model


def main(arguments: list[str] | None = None) -> int:
    """Train or evaluate, as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    kind = integer(0, 2**31 - 1)
    add("--seed", type=kind, default=0, help="of weights, batches and the sample (default 0)")
    add("--steps", type=integer(1), default=1200, help="steps of training (default 1200)")
    add("--batch-size", type=integer(1), default=16, help="pieces of text per step (default 16)")
    add("--width", type=integer(1), default=128, help="of the model's vectors (default 128)")
    add("--layers", type=integer(1), default=2, help="layers of the model (default 2)")
    add("--heads", type=integer(1), default=4, help="heads of each layer (default 4)")
    add("--context", type=integer(1, 4096), default=64, help="bytes it sees (default 64)")
    add("--parallel", choices=PROGRAMS, default="pmap", help="see above (default pmap)")
    add(
        "--devices",
        type=integer(1),
        metavar="N",
        help="devices to use; they must divide the batch size (default: all local ones that do)",
    )
    add(
        "--mesh",
        type=mesh_shape,
        metavar="DxM",
        help="D devices divide the batch, M divide each layer (default: Nx1)",
    )
    add("--prompt", default="def ", help="how the sample starts (default 'def ')")
    add("--out", type=Path, default=Path("out/lm"), help="folder for results (default out/lm)")
    add("--evaluate", type=Path, metavar="FILE", help="test the parameters in FILE instead")
    options = parser.parse_args(arguments)
    try:
        shape = devices_of(options)
    except ValueError as error:
        parser.error(str(error))
    if not options.prompt:
        parser.error("argument --prompt: expected a text")
    try:
        training, test = load_data()
        if options.evaluate:
            params = load_params(options.evaluate, CURE, lambda x: parameter_types(size_of(x)))
            report(params, test, options.seed, options.prompt)
            return 0
        names = "loss.png", "sample.txt", "lm.safetensors"
        prepare_folder(options.out, *names)
        functrax.timings.reset()
        start = time.perf_counter()
        size = Size(options.width, options.layers, options.heads, options.context)
        mesh = functrax.make_mesh(shape, ("data", "model"), devices=functrax.local_devices())
        program = PROGRAMS[options.parallel](mesh, size, options.steps)
        params, losses, rate = train(
            training, program, options.seed, options.steps, options.batch_size, options.context
        )
        print(f"speed: {rate:,.0f} tokens/s, {options.parallel} on {mesh.size} devices")
        sample = report(params, test, options.seed, options.prompt)
        print(time_spent(time.perf_counter() - start))
        save_params(params, options.out / names[2])
        draw_losses(losses, options.out / names[0], "bits per byte", "linear")
        write_atomically(options.out / names[1], lambda path: path.write_text(sample))
    except OSError as error:  # FileError is one too
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {names[0]}, {names[1]} and {names[2]} to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
