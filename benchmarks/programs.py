"""The benchmarked programs, written once against the names that functrax and JAX share.

Each entry of `PROGRAMS` takes the library (the module ``functrax`` or ``jax``) and returns
``(function, arguments)``: a pure function that is not jitted yet, and NumPy arguments. What is
measured of it is decided in `measure.py`.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

Program = tuple[Callable[..., Any], tuple[Any, ...]]


def _normal(shape: tuple[int, ...], seed: int = 0, scale: float = 0.05) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def adam(lib: Any, loss: Callable[..., Any]) -> Callable[..., Any]:
    """Return one Adam step for a loss of (params, *batch)."""
    jnp, tree = lib.numpy, lib.tree

    def step(params: Any, m: Any, v: Any, count: Any, *batch: Any) -> Any:
        value, grads = lib.value_and_grad(loss)(params, *batch)
        count = count + 1
        m = tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        rate = 1e-3 * jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        params = tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), params, m, v)
        return params, m, v, count, value

    return step


def with_moments(params: Any, *batch: Any) -> tuple[Any, ...]:
    """Return the arguments of an Adam step with zero moments."""

    def zeros(tree: Any) -> Any:
        if isinstance(tree, dict):
            return {k: zeros(x) for k, x in tree.items()}
        return [zeros(x) for x in tree] if isinstance(tree, list) else np.zeros_like(tree)

    return params, zeros(params), zeros(params), np.float32(0), *batch


# MLP ----------------------------------------------------------------------------------------------

MLP_SIZES = (784, 512, 512, 10)


def _mlp_params(sizes: tuple[int, ...]) -> list[dict[str, np.ndarray]]:
    return [
        {"w": _normal((n, m), i), "b": np.zeros(m, np.float32)}
        for i, (n, m) in enumerate(itertools.pairwise(sizes))
    ]


def _mlp(lib: Any, params: Any, x: Any) -> Any:
    for layer in params[:-1]:
        x = lib.numpy.tanh(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def _cross_entropy(lib: Any, logits: Any, labels: Any) -> Any:
    return -lib.numpy.mean(lib.numpy.sum(lib.nn.log_softmax(logits) * labels, axis=-1))


def mlp_step(lib: Any) -> Program:
    """One step of gradient descent on a three-layer perceptron."""

    def loss(params: Any, x: Any, y: Any) -> Any:
        return _cross_entropy(lib, _mlp(lib, params, x), y)

    def step(params: Any, x: Any, y: Any) -> Any:
        value, grads = lib.value_and_grad(loss)(params, x, y)
        return lib.tree.map(lambda p, g: p - 0.1 * g, params, grads), value

    y = np.eye(10, dtype=np.float32)[np.arange(128) % 10]
    return step, (_mlp_params(MLP_SIZES), _normal((128, 784), 9, 1.0), y)


def data_parallel(lib: Any, mean: Callable[[Any], Any] | None = None, inside: bool = False) -> Any:
    """Gradient descent of a small network on 128 examples, or on the part of one of the devices.

    Args:
        lib: the library.
        mean: the mean over the devices, if each has a part of the examples.
        inside: whether to take the mean of losses (`shard_map`), or of gradients (`pmap`).
    """
    params, x = _mlp_params((64, 64, 64, 64, 10)), _normal((128, 64), 9, 1.0)
    labels = np.eye(10, dtype=np.float32)[np.arange(128) % 10]

    def step(params: Any, x: Any, labels: Any) -> Any:
        def loss(params: Any) -> Any:
            value = _cross_entropy(lib, _mlp(lib, params, x), labels)
            return mean(value) if mean and inside else value

        grads = lib.grad(loss)(params)
        grads = mean(grads) if mean and not inside else grads
        return lib.tree.map(lambda p, g: p - 1e-3 * g, params, grads)

    return step, (params, x, labels)


# ResNet -------------------------------------------------------------------------------------------

STAGES = ((64, 1), (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1))


def resnet_step(lib: Any) -> Program:
    """One Adam step of a ResNet-18-like network on 32x32 images, batch 16."""
    loss, arguments = resnet_loss(lib)
    return adam(lib, loss), with_moments(*arguments)


def resnet_loss(lib: Any) -> Program:
    """The loss of that network."""
    jnp, lax = lib.numpy, lib.lax

    def conv(x: Any, w: Any, stride: int = 1) -> Any:
        return lax.conv_general_dilated(
            x, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    def norm(x: Any, p: Any) -> Any:
        mean = jnp.mean(x, axis=(0, 1, 2))
        var = jnp.var(x, axis=(0, 1, 2))
        return (x - mean) * lax.rsqrt(var + 1e-5) * p["scale"] + p["bias"]

    def loss(params: Any, x: Any, y: Any) -> Any:
        x = lib.nn.relu(norm(conv(x, params["stem"]), params["stem_norm"]))
        for block, (_, stride) in zip(params["blocks"], STAGES, strict=True):
            shortcut = conv(x, block["project"], stride) if "project" in block else x
            x1 = lib.nn.relu(norm(conv(x, block["conv1"], stride), block["norm1"]))
            x = lib.nn.relu(norm(conv(x1, block["conv2"]), block["norm2"]) + shortcut)
        x = jnp.mean(x, axis=(1, 2))
        return _cross_entropy(lib, x @ params["head"]["w"] + params["head"]["b"], y)

    def normal(c: int) -> dict[str, np.ndarray]:
        return {"scale": np.ones(c, np.float32), "bias": np.zeros(c, np.float32)}

    blocks, before = [], 64
    for c, stride in STAGES:
        block = {
            "conv1": _normal((3, 3, before, c)),
            "norm1": normal(c),
            "conv2": _normal((3, 3, c, c)),
            "norm2": normal(c),
        }
        if stride != 1 or before != c:
            block["project"] = _normal((1, 1, before, c))
        blocks.append(block)
        before = c
    params = {
        "stem": _normal((3, 3, 3, 64)),
        "stem_norm": normal(64),
        "blocks": blocks,
        "head": {"w": _normal((512, 10)), "b": np.zeros(10, np.float32)},
    }
    y = np.eye(10, dtype=np.float32)[np.arange(16) % 10]
    return loss, (params, _normal((16, 32, 32, 3), 5, 1.0), y)


# GPT ----------------------------------------------------------------------------------------------

LAYERS, WIDTH, HEADS, LENGTH, VOCABULARY = 12, 128, 4, 64, 256


def gpt_step(lib: Any) -> Program:
    """One Adam step of an unrolled decoder-only transformer."""
    loss, arguments = gpt_loss(lib)
    return adam(lib, loss), with_moments(*arguments)


def _norm(lib: Any, x: Any, p: Any) -> Any:
    jnp = lib.numpy
    mean = jnp.mean(x, axis=-1, keepdims=True)
    var = jnp.var(x, axis=-1, keepdims=True)
    return (x - mean) / jnp.sqrt(var + 1e-5) * p["scale"] + p["bias"]


def _attention(lib: Any, x: Any, p: Any) -> Any:
    jnp = lib.numpy
    batch, length, width = x.shape
    qkv = x @ p["qkv"]
    q, k, v = jnp.split(qkv.reshape(batch, length, 3 * HEADS, width // HEADS), 3, axis=2)
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(width // HEADS)
    mask = jnp.tril(jnp.ones((length, length), bool))
    scores = jnp.where(mask, scores, -1e9)
    out = jnp.einsum("bhqk,bkhd->bqhd", lib.nn.softmax(scores, axis=-1), v)
    return out.reshape(batch, length, width) @ p["out"]


def _block(lib: Any, x: Any, p: Any) -> Any:
    x = x + _attention(lib, _norm(lib, x, p["norm1"]), p)
    h = lib.nn.gelu(_norm(lib, x, p["norm2"]) @ p["up"] + p["up_bias"])
    return x + h @ p["down"] + p["down_bias"]


def _unrolled(lib: Any, x: Any, layers: Any) -> Any:
    for p in layers:
        x = _block(lib, x, p)
    return x


def gpt_loss(lib: Any, run: Callable[..., Any] = _unrolled) -> Program:
    """The loss of that transformer; `run` takes the library, activations and layers."""

    def loss(params: Any, tokens: Any) -> Any:
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        x = params["embedding"][inputs] + params["positions"][: inputs.shape[1]]
        x = run(lib, x, params["layers"])
        logits = _norm(lib, x, params["norm"]) @ params["embedding"].T
        return _cross_entropy(lib, logits, lib.nn.one_hot(targets, VOCABULARY))

    def normal() -> dict[str, np.ndarray]:
        return {"scale": np.ones(WIDTH, np.float32), "bias": np.zeros(WIDTH, np.float32)}

    params = {
        "embedding": _normal((VOCABULARY, WIDTH)),
        "positions": _normal((LENGTH, WIDTH), 1),
        "norm": normal(),
        "layers": [
            {
                "norm1": normal(),
                "norm2": normal(),
                "qkv": _normal((WIDTH, 3 * WIDTH), i),
                "out": _normal((WIDTH, WIDTH), i),
                "up": _normal((WIDTH, 4 * WIDTH), i),
                "up_bias": np.zeros(4 * WIDTH, np.float32),
                "down": _normal((4 * WIDTH, WIDTH), i),
                "down_bias": np.zeros(WIDTH, np.float32),
            }
            for i in range(LAYERS)
        ],
    }
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (8, LENGTH + 1)).astype(np.int32)
    return loss, (params, tokens)


# Compositions of transforms -----------------------------------------------------------------------


def per_example_gradients(lib: Any) -> Program:
    """The gradient of each example in a batch: vmap of grad."""

    def loss(params: Any, x: Any, y: Any) -> Any:
        return lib.numpy.sum((_mlp(lib, params, x) - y) ** 2)

    params = _mlp_params((64, 64, 64, 10))
    function = lib.vmap(lib.grad(loss), in_axes=(None, 0, 0))
    return function, (params, _normal((64, 64), 3, 1.0), _normal((64, 10), 4, 1.0))


def mlp_hessian(lib: Any) -> Program:
    """The Hessian of a perceptron's loss in its input."""

    def loss(x: Any, params: Any) -> Any:
        return lib.numpy.sum(_mlp(lib, params, x) ** 2)

    return lib.hessian(loss), (_normal((64,), 2, 1.0), _mlp_params((64, 64, 64, 10)))


