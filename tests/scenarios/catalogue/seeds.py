"""Runs scenarios of the catalogue with many seeds, and says what that has shown.

``python -m tests.scenarios.catalogue.seeds 200`` runs all of them with 200 seeds each;
names behind the number choose some. The exit code is 1 unless every run holds.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from time import perf_counter

import attrs
import trio

from rcu.schedule.pool import open_pool
from scenarios.catalogue.entries import entries
from scenarios.checkers.judge import Verdict
from scenarios.plan import Plan
from scenarios.planner import plan_for
from scenarios.runner import run_in_trio


@attrs.frozen
class Shown:
    """What many runs of one scenario have shown.

    Attributes:
        steps: Steps of each run.
        seconds: Of all runs together.
        others: Seeds of the runs that did not hold, with the reason.
        least: How often each checker was exercised in the run that did so least.
    """

    steps: tuple[int, ...]
    seconds: float
    others: tuple[tuple[int, str], ...]
    least: dict[str, int]


def run_seeds(plan: Plan, seeds: Iterable[int]) -> Shown:
    """Run a plan once with each seed."""

    async def body() -> Shown:
        began = perf_counter()
        steps: list[int] = []
        others: list[tuple[int, str]] = []
        least: dict[str, int] = {}
        async with open_pool() as pool:
            for seed in seeds:
                result = await run_in_trio(attrs.evolve(plan, seed=seed), pool)
                judgement = result.judgement
                steps.append(result.report.steps)
                for id_, each in judgement.checkers.items():
                    least[id_] = min(least.get(id_, each.exercised), each.exercised)
                if judgement.verdict is not Verdict.HOLDS:
                    why = [*judgement.reasons, *(v.seen for v in judgement.violations)]
                    others.append((seed, "; ".join(why)))
        return Shown(tuple(steps), perf_counter() - began, tuple(others), least)

    return trio.run(body)


def main(arguments: list[str]) -> int:
    """Print one line for each scenario, and what did not hold."""
    count = int(arguments[0])
    worst = 0
    for name in arguments[1:] or entries():
        plan = plan_for(name)
        shown = run_seeds(plan, range(count))
        verdict = "holds" if not shown.others else f"{len(shown.others)} DO NOT HOLD"
        must = {id_: shown.least[id_] for id_ in plan.scenario.must_exercise}
        least = ", ".join(f"{id_} {number}" for id_, number in must.items())
        print(  # noqa: T201 - a command
            f"{name:<28} {min(shown.steps):>6}..{max(shown.steps):<6}"
            f" {shown.seconds / count:6.3f} s  {verdict}  {least}",
            flush=True,
        )
        for seed, why in shown.others[:3]:
            print(f"    seed {seed}: {why}")  # noqa: T201 - a command
        worst |= bool(shown.others)
    return worst


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
