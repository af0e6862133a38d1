"""The collectives as a table, and what each means as loops over positions."""

import numpy as np

EVEN = [[0, 3, 5, 6], [7, 1, 2, 4]]
UNEVEN = [[0, 1], [5, 6, 7], [3, 4, 2]]
MOVES = [(0, 3), (3, 0), (1, 7), (7, 2), (4, 4)]
ROUND = [(k, (k + 3) % 8) for k in range(8)]
ORDER = [3, 1, 0, 2, 7, 6, 4, 5]

#: name -> f(lax, value of one position, axis name, groups). Values are of shape (8, 4).
COLLECTIVES = {
    "psum": lambda lax, x, i, g: lax.psum(x, i, axis_index_groups=g),
    "pmean": lambda lax, x, i, g: lax.pmean(x, i, axis_index_groups=g),
    "pmax": lambda lax, x, i, g: lax.pmax(x, i, axis_index_groups=g),
    "pmin": lambda lax, x, i, g: lax.pmin(x, i, axis_index_groups=g),
    "all_gather": lambda lax, x, i, g: lax.all_gather(x, i, axis_index_groups=g),
    "all_gather:last": lambda lax, x, i, g: lax.all_gather(x, i, axis=-1, axis_index_groups=g),
    "all_gather:tiled": lambda lax, x, i, g: lax.all_gather(
        x, i, axis=1, tiled=True, axis_index_groups=g
    ),
    "psum_scatter": lambda lax, x, i, g: lax.psum_scatter(
        x[: len(g[0]) if g else None], i, axis_index_groups=g
    ),
    "psum_scatter:tiled": lambda lax, x, i, g: lax.psum_scatter(
        x, i, scatter_dimension=0, tiled=True, axis_index_groups=g
    ),
    "all_to_all": lambda lax, x, i, g: lax.all_to_all(
        x[: len(g[0]) if g else None], i, 0, 0, axis_index_groups=g
    ),
    "all_to_all:moved": lambda lax, x, i, g: lax.all_to_all(
        x[: len(g[0]) if g else None], i, 0, 1, axis_index_groups=g
    ),
    "all_to_all:tiled": lambda lax, x, i, g: lax.all_to_all(
        x, i, 0, 1, tiled=True, axis_index_groups=g
    ),
    "pswapaxes": lambda lax, x, i, g: lax.pswapaxes(
        x[: len(g[0]) if g else None], i, 0, axis_index_groups=g
    ),
    "ppermute": lambda lax, x, i, g: lax.ppermute(x, i, ROUND),
    "pshuffle": lambda lax, x, i, g: lax.pshuffle(x, i, ORDER),
    "axis_index": lambda lax, x, i, g: lax.axis_index(i),
    # What JAX does not have, or not under vmap.
    "pbroadcast": lambda lax, x, i, g: lax.pbroadcast(x, i, 6),
    "pvary": lambda lax, x, i, g: lax.pvary(x, i),
    "reduce_to": lambda lax, x, i, g: lax.reduce_to(x, i, 5),
    "gather_to": lambda lax, x, i, g: lax.gather_to(x, i, 5, axis=-1),
    "scatter_from": lambda lax, x, i, g: lax.scatter_from(x, i, 5),
    "scatter_from:tiled": lambda lax, x, i, g: lax.scatter_from(x, i, 5, tiled=True),
    "exclusive_psum": lambda lax, x, i, g: lax.exclusive_psum(x, i),
    "exclusive_psum:reverse": lambda lax, x, i, g: lax.exclusive_psum(x, i, reverse=True),
}
COLLECTIVES["ppermute:some"] = lambda lax, x, i, g: lax.ppermute(x, i, MOVES)
GROUPED = [
    name
    for name in COLLECTIVES
    if name.startswith(("ps", "pm", "pswap", "all_")) and name != "pshuffle"
]


def _lexicographic(x, pick):
    flat = x.reshape(len(x), -1)
    best = [sorted(column, key=lambda v: (v.real, v.imag))[pick] for column in flat.T]
    return np.array(best, x.dtype).reshape(x.shape[1:])


def _one(name, x, k):
    """Return what position k of a group of values x has in the end."""
    kind, _, form = name.partition(":")
    size = len(x)
    match kind:
        case "psum":
            return x.sum(0, dtype=x.dtype)
        case "pmean":
            return x.mean(0)
        case "pmax" | "pmin":
            return _lexicographic(x, -1 if kind == "pmax" else 0)
        case "all_gather":
            return np.concatenate(x, 1) if form == "tiled" else np.stack(x, -1 if form else 0)
        case "psum_scatter":
            summed = x.sum(0, dtype=x.dtype)
            return np.split(summed, size, 0)[k] if form else summed[:size][k]
        case "all_to_all" if form == "tiled":
            return np.concatenate([np.split(v, size, 0)[k] for v in x], 1)
        case "all_to_all" | "pswapaxes":
            return np.stack([v[:size][k] for v in x], 1 if form else 0)
        case "ppermute":
            source = {d: s for s, d in (MOVES if form else ROUND)}.get(k)
            return np.zeros_like(x[0]) if source is None else x[source]
        case "pshuffle":
            return x[ORDER[k]]
        case "axis_index":
            return np.int32(k)
        case "pbroadcast":
            return x[6]
        case "pvary":
            return x[k]
        case "reduce_to":
            return x.sum(0) * (k == 5)
        case "gather_to":
            return np.stack(x, -1) if k == 5 else np.zeros_like(np.stack(x, -1))
        case "scatter_from":
            return x[5][k : k + 1] if form else x[5][k]
        case "exclusive_psum":
            return x[k + 1 :].sum(0) if form else x[:k].sum(0)
    raise AssertionError(name)


def expected(name, x, groups=None):
    """Return the results of all positions."""
    x = np.asarray(x)
    found = {}
    for group in groups or [list(range(len(x)))]:
        for k, position in enumerate(group):
            found[position] = _one(name, x[group], k)
    return np.stack([found[k] for k in range(len(x))])
