"""Choose which values of a program to keep within a number of bytes, so that the least is computed
again.
"""

import heapq
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrax.core.jaxpr import Equation, Jaxpr, Var
from functrax.transforms.remat.cost import flops, nbytes

EXACT = 300
"""Up to so many values to choose from, the choice is the best there is."""
SECONDS = 5.0  # then the solver's best so far is taken


class _Problem:
    """The part of a program that its results need.

    Attributes:
        eqns: the equations.
        costs: the operations of each.
        values: the values that may be kept: results of equations.
        sizes: the bytes of each.
        maker: for each value the index of its equation.
        targets: the values that are needed.
        reads: for each equation the values it takes.
    """

    def __init__(self, jaxpr: Jaxpr) -> None:
        live = {v for v in jaxpr.outvars if type(v) is Var}
        eqns: list[Equation] = []
        for eqn in reversed(jaxpr.eqns):
            if not live.isdisjoint(eqn.outvars):
                live.update(v for v in eqn.invars if type(v) is Var)
                eqns.append(eqn)
        self.eqns = eqns[::-1]
        self.costs = [flops(eqn) for eqn in self.eqns]
        made = {v: i for i, eqn in enumerate(self.eqns) for v in eqn.outvars if v in live}
        self.values = list(made)
        number = {v: i for i, v in enumerate(self.values)}
        self.sizes = [nbytes(v.aval) for v in self.values]
        self.maker = [made[v] for v in self.values]
        self.targets = sorted({number[v] for v in jaxpr.outvars if v in number})  # type: ignore[index]
        self.reads = [
            sorted({number[v] for v in eqn.invars if v in number})  # type: ignore[index]
            for eqn in self.eqns
        ]


def choose_within(jaxpr: Jaxpr, size: int) -> list[Var]:
    """Choose which values of a program to keep.

    Up to `EXACT` values the choice minimizes the operations that compute its results from what is
    kept and its arguments; beyond, values are taken one by one, that which saves the most
    operations for each byte first.

    Args:
        jaxpr: whose results are needed again; without calls of jitted functions.
        size: how many bytes may be kept.
    """
    problem = _Problem(jaxpr)
    if not problem.values:
        return []
    if sum(problem.sizes[i] for i in problem.targets) <= size:
        chosen: Sequence[int] = problem.targets
    elif len(problem.values) <= EXACT:
        chosen = _exact(problem, size)
    else:
        chosen = _greedy(problem, size)
    return [problem.values[i] for i in chosen]


def _exact(problem: _Problem, size: int) -> Sequence[int]:
    """Solve it: with s_v = 1 where v is kept and r_e = 1 where e is computed again, minimize
    sum_e cost_e r_e subject to sum_v bytes_v s_v <= size, s_v + r_maker(v) >= 1 for what is needed,
    and r_e <= s_v + r_maker(v) for each v that e takes.
    """
    from scipy import optimize, sparse  # takes 0.3 s to import

    count, equations = len(problem.values), len(problem.eqns)
    rows: list[dict[int, float]] = []
    lower: list[float] = []
    for v in problem.targets:
        rows.append({v: 1.0, count + problem.maker[v]: 1.0})
        lower.append(1.0)
    for e, reads in enumerate(problem.reads):
        for v in reads:
            rows.append({v: 1.0, count + problem.maker[v]: 1.0, count + e: -1.0})
            lower.append(0.0)
    sizes = np.asarray(problem.sizes, float)
    costs = np.asarray(problem.costs, float)
    matrix = sparse.lil_matrix((len(rows) + 1, count + equations))
    for i, row in enumerate(rows):
        for j, value in row.items():
            matrix[i, j] = value
    scale = max(sizes.max(), 1.0)
    matrix[len(rows), :count] = sizes / scale
    least: Any = np.array([*lower, -np.inf])
    most: Any = np.array([np.inf] * len(rows) + [size / scale])
    # A tiny price of bytes: of equally good choices the smallest.
    price = 1e-6 * sizes / max(sizes.sum(), 1.0)
    found = optimize.milp(
        np.concatenate([price, (costs + 1e-3) / max(costs.sum(), 1.0)]),
        integrality=np.array([1] * count + [0] * equations),
        bounds=optimize.Bounds(0, 1),
        constraints=optimize.LinearConstraint(matrix.tocsr(), least, most),
        options={"time_limit": SECONDS, "mip_rel_gap": 0.0},
    )
    if found.x is None:  # the time was too short for any
        return _greedy(problem, size)
    return [i for i in range(count) if found.x[i] > 0.5]


def _greedy(problem: _Problem, size: int) -> Sequence[int]:
    """Keep what saves the most operations for each byte, again and again."""
    users: list[list[int]] = [[] for _ in problem.values]
    for e, reads in enumerate(problem.reads):
        for v in reads:
            users[v].append(e)
    targets, kept = set(problem.targets), set[int]()
    computed = [True] * len(problem.eqns)
    results: list[list[int]] = [[] for _ in problem.eqns]
    for v, e in enumerate(problem.maker):
        results[e].append(v)

    def needed(v: int, without: Callable[[int], bool]) -> bool:
        return v in targets or any(computed[e] and not without(e) for e in users[v])

    def saved_by(v: int) -> list[int]:
        """Return the equations that need not be computed again once v is kept."""
        gone: set[int] = set()
        waiting = [problem.maker[v]]
        while waiting:
            e = waiting.pop()
            if e in gone or not computed[e]:
                continue
            others = [u for u in results[e] if u != v and u not in kept]
            if any(needed(u, gone.__contains__) for u in others):
                continue
            gone.add(e)
            waiting += [problem.maker[u] for u in problem.reads[e] if u not in kept]
        return sorted(gone)

    def gain(v: int) -> float:
        saved = sum(problem.costs[e] for e in saved_by(v))
        return saved / max(problem.sizes[v], 1)

    queue = [(-gain(v), v) for v in range(len(problem.values)) if problem.sizes[v] <= size]
    heapq.heapify(queue)
    while queue:
        before, v = heapq.heappop(queue)
        if problem.sizes[v] > size or not computed[problem.maker[v]]:
            continue
        now = -gain(v)
        if now >= 0:
            continue
        if queue and now > queue[0][0] and now > before:  # it is worth less by now: look later
            heapq.heappush(queue, (now, v))
            continue
        for e in saved_by(v):
            computed[e] = False
        kept.add(v)
        size -= problem.sizes[v]
    return sorted(kept)
