"""The shortest order that shows a finding: fewest preemptions, then fewest steps.

All orders without a preemption are searched, then all with one, and so on; a state that
was reached as cheaply before, by the same task, is not searched again. A *preemption*
is a switch away from a task that could have gone on. When a level is done, the shortest
order of that level is known to be the shortest of all.

Source: M. Musuvathi, S. Qadeer, Iterative Context Bounding for Systematic Testing of
Multithreaded Programs, PLDI 2007.
"""

from __future__ import annotations

from typing import Any

import attrs

from scenarios.explorer.fingerprint import Fingerprinter
from scenarios.explorer.program import Finding, Instance

AT_ONCE = 2_000
"""Steps of a run that are made in one go: it may have no end."""


@attrs.frozen
class Counterexample:
    """An order that shows a finding.

    Attributes:
        finding: What shows.
        order: Who makes each step, as task indexes.
        preemptions: Switches away from tasks that could have gone on.
    """

    finding: Finding
    order: tuple[int, ...]
    preemptions: int

    @property
    def length(self) -> tuple[int, int]:
        """By what orders are compared: preemptions, then steps."""
        return self.preemptions, len(self.order)


@attrs.frozen(eq=False)
class _Branch:
    """An order to be gone on with.

    Attributes:
        order: Who makes each step.
        parts: Of the state before the last step; empty if not known.
    """

    order: bytes
    parts: list[bytes]


