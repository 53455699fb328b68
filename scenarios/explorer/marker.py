"""What the marker ``explore`` may say, and the command line instead of it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from scenarios.strategies.by_name import SAMPLERS

EXHAUSTIVE, BOUNDED = "exhaustive", "bounded"


class OptionsError(Exception):
    """A marker asks for what there is not."""


@attrs.frozen(kw_only=True)
class Options:
    """What the marker ``explore`` says.

    Attributes:
        strategy: ``exhaustive``, ``bounded``, or the name of a sampler.
        preemptions: `bounded`: how often at most a task is interrupted that could go
            on.
        schedules: Samplers: how many orders are drawn.
        seed: Samplers: of the first of them.
        limit: `exhaustive`, `bounded`: states, or orders where states cannot be told.
        cpus: Processors of the program.
        budget: Steps after which a run is stopped.
    """

    strategy: str = EXHAUSTIVE
    preemptions: int = 2
    schedules: int = 1_000
    seed: int = 0
    limit: int = 200_000
    cpus: int = 1
    budget: int = 10_000

    @classmethod
    def of(
        cls, told: Mapping[str, Any], overrides: Mapping[str, int | None]
    ) -> Options:
        """Read what a marker says.

        Args:
            told: Its arguments.
            overrides: What the command line says instead, for a sampler.

        Raises:
            OptionsError: There is no such option or value, or the strategy has no use
                for it.
        """
        told = dict(told)
        strategy = told.pop("strategy", EXHAUSTIVE)
        _check_name("strategy", strategy, [EXHAUSTIVE, BOUNDED, *SAMPLERS])
        own = _OPTIONS_OF.get(strategy, _OPTIONS_OF_SAMPLERS)
        for name, value in told.items():
            _check_name("option", name, sorted({"strategy", *_LEAST}))
            if name not in own:
                raise OptionsError(
                    f"strategy {strategy!r} has no use for {name}={value!r}; it takes"
                    f" {', '.join(own)}"
                )
            if type(value) is not int or value < _LEAST[name]:
                raise OptionsError(
                    f"{name} must be a number of at least {_LEAST[name]}, got {value!r}"
                )
        if strategy in SAMPLERS:
            told |= {name: n for name, n in overrides.items() if n is not None}
        return cls(strategy=strategy, **told)


_LEAST = {
    "preemptions": 0,
    "schedules": 1,
    "seed": 0,
    "limit": 1,
    "cpus": 1,
    "budget": 1,
}
_OPTIONS_OF = {
    EXHAUSTIVE: ("limit", "cpus", "budget"),
    BOUNDED: ("preemptions", "limit", "cpus", "budget"),
}
_OPTIONS_OF_SAMPLERS = ("schedules", "seed", "cpus", "budget")


def _check_name(what: str, name: object, names: Sequence[str]) -> None:
    if name in names:
        return
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(names)}"
    raise OptionsError(f"there is no {what} {name!r}{hint}")
