"""How often each sampler shows what is broken, beside two who have nothing in common.

One is a simulation that is run here, `benchmarks.delete_simulation`; the other are the
rates of an earlier survey, each taken to come from 40,000 runs. Two rates agree if
their difference is one that chance makes in 99.9 % of such pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import trio

from benchmarks import delete_simulation as simulation
from benchmarks.harness import show
from rcu.schedule.pool import TaskPool, open_pool
from scenarios.explorer.measure import measure
from scenarios.explorer.sampling import SampleSearch
from scenarios.strategies.by_name import SAMPLERS, Options
from scenarios.strategies.lengths import Lengths
from scenarios.strategies.sampler import Sampler
from tests.scenarios.explorer import chances
from tests.scenarios.explorer.broken_deletes import BROKEN, BrokenDelete
from tests.scenarios.explorer.searching import search

READERS = 2
THEIR_RUNS = 40_000
SIMULATED = 40_000
Z = 3.29
"""Standard deviations that hold 99.9 %."""

THEIRS: dict[str, tuple[float, float, float, float]] = {
    "random": (0.2545, 0.0300, 0.0257, 0.0090),
    "pct 2": (0.081, 0, 0, 0),
    "pct 3": (0.132, 0.041, 0.036, 0),
    "pct 4": (0.164, 0.041, 0.044, 0.0033),
    "pct 5": (0.188, 0.059, 0.066, 0.0067),
    "pos": (0.168, 0.055, 0.076, 0.0176),
    "urw": (0.180, 0.037, 0.066, 0.0152),
}
"""NO_SYNC1, NO_SYNC2, FREE_EARLY, ONE_FLIP."""


def sampler(told: str) -> Sampler:
    name, _, depth = told.partition(" ")
    return SAMPLERS[name](0, Options(depth=int(depth or 3)))


async def hits(
    pool: TaskPool, told: str, broken: str, lengths: Lengths, runs: int
) -> int:
    """In how many of so many runs the broken protocol shows it."""
    program, strategy = BrokenDelete(BROKEN[broken], READERS), sampler(told)
    strategy.learn(lengths)
    sampled = SampleSearch(program, pool, strategy, range(runs))
    await sampled.begin()
    while sampled.advance(1_000_000):
        sampled.orders.clear()
    return sampled.failures


def simulated(told: str, broken: str, lengths: Lengths, runs: int) -> int:
    """The same of the simulation."""
    name, _, depth = told.partition(" ")
    samplers: dict[str, simulation.Sampler] = {
        "random": simulation.walk,
        "pos": simulation.pos,
        "urw": simulation.urw(lengths.steps),
        "pct": simulation.pct(int(depth or 3), lengths.choices),
    }
    return simulation.hits(broken, READERS, samplers[name], runs)


def band(count: int, runs: int) -> tuple[float, float]:
    """Where the probability is, at 99.9 % (Wilson)."""
    rate, square = count / runs, Z * Z / runs
    middle = (rate + square / 2) / (1 + square)
    half = Z * sqrt(rate * (1 - rate) / runs + square / runs / 4) / (1 + square)
    return max(0.0, middle - half), middle + half


def agreement(count: int, runs: int, theirs: float, their_runs: int) -> str:
    """Whether chance alone makes such a difference."""
    both = (count + theirs * their_runs) / (runs + their_runs)
    deviation = sqrt(both * (1 - both) * (1 / runs + 1 / their_runs))
    difference = count / runs - theirs
    if abs(difference) <= Z * deviation:
        return "agrees"
    return "higher" if difference > 0 else "lower"


def show_exact() -> None:
    """What the random walk should come to, whoever makes it."""
    for broken, kind in BROKEN.items():
        states = trio.run(search, BrokenDelete(kind, READERS))
        chance = chances.of_a_random_walk(states.graph)
        show(f"random, {broken}, from the states", f"{chance:.4f}")


def main(runs: int) -> None:
    """Every sampler on every broken protocol."""

    async def each(tell: Callable[[str, str, int, int, float], None]) -> None:
        async with open_pool() as pool:
            for told, rates in THEIRS.items():
                for broken, theirs in zip(BROKEN, rates, strict=True):
                    program = BrokenDelete(BROKEN[broken], READERS)
                    lengths = await measure(program, pool)
                    count = await hits(pool, told, broken, lengths, runs)
                    again = simulated(told, broken, lengths, SIMULATED)
                    tell(told, broken, count, again, theirs)

    def tell(told: str, broken: str, count: int, again: int, theirs: float) -> None:
        low, high = band(count, runs)
        rate = again / SIMULATED
        show(
            f"{told}, {broken}",
            f"{count / runs:.4f}",
            f"[{low:.4f} .. {high:.4f}]",
            f"simulation {rate:.4f} {agreement(count, runs, rate, SIMULATED)}",
            f"survey {theirs:.4f} {agreement(count, runs, theirs, THEIR_RUNS)}",
        )

    print(f"Share of {runs:,} runs with {READERS} readers, band of 99.9 %")
    show_exact()
    trio.run(each, tell)
