"""The strategy that a name on the command line means."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from rcu.schedule.task import Strategy
from scenarios.strategies.pct import Pct
from scenarios.strategies.pos import Pos
from scenarios.strategies.random_walk import RandomWalk
from scenarios.strategies.round_robin import RoundRobin
from scenarios.strategies.sampler import Sampler
from scenarios.strategies.urw import Urw


@attrs.frozen(kw_only=True)
class Options:
    """What a sampler may be told beside its seed; each looks at its own only.

    Attributes:
        sticky: `random`: the probability with which the current task goes on without a
            draw, at least 0 and less than 1.
        depth: `pct`: of the bugs to be found, at least 1.
    """

    sticky: float = 0.0
    depth: int = 3


SAMPLERS: dict[str, Callable[[int, Options], Sampler]] = {
    RandomWalk.name: lambda seed, options: RandomWalk(seed, options.sticky),
    Pct.name: lambda seed, options: Pct(seed, options.depth),
    Pos.name: lambda seed, _options: Pos(seed),
    Urw.name: lambda seed, _options: Urw(seed),
}
"""Makes a strategy that draws orders from a seed and options."""

STRATEGIES: dict[str, Callable[[int], Strategy]] = {
    RandomWalk.name: RandomWalk,
    Pct.name: Pct,
    Pos.name: Pos,
    Urw.name: Urw,
    RoundRobin.name: lambda _seed: RoundRobin(),
}
"""Makes a strategy from a seed, by name; `replay` needs a schedule instead."""
