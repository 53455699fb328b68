"""Units of an exploration: plain data in, plain data out, wherever they are done.

A unit can be stopped by the clock and gone on with elsewhere: its state says all, and
what it finds does not depend on where it was stopped.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import trio

from rcu.schedule.pool import TaskPool, open_pool
from scenarios.explorer.dpor import TraceSearch
from scenarios.explorer.program import Finding, Instance, Program
from scenarios.explorer.sampling import SampleSearch
from scenarios.explorer.shortest import BoundedSearch
from scenarios.explorer.state_parts import Plain, StatePart
from scenarios.strategies.by_name import SAMPLERS, Options
from scenarios.strategies.lengths import Lengths

STRIDE = 2_000
"""Steps between two looks at the clock."""

Tell = Callable[[Plain], None]
"""Is told now and then what a unit counts."""


class Unit(ABC):
    """A part of an exploration that is done in one place.

    Args:
        program: What is explored.
        shared: What all units of the exploration are given; see the subclasses.
        unit: What this one is to do, and ``state``, where it stands if it has begun.
    """

    def __init__(self, program: Program, shared: Any, unit: Plain) -> None:
        self.program = program
        self.shared = shared
        self.unit = unit

    @abstractmethod
    async def begin(self, pool: TaskPool) -> None:
        """Stand where it begins, or where it was stopped."""

    @abstractmethod
    def advance(self, budget: int) -> bool:
        """Go on for about ``budget`` steps; false if it is done."""

    @abstractmethod
    def counts(self) -> Plain:
        """How far it is: ``executions``, ``steps`` and what else is counted."""

    @abstractmethod
    def state(self) -> Plain:
        """Where it stands."""

    def close(self) -> None:  # noqa: B027 - not all have to
        """Unwind what runs."""


class _InstanceUnit(Unit):
    """A unit that searches an instance."""

    async def begin(self, pool: TaskPool) -> None:
        """See `Unit.begin`."""
        self.instance = Instance(self.program)
        self.instance.scheduler.borrowed(await pool.lend(self.instance.scheduler))
        try:
            self._begin(self.unit.get("state"))
        except BaseException:
            self.close()
            raise

    @abstractmethod
    def _begin(self, state: Plain | None) -> None: ...

    def close(self) -> None:
        """See `Unit.close`."""
        self.instance.close()


class StateUnit(_InstanceUnit):
    """A `StatePart`; shared is what was `Known`, and the unit has a plan and items."""

    def _begin(self, state: Plain | None) -> None:
        self.search = StatePart(self.instance, self.shared, self.unit["plan"])
        if state is None:
            self.search.begin_at(self.unit["items"])
        else:
            self.search.restore(state)

    def advance(self, budget: int) -> bool:
        """See `Unit.advance`."""
        return self.search.advance(budget)

    def counts(self) -> Plain:
        """See `Unit.counts`."""
        search = self.search
        states = len(search.states) - len(self.shared.states)
        return {
            "executions": search.executions,
            "steps": search.steps,
            "states": states,
        }

    def state(self) -> Plain:
        """See `Unit.state`."""
        return self.search.state() | {"left": self.search.left()}


class TraceUnit(_InstanceUnit):
    """A `TraceSearch`; the unit says after how many steps or findings it stops."""

    def _begin(self, state: Plain | None) -> None:
        self.search = TraceSearch(self.instance)
        self.known = 0
        if state is None:
            self.search.begin()
        else:
            self.search.restore(state)

    def advance(self, budget: int) -> bool:
        """See `Unit.advance`."""
        search, unit = self.search, self.unit
        end = search.steps + budget
        more = True
        while more and search.steps < end:
            if _is_enough(unit["most_steps"], search.steps) or _is_enough(
                unit["most_found"], len(search.found)
            ):
                return False
            more = search.advance(1)
            self._drop_known()
        return more

    def _drop_known(self) -> None:
        """Keep each finding once."""
        found = self.search.found
        for number in range(len(found) - 1, self.known - 1, -1):
            if any(found[number][0] == known for known, _ in found[:number]):
                del found[number]
        self.known = len(found)

    def counts(self) -> Plain:
        """See `Unit.counts`."""
        return {"executions": self.search.executions, "steps": self.search.steps}

    def state(self) -> Plain:
        """See `Unit.state`."""
        return self.search.state()


class BoundedUnit(_InstanceUnit):
    """A `BoundedSearch`; the unit says what it looks for, and how far."""

    def _begin(self, state: Plain | None) -> None:
        unit = self.unit
        self.search = BoundedSearch(
            self.instance,
            switches=unit["switches"],
            limit=unit["limit"],
            wanted=None if unit["wanted"] is None else Finding(*unit["wanted"]),
        )
        if state is None:
            self.search.begin()
        else:
            self.search.restore(state)

    def advance(self, budget: int) -> bool:
        """See `Unit.advance`."""
        search = self.search
        if _is_enough(self.unit["most_steps"], search.steps):
            return False
        most = self.unit["most_steps"]
        left = budget if most is None else min(budget, most - search.steps)
        return search.advance(left)

    def counts(self) -> Plain:
        """See `Unit.counts`."""
        search = self.search
        return {
            "executions": search.executions,
            "steps": search.steps,
            "states": search.states,
            "level": search.level,
        }

    def state(self) -> Plain:
        """See `Unit.state`."""
        return self.search.state()


class SampleUnit(Unit):
    """A `SampleSearch` of the seeds from ``first`` to before ``last``.

    Shared is the strategy, its options and the lengths that it has learnt.
    """

    async def begin(self, pool: TaskPool) -> None:
        """See `Unit.begin`."""
        unit, shared = self.unit, self.shared
        self.done: Plain = unit.get("state") or {
            "next": unit["first"],
            "counts": (0, 0, 0),
            "found": [],
            "orders": (),
        }
        self.found = [
            (Finding(*finding), tuple(order), seed)
            for finding, order, seed in self.done["found"]
        ]
        sampler = SAMPLERS[shared["strategy"]](
            unit["first"], Options(**shared["options"])
        )
        if shared["lengths"] is not None:
            sampler.learn(Lengths(**shared["lengths"]))
        self.seed = self.done["next"]
        self.collected = 0
        self.search = SampleSearch(self.program, pool, sampler, self._seeds())
        await self.search.begin()

    def _seeds(self) -> Iterator[int]:
        """The seeds that are left, until enough is found."""
        search, unit = self.search, self.unit
        most_found, most_steps = unit["most_found"], unit["most_steps"]
        for seed in range(self.seed, unit["last"]):
            if len(search.found) > self.collected:
                self._collect()
            if _is_enough(most_found, len(self.found)):
                return
            if most_steps is not None and self.counts()["steps"] >= most_steps:
                return
            self.seed = seed + 1
            yield seed

    def _collect(self) -> None:
        """Keep what the last run has shown, if it is new, with its seed."""
        for finding, order in self.search.found[self.collected :]:
            self.collected += 1
            if all(finding != known for known, _, _ in self.found):
                self.found.append((finding, order, self.seed - 1))

    def advance(self, budget: int) -> bool:
        """See `Unit.advance`."""
        return self.search.advance(budget)

    def counts(self) -> Plain:
        """See `Unit.counts`."""
        executions, steps, stopped = self.done["counts"]
        return {
            "executions": executions + self.search.executions,
            "steps": steps + self.search.steps,
            "stopped": stopped + self.search.stopped,
        }

    def state(self) -> Plain:
        """See `Unit.state`."""
        self._collect()
        return {
            "next": self.seed,
            "counts": tuple(self.counts().values()),
            "found": [(attrs.astuple(one), *rest) for one, *rest in self.found],
            "orders": [*self.search.orders.union(self.done["orders"])],
        }


KINDS: dict[str, type[Unit]] = {
    "states": StateUnit,
    "traces": TraceUnit,
    "bounded": BoundedUnit,
    "sample": SampleUnit,
}


def _is_enough(most: int | None, count: int) -> bool:
    return most is not None and count >= most


@attrs.define
class Slice:
    """What to do of a unit.

    Attributes:
        kind: See `KINDS`.
        shared, unit: See `Unit`.
        seconds: After which to stop, by the clock; never if None.
        stride: Steps between two looks at the clock.
    """

    kind: str
    shared: Any
    unit: Plain
    seconds: float | None = None
    stride: int = STRIDE


@attrs.frozen
class Done:
    """What came of a slice.

    Attributes:
        state: Where the unit stands.
        counts: How far it is; see `Unit.counts`.
        more: Whether there is more to do.
        interrupted: Whether Ctrl-C has ended it.
    """

    state: Plain
    counts: Plain
    more: bool
    interrupted: bool = False


def do(program: Program, slice_: Slice, tell: Tell | None = None) -> Done:
    """Go on with a unit.

    Args:
        program: What is explored.
        slice_: What to do of it.
        tell: See `Tell`.

    Raises:
        CannotTellError, UndeclaredError, EndlessRunError: See the searches.
        BaseException: A body raised what is no finding, or ``tell`` did.
    """
    done: list[Done] = []
    try:
        trio.run(
            _do,
            program,
            slice_,
            tell,
            done.append,
            restrict_keyboard_interrupt_to_checkpoints=True,
        )
    except (BaseExceptionGroup, KeyboardInterrupt) as error:
        if not _is_interrupt(error):
            raise
        if not done:
            raise KeyboardInterrupt from None
        return attrs.evolve(done[0], interrupted=True)  # while it was cleaned up
    return done[0]


def _is_interrupt(error: BaseException) -> bool:
    """Whether Ctrl-C was pressed, and nothing else went wrong."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_interrupt, error.exceptions))
    return isinstance(error, KeyboardInterrupt)


async def _do(
    program: Program, slice_: Slice, tell: Tell | None, keep: Callable[[Done], None]
) -> None:
    seconds = slice_.seconds
    end = None if seconds is None else time.monotonic() + seconds
    async with open_pool() as pool:
        unit = KINDS[slice_.kind](program, slice_.shared, slice_.unit)
        await unit.begin(pool)
        try:
            more, interrupted = unit.advance(slice_.stride), False
            while more and (end is None or time.monotonic() < end):
                if tell is not None:
                    tell(unit.counts())
                try:
                    await trio.lowlevel.checkpoint()
                except KeyboardInterrupt:
                    interrupted = True
                    break
                more = unit.advance(slice_.stride)
            keep(Done(unit.state(), unit.counts(), more, interrupted))
        finally:
            unit.close()
