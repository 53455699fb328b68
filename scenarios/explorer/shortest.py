"""The shortest order that shows a finding: fewest preemptions, then fewest steps.

All orders without a preemption are searched, then all with one, and so on; a state that
was reached as cheaply before, by the same task, is not searched again. A *preemption*
is a switch away from a task that could have gone on. When a level is done, the shortest
order of that level is known to be the shortest of all.

Source: M. Musuvathi, S. Qadeer, Iterative Context Bounding for Systematic Testing of
Multithreaded Programs, PLDI 2007.
"""

from __future__ import annotations

import attrs

from scenarios.explorer.fingerprint import Fingerprinter
from scenarios.explorer.program import Finding, Instance


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


class BoundedSearch:
    """Searches all orders with no preemption, then with one, and so on.

    Args:
        instance: What is searched; lent to a pool.
        symmetric: Whether tasks with the same body may stand for each other.
        switches: Whether a switch counts, too, where a task waits or has ended.
        limit: The most preemptions that are tried; as many as there can be if None.

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
    ) -> None:
        self.instance = instance
        self.switches = switches
        self.limit = limit
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
        self._best: dict[bytes, tuple[int, int]]
        self._here: list[bytes]  # orders to be gone on with, at this level
        self._next: list[bytes]

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
        self._here, self._next = [b""], []

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

    def _go_on(self, path: bytes) -> None:
        """Follow an order, and go on with whoever made its last step."""
        if not self._may_be_shorter(len(path)):
            return
        instance, scheduler = self.instance, self.instance.scheduler
        self.executions += 1
        instance.begin()
        scheduler.follow(path[:-1])
        self.steps += len(path)
        order = bytearray(path)
        if order:
            scheduler.step(scheduler.tasks[order[-1]])
        parts: list[bytes] = []
        while not self._is_broken(order):
            parts = self._parts(parts, order)
            chosen = self._choose(parts, order)
            if chosen is None:
                return
            scheduler.step(scheduler.tasks[chosen])
            self.steps += 1
            order.append(chosen)

    def _is_broken(self, order: bytearray) -> bool:
        """Whether the last step of an order shows something."""
        finding = self.instance.look() if order else None
        if finding is not None:
            self._find(finding, order)
        return finding is not None

    def _parts(self, before: list[bytes], order: bytearray) -> list[bytes]:
        """The parts of the state behind an order."""
        if not before:
            return self._printer.parts()
        task = self.instance.scheduler.tasks[order[-1]]
        return self._printer.after(before, task, resumed=False)

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
        others = [bytes((*order, i)) for i in choices if i != current]
        if may_stay:
            self._next += others
            return current
        if self.switches and order:
            self._next += others
            return None
        self._here += others[:0:-1]
        return choices[0]

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
        if self._may_be_shorter(len(order)):
            self.found = Counterexample(finding, tuple(order), self.level)
