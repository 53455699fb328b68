"""Each sampler as it is used, and the orders that it draws.

``python -m tests.scenarios.strategies.orders`` prints them, for another process.
"""

from __future__ import annotations

import trio

from rcu.schedule.pool import TaskPool, open_pool
from scenarios.strategies.by_name import SAMPLERS, Options
from scenarios.strategies.lengths import Lengths
from scenarios.strategies.sampler import Sampler
from tests.scenarios.strategies.delete_protocol import DeleteProtocol
from tests.scenarios.strategies.small_programs import Order

CASES: dict[str, tuple[str, Options]] = {
    "random": ("random", Options()),
    "sticky": ("random", Options(sticky=0.7)),
    "pct": ("pct", Options()),
    "pct 5": ("pct", Options(depth=5)),
    "pos": ("pos", Options()),
    "urw": ("urw", Options()),
}


def sampler(case: str, seed: int = 0) -> Sampler:
    name, options = CASES[case]
    return SAMPLERS[name](seed, options)


async def orders_of(
    pool: TaskPool, strategy: Sampler, lengths: Lengths, seeds: range
) -> dict[int, Order]:
    """The order of each seed, in runs one after the other."""
    strategy.learn(lengths)
    protocol = DeleteProtocol(strategy)
    protocol.scheduler.keep_record()
    made = {}
    for seed in seeds:
        await protocol.run(pool, seed)
        made[seed] = protocol.scheduler.order()
    return made


async def told_of_every_case() -> str:
    """Lengths and orders as text."""
    async with open_pool() as pool:
        lengths = await DeleteProtocol.measure(pool)
        told = [f"{lengths}\n"]
        for case in CASES:
            made = await orders_of(pool, sampler(case), lengths, range(20))
            told.append(f"{case}: {made}\n")
    return "".join(told)


if __name__ == "__main__":
    print(trio.run(told_of_every_case), end="")  # noqa: T201 - it is asked for
