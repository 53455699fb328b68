"""The strategy that a name on the command line means."""

from __future__ import annotations

from collections.abc import Callable

from rcu.schedule.task import Strategy
from scenarios.strategies.random_walk import RandomWalk
from scenarios.strategies.round_robin import RoundRobin

STRATEGIES: dict[str, Callable[[int], Strategy]] = {
    RandomWalk.name: RandomWalk,
    RoundRobin.name: lambda _seed: RoundRobin(),
}
"""Makes a strategy from a seed, by name; `replay` needs a schedule instead."""