class BoundedSearch:
    """Searches all orders with no preemption, then with one, and so on.

    Args:
        instance: What is searched; lent to a pool.
        symmetric: Whether tasks with the same body may stand for each other.
        switches: Whether a switch counts, too, where a task waits or has ended.
        limit: The most preemptions that are tried; as many as there can be if None.
        wanted: What is to be shown; anything if None.

    Attributes:
        level: Preemptions of the orders that are being searched.
        found: The shortest order so far that shows a finding.
        done: Whether it is the shortest of all, or no order within the limit shows any.
        exhausted: Whether there is no order that was not tried.
        executions: How often a run was begun.
        steps: How many steps were made.
    """

    def __init__(
        self,
        instance: Instance,
        *,
        symmetric: bool = True,
        switches: bool = False,
        limit: int | None = None,
        wanted: Finding | None = None,
    ) -> None:
        self.instance = instance
        self.switches = switches
        self.limit = limit
        self.wanted = wanted
        self.level = 0
        self.found: Counterexample | None = None
        self.done = False
        self.exhausted = False
        self.executions = 0
        self.steps = 0
        self._printer = Fingerprinter(
            instance.scheduler,
            instance.heap,
            symmetric=symmetric and instance.program.interchangeable,
        )
        self._best: dict[bytes, tuple[int, int]]  # cost of each state
        self._branched: dict[bytes, tuple[int, int]]  # and of each branch there
        self._here: list[_Branch]  # at this level
        self._next: list[_Branch]
        self._told = False  # whether the state in which the last run ended was told

    @property
    def states(self) -> int:
        """How many states were met, each by whoever came to it."""
        return len(self._best)

    def begin(self) -> None:
        """Begin with the order that has no step."""
        self._kin = self._printer.given_up
        self.level = 0
        self.found = None
        self._best = {}
        self._branched = {}
        self._here, self._next = [_Branch(b"", [])], []

    def state(self) -> dict[str, Any]:
        """Where the search is, as plain values; between two calls of `advance`."""
        found = self.found
        return {
            "counts": (self.level, self.executions, self.steps),
            "ended": (self.done, self.exhausted),
            "found": None if found is None else attrs.astuple(found),
            "best": self._best,
            "branched": self._branched,
            "here": [branch.order for branch in self._here],
            "next": [branch.order for branch in self._next],
            "kin": self._printer.kin_left(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Stand where another search of the same program was; not begun yet."""
        self.level, self.executions, self.steps = state["counts"]
        self.done, self.exhausted = state["ended"]
        if state["found"] is not None:
            finding, order, preemptions = state["found"]
            self.found = Counterexample(Finding(*finding), tuple(order), preemptions)
        self._best = {key: (cost[0], cost[1]) for key, cost in state["best"].items()}
        self._branched = {
            key: (cost[0], cost[1]) for key, cost in state["branched"].items()
        }
        self._here = [_Branch(order, []) for order in state["here"]]
        self._next = [_Branch(order, []) for order in state["next"]]
        self._printer.keep_kin(state["kin"])
        self._kin = self._printer.given_up

    def advance(self, budget: int) -> bool:
        """Go on for about ``budget`` steps; false if it is done."""
        end = self.steps + budget
        while not self.done:
            if self._here:
                if self.steps >= end:
                    return True
                self._go_on(self._here.pop())
                if self._printer.given_up != self._kin:
                    self.begin()
            elif self.found is not None:
                self.done = True
            elif not self._next:
                self.done = self.exhausted = True
            elif self.limit is not None and self.level >= self.limit:
                self.done = True
            else:
                self.level += 1
                self._here, self._next = self._next[::-1], []
        return False

    def _go_on(self, branch: _Branch) -> None:
        """Follow an order, and go on with whoever made its last step."""
        order, parts = bytearray(branch.order), branch.parts
        if not self._may_be_shorter(len(order)):
            return
        instance, scheduler = self.instance, self.instance.scheduler
        self.executions += 1
        instance.begin(told=self._told)
        self._told = False
        scheduler.follow(order)
        self.steps += len(order)
        resumed = True
        while not self._is_broken(order):
            parts = self._parts(parts, order, resumed=resumed)
            resumed, self._told = False, True
            chosen = self._choose(parts, order)
            if chosen is None:
                return
            if len(order) % AT_ONCE == AT_ONCE - 1:
                self._here.append(_Branch(bytes((*order, chosen)), parts))
                return
            scheduler.step(scheduler.tasks[chosen])
            self._told = False
            self.steps += 1
            order.append(chosen)

    def _is_broken(self, order: bytearray) -> bool:
        """Whether the last step of an order shows something."""
        finding = self.instance.look() if order else None
        if finding is not None:
            self._find(finding, order)
        return finding is not None

    def _parts(
        self, before: list[bytes], order: bytearray, *, resumed: bool
    ) -> list[bytes]:
        """The parts of the state behind an order, from those before its last step."""
        if not before:
            return self._printer.parts()
        task = self.instance.scheduler.tasks[order[-1]]
        return self._printer.after(before, task, resumed=resumed)

    def _choose(self, parts: list[bytes], order: bytearray) -> int | None:
        """Who goes on with an order; the others are kept for later. None if nobody."""
        ready = [task.index for task in self.instance.scheduler.ready()]
        if not ready:
            finding = self.instance.at_end()
            if finding is not None:
                self._find(finding, order)
            return None
        current = order[-1] if order else -1
        may_stay = current in ready
        if not self._is_new(parts, current if may_stay else -1, len(order)):
            return None
        if not self._may_be_shorter(len(order) + 1):
            return None
        choices = self._printer.distinct(parts, ready)
        if may_stay:
            self._branch(self._next, parts, order, choices, besides=current)
            return current
        if self.switches and order:
            self._branch(self._next, parts, order, choices)
            return None
        self._branch(self._here, parts, order, choices[:0:-1])
        return choices[0]

    def _branch(
        self,
        branches: list[_Branch],
        parts: list[bytes],
        order: bytearray,
        choices: list[int],
        besides: int = -1,
    ) -> None:
        """Keep the orders in which others go on, unless they did as cheaply before."""
        key = self._printer.of(parts)
        cost = self.level + (branches is self._next), len(order)
        for choice in choices:
            if choice != besides:
                step = key + self._printer.label(parts, choice)
                known = self._branched.get(step)
                if known is None or cost < known:
                    self._branched[step] = cost
                    branches.append(_Branch(bytes((*order, choice)), parts))

    def _is_new(self, parts: list[bytes], current: int, steps: int) -> bool:
        """Whether this state was not reached as cheaply before, by the same task."""
        key = self._printer.of(parts)
        if current >= 0:
            key += self._printer.label(parts, current)
        cost = self.level, steps
        known = self._best.get(key)
        if known is not None and known <= cost:
            return False
        self._best[key] = cost
        return True

    def _may_be_shorter(self, steps: int) -> bool:
        return self.found is None or (self.level, steps) < self.found.length

    def _find(self, finding: Finding, order: bytearray) -> None:
        if self.wanted is None:
            is_wanted = finding.checker not in self.instance.program.without
        else:
            is_wanted = finding == self.wanted
        if is_wanted and self._may_be_shorter(len(order)):
            self.found = Counterexample(finding, tuple(order), self.level)
