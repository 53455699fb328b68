"""How each strategy is cut into units, and what their results come to.

A work hands out its units in an order that depends on nothing but the question and on
what earlier units have found, and takes their results in that order. So the answer is
the same whoever does the units, and when.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import attrs

from scenarios.explorer.exploration import Question
from scenarios.explorer.program import Finding
from scenarios.explorer.state_parts import Plain
from scenarios.explorer.state_rounds import StateLimits, StateRounds

Order = tuple[int, ...]

COUNTED = 1_000_000
"""Different orders that are counted; beyond, memory would be short."""


@attrs.frozen(kw_only=True)
class Sizes:
    """Where the work is cut. The counts depend on it, so a checkpoint keeps it.

    Attributes:
        seeds: Of a unit of a sampler.
        first, part, width: See `StateLimits`.
        stride: Steps after which a unit can be stopped.
    """

    seeds: int = 2_500
    first: int = 60_000
    part: int = 20_000
    width: int = 8
    stride: int = 2_000


class Work(ABC):
    """The units of a search.

    Attributes:
        kind: Of its units; see `scenarios.explorer.units`.
        shared: What all units that are out are given.
        round: Changes when ``shared`` does.
        executions, steps: Made in the units that were merged.
        found: What they have shown, with the order and the seed that showed it first.
    """

    kind: ClassVar[str]

    def __init__(self) -> None:
        self.shared: Any = None
        self.round = 0
        self.executions = 0
        self.steps = 0
        self.found: dict[Finding, tuple[Order, int | None]] = {}

    @property
    @abstractmethod
    def is_over(self) -> bool:
        """Whether no unit that is out is needed any more."""

    @abstractmethod
    def next(self) -> Plain | None:
        """The next unit; None if there is none before others are merged."""

    @abstractmethod
    def merge(self, unit: Plain) -> Plain | None:
        """Take the result of the unit that was handed out first.

        Returns:
            A unit to be done in its place.
        """

    def give_up(self, units: list[Plain]) -> None:
        """Take what the units that are out have found so far."""
        for unit in units:
            if "state" in unit:
                self.merge(unit)

    @abstractmethod
    def state(self) -> Plain:
        """Where it is, as plain values."""

    @abstractmethod
    def restore(self, state: Plain) -> None:
        """Stand where another one was."""

    def counts(self) -> Plain:
        """What was counted in the units that were merged."""
        return {"executions": self.executions, "steps": self.steps}

    def _tell_found(self) -> list[Any]:
        return [(attrs.astuple(one), *rest) for one, rest in self.found.items()]

    def _restore_found(self, told: list[Any]) -> None:
        self.found = {Finding(*one): (tuple(order), seed) for one, order, seed in told}


class Samples(Work):
    """Seeds, so many in a unit.

    Args:
        question: What is asked.
        lengths: What the strategy has learnt; None if it learns nothing.
        sizes: How it is cut.

    Attributes:
        stopped: How many runs were stopped because the program's budget was used up.
        orders: The orders made, each in a few bytes; None if they are too many.
        seeds_done: Before which seed all orders were made.
    """

    kind = "sample"

    def __init__(self, question: Question, lengths: Any, sizes: Sizes) -> None:
        super().__init__()
        self.shared = {
            "strategy": question.strategy,
            "options": {"sticky": question.sticky, "depth": question.depth},
            "lengths": lengths,
        }
        self.stopped = 0
        self.orders: set[bytes] | None = set()
        self.seeds_done = question.seeds.start
        self._question = question
        self._handed_out = question.seeds.start
        self._size = sizes.seeds
        self._is_cut = False

    @property
    def is_over(self) -> bool:
        """See `Work.is_over`."""
        return self._is_cut or self.seeds_done >= self._question.seeds.stop

    def next(self) -> Plain | None:
        """See `Work.next`."""
        first = self._handed_out
        last = min(first + self._size, self._question.seeds.stop)
        if first >= last:
            return None
        self._handed_out = last
        return {
            "first": first,
            "last": last,
            "most_found": self._question.max_fail or None,
            "most_steps": None,
            "is_cut": False,
        }

    def merge(self, unit: Plain) -> Plain | None:
        """See `Work.merge`."""
        state = unit["state"]
        if not unit["is_cut"]:
            last, most_steps = self._cut(state)
            if last < state["next"] or most_steps is not None:
                return {
                    "first": unit["first"],
                    "last": last,
                    "most_found": None,
                    "most_steps": most_steps,
                    "is_cut": True,
                }
        executions, steps, stopped = state["counts"]
        self.executions += executions
        self.steps += steps
        self.stopped += stopped
        for one, order, seed in state["found"]:
            self.found.setdefault(Finding(*one), (tuple(order), seed))
        if self.orders is not None:
            self.orders.update(state["orders"])
            if len(self.orders) > COUNTED:
                self.orders = None
        self.seeds_done = state["next"]
        question = self._question
        self._is_cut = bool(
            (question.max_fail and len(self.found) >= question.max_fail)
            or (question.max_steps is not None and self.steps >= question.max_steps)
        )
        return None

    def _cut(self, state: Plain) -> tuple[int, int | None]:
        """Before which seed enough is found, and how many steps are left if too few."""
        question, last, left = self._question, state["next"], None
        if question.max_fail:
            wanted = question.max_fail - len(self.found)
            new = [s for one, _, s in state["found"] if Finding(*one) not in self.found]
            if len(new) >= wanted:
                last = new[wanted - 1] + 1
        if question.max_steps is not None:
            most_steps = question.max_steps - self.steps
            left = most_steps if state["counts"][1] >= most_steps else None
        return last, left

    def give_up(self, units: list[Plain]) -> None:
        """See `Work.give_up`."""
        for unit in units:
            if "state" not in unit or unit["state"]["next"] == unit["first"]:
                return
            self.merge(unit | {"is_cut": True})
            if self.is_over or unit["state"]["next"] < unit["last"]:
                return

    def counts(self) -> Plain:
        """See `Work.counts`."""
        seeds = self._question.seeds
        done = self.seeds_done - seeds.start
        return super().counts() | {
            "orders": None if self.orders is None else len(self.orders),
            "share": done / len(seeds) if seeds else None,
        }

    def state(self) -> Plain:
        """See `Work.state`."""
        return {
            "counts": (self.executions, self.steps, self.stopped),
            "found": self._tell_found(),
            "orders": None if self.orders is None else [*self.orders],
            "next": self.seeds_done,
            "handed_out": self._handed_out,
            "is_cut": self._is_cut,
        }

    def restore(self, state: Plain) -> None:
        """See `Work.restore`."""
        self.executions, self.steps, self.stopped = state["counts"]
        self._restore_found(state["found"])
        self.orders = None if state["orders"] is None else set(state["orders"])
        self.seeds_done = state["next"]
        self._handed_out = state["handed_out"]
        self._is_cut = state["is_cut"]


class States(Work):
    """Rounds of parts; see `StateRounds`."""

    kind = "states"

    def __init__(self, question: Question, sizes: Sizes) -> None:
        super().__init__()
        self.rounds = StateRounds(
            StateLimits(
                most_found=question.max_fail or None,
                most_steps=question.max_steps,
                first=sizes.first,
                part=sizes.part,
                width=sizes.width,
            )
        )
        self._todo: list[Plain] = []
        self._done: list[Plain] = []
        self._size = 0
        self._cut()

    def _cut(self) -> None:
        self.shared = self.rounds.known
        self.round += 1
        self._todo = []
        if not self.rounds.is_over:
            self._todo = [
                {"plan": plan, "items": items} for plan, items in self.rounds.cut()
            ]
        self._size = len(self._todo)
        self._done = []
        self.executions, self.steps = self.rounds.executions, self.rounds.steps
        self.found = {one: (order, None) for one, order in self.rounds.found.items()}

    @property
    def is_over(self) -> bool:
        """See `Work.is_over`."""
        return self.rounds.is_over

    def next(self) -> Plain | None:
        """See `Work.next`."""
        return self._todo.pop(0) if self._todo else None

    def merge(self, unit: Plain) -> Plain | None:
        """See `Work.merge`."""
        self._done.append(unit)
        if len(self._done) == self._size:
            self._merge()
        return None

    def _merge(self) -> None:
        states = [unit["state"] for unit in self._done]
        self.rounds.merge([(state, state["left"]) for state in states])
        self._cut()

    def give_up(self, units: list[Plain]) -> None:
        """See `Work.give_up`."""
        self._done += [unit for unit in units if "state" in unit]
        if self._done:
            self._merge()

    def counts(self) -> Plain:
        """See `Work.counts`."""
        return super().counts() | {"states": len(self.rounds.known.states)}

    def state(self) -> Plain:
        """See `Work.state`."""
        return {
            "rounds": self.rounds.state(),
            "done": self._done,
            "left": len(self._todo),
        }

    def restore(self, state: Plain) -> None:
        """See `Work.restore`."""
        self.rounds.restore(state["rounds"])
        self._cut()
        self._done = state["done"]
        self._todo = self._todo[len(self._todo) - state["left"] :]


class _OneUnit(Work):
    """One unit that is not cut."""

    def __init__(self, unit: Plain) -> None:
        super().__init__()
        self.unit = unit
        self.result: Plain | None = None
        self._is_out = False

    @property
    def is_over(self) -> bool:
        """See `Work.is_over`."""
        return self.result is not None

    def next(self) -> Plain | None:
        """See `Work.next`."""
        if self._is_out:
            return None
        self._is_out = True
        return {**self.unit}

    def merge(self, unit: Plain) -> Plain | None:
        """See `Work.merge`."""
        self.result = unit["state"]
        self._read(unit["state"])
        return None

    @abstractmethod
    def _read(self, state: Plain) -> None: ...

    def state(self) -> Plain:
        """See `Work.state`."""
        return {"is_out": self._is_out, "result": self.result}

    def restore(self, state: Plain) -> None:
        """See `Work.restore`."""
        self._is_out, self.result = state["is_out"], state["result"]
        if self.result is not None:
            self._read(self.result)


class Traces(_OneUnit):
    """One run of each trace.

    Attributes:
        redundant: Runs that were in vain.
        exhausted: Whether each trace was run.
    """

    kind = "traces"

    def __init__(self, question: Question) -> None:
        super().__init__(
            {"most_steps": question.max_steps, "most_found": question.max_fail or None}
        )
        self.redundant = 0
        self.exhausted = False

    def _read(self, state: Plain) -> None:
        self.executions, self.redundant, _, self.steps = state["counts"]
        self.exhausted = not state["nodes"]
        self.found = {
            Finding(*one): (tuple(order), None) for one, order in state["found"]
        }


class Bounded(_OneUnit):
    """All orders with few preemptions or switches.

    Args:
        switches, limit, wanted: See `BoundedSearch`.
        most_steps: After which it stops; never if None.

    Attributes:
        level: See `BoundedSearch`.
        done: Whether what was found is the shortest of all.
        exhausted: Whether there is no order that was not tried.
    """

    kind = "bounded"

    def __init__(
        self,
        *,
        switches: bool = False,
        limit: int | None = None,
        wanted: Finding | None = None,
        most_steps: int | None = None,
    ) -> None:
        super().__init__(
            {
                "switches": switches,
                "limit": limit,
                "wanted": None if wanted is None else attrs.astuple(wanted),
                "most_steps": most_steps,
            }
        )
        self.level = 0
        self.done = self.exhausted = False

    def _read(self, state: Plain) -> None:
        self.level, self.executions, self.steps = state["counts"]
        self.done, self.exhausted = state["ended"]
        self.found = {}
        if state["found"] is not None:
            one, order, _ = state["found"]
            self.found = {Finding(*one): (tuple(order), None)}