def nested_vmap(lib: Any) -> Program:
    """All pairwise kernel values of two sets of points, by vmap in vmap, summed and
    differentiated.
    """
    jnp = lib.numpy

    def kernel(x: Any, y: Any) -> Any:
        return jnp.exp(-0.5 * jnp.sum((x - y) ** 2))

    def total(x: Any, y: Any) -> Any:
        return jnp.sum(lib.vmap(lambda a: lib.vmap(lambda b: kernel(a, b))(y))(x))

    return lib.value_and_grad(total), (_normal((200, 8), 0, 1.0), _normal((300, 8), 1, 1.0))


def straight_line(lib: Any, operations: int = 2000) -> Program:
    """A chain of elementwise operations."""
    jnp = lib.numpy

    def chain(x: Any) -> Any:
        for _ in range(operations // 4):
            x = jnp.sin(x) * 1.5 + x
            x = jnp.tanh(x)
        return jnp.sum(x)

    return chain, (_normal((16,), 0, 1.0),)


def straight_line_gradient(lib: Any) -> Program:
    """The gradient of that chain."""
    chain, args = straight_line(lib)
    return lib.grad(chain), args


def third_derivative(lib: Any) -> Program:
    """Grad of grad of grad of a scalar function."""
    jnp = lib.numpy

    def f(x: Any) -> Any:
        for _ in range(5):
            x = jnp.sin(x) * jnp.exp(-x) + jnp.log1p(x * x)
        return x

    return lib.grad(lib.grad(lib.grad(f))), (np.float32(0.7),)


# Control flow -------------------------------------------------------------------------------------


def lstm_gradient(lib: Any, steps: int = 1000, width: int = 64) -> Program:
    """The gradient of a recurrent network over a long sequence."""
    jnp = lib.numpy

    def step(weights: Any, carry: Any, x: Any) -> Any:
        h, c = carry
        gates = x @ weights["x"] + h @ weights["h"] + weights["b"]
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c = lib.nn.sigmoid(f) * c + lib.nn.sigmoid(i) * jnp.tanh(g)
        return (lib.nn.sigmoid(o) * jnp.tanh(c), c), None

    def loss(weights: Any, xs: Any) -> Any:
        start = jnp.zeros((xs.shape[1], width)), jnp.zeros((xs.shape[1], width))
        (h, _), _ = lib.lax.scan(lambda carry, x: step(weights, carry, x), start, xs)
        return jnp.sum(h**2)

    weights = {
        "x": _normal((width, 4 * width)),
        "h": _normal((width, 4 * width), 1),
        "b": np.zeros(4 * width, np.float32),
    }
    return lib.grad(loss), (weights, _normal((steps, 8, width), 2, 1.0))


def gpt_scan(lib: Any) -> Program:
    """One Adam step of the transformer as a loop over its layers, each computed again backwards."""

    def run(lib: Any, x: Any, layers: Any) -> Any:
        body = lib.checkpoint(lambda x, p: _block(lib, x, p))
        return lib.lax.scan(lambda x, p: (body(x, p), None), x, layers)[0]

    loss, (params, tokens) = gpt_loss(lib, run)
    stacked = lib.tree.map(lambda *rows: np.stack(rows), *params["layers"])
    return adam(lib, loss), with_moments({**params, "layers": stacked}, tokens)


def n_body(lib: Any, bodies: int = 64, steps: int = 200) -> Program:
    """Bodies that attract each other, by leapfrog steps in a `fori_loop`."""
    jnp = lib.numpy

    def acceleration(x: Any) -> Any:
        apart = x[None, :, :] - x[:, None, :]
        distance = jnp.sum(apart**2, axis=-1) + 0.01
        return jnp.sum(apart * (distance**-1.5)[..., None], axis=1)

    def step(_: Any, state: Any) -> Any:
        x, v = state
        v = v + 0.5e-3 * acceleration(x)
        x = x + 1e-3 * v
        return x, v + 0.5e-3 * acceleration(x)

    def simulate(x: Any, v: Any) -> Any:
        return lib.lax.fori_loop(0, steps, step, (x, v))

    return simulate, (_normal((bodies, 3), 0, 1.0), _normal((bodies, 3), 1, 0.1))


def while_gradient(lib: Any, most: int = 200) -> Program:
    """The gradient of a fixed point, iterated until it stands still.

    JAX has no reverse mode for `while_loop`: there the program is what its users write instead, a
    `scan` of as many steps as there may be, which holds still at the end.
    """
    jnp, lax = lib.numpy, lib.lax

    def following(x: Any, w: Any) -> Any:
        return jnp.tanh(w @ x + 1.0)

    def changes(pair: Any) -> Any:
        return jnp.max(jnp.abs(pair[0] - pair[1])) > 1e-6

    def loss(w: Any) -> Any:
        start = jnp.zeros(w.shape[0]), jnp.ones(w.shape[0])
        if lib.__name__ == "functrax":
            x, _ = lax.while_loop(changes, lambda pair: (following(pair[0], w), pair[0]), start)
        else:

            def step(pair: Any, _: Any) -> Any:
                goes_on, new = changes(pair), (following(pair[0], w), pair[0])
                return lib.tree.map(lambda a, b: jnp.where(goes_on, a, b), new, pair), None

            (x, _), _ = lax.scan(step, start, None, length=most)
        return jnp.sum(x**2)

    return lib.grad(loss), (_normal((64, 64), 0, 0.05),)


def control(lib: Any) -> Program:
    """A branch, a loop and a scan over next to nothing: what starting them costs."""
    jnp, lax = lib.numpy, lib.lax

    def f(x: Any) -> Any:
        x = lax.cond(x[0] > 0, lambda x: x + 1, lambda x: x - 1, x)
        x = lax.while_loop(lambda x: x[0] < 8, lambda x: x + 1, x)
        return lax.scan(lambda c, y: (c + y, c), x[0], jnp.arange(8.0))

    return f, (np.ones(4, np.float32),)


PROGRAMS: dict[str, Callable[[Any], Program]] = {
    "mlp": mlp_step,
    "resnet_loss": resnet_loss,
    "resnet": resnet_step,
    "gpt_loss": gpt_loss,
    "gpt": gpt_step,
    "per_example": per_example_gradients,
    "hessian": mlp_hessian,
    "nested_vmap": nested_vmap,
    "line": straight_line,
    "line_grad": straight_line_gradient,
    "grad3": third_derivative,
    "lstm": lstm_gradient,
    "gpt_scan": gpt_scan,
    "n_body": n_body,
    "while_grad": while_gradient,
    "control": control,
}
