"""Every state once: depth first, with the states that were seen before cut off.

Of two neighbouring steps that do not depend on each other only one order is tried:
what has been tried before a step sleeps behind it until something that depends on it
happens (sleep sets). No state is lost by that, and the steps that were not made are
known from those that were.

Source: P. Godefroid, Partial-Order Methods for the Verification of Concurrent Systems,
1996, chapter 5.
"""

from __future__ import annotations

import attrs

from scenarios.explorer.fingerprint import Fingerprinter
from scenarios.explorer.footprints import NOWHERE, Footprint, Footprints
from scenarios.explorer.program import Finding, Instance

FAILED = -1
"""Stands for the state behind a step that broke a rule."""

Label = bytes
"""Which task makes a step: where it stands, whichever of its kin it is."""


@attrs.define(eq=False)
class _Node:
    """A state on the path.

    Attributes:
        parts: Of its fingerprint.
        place: Its number.
        todo: Tasks that are still to be tried, by index, the next one last.
        sleep: Tasks that need not be tried, and what their step touches.
    """

    parts: list[bytes]
    place: int
    todo: list[int]
    sleep: dict[int, Footprint]


class StateSearch:
    """Visits every state that any order of steps can reach.

    Args:
        instance: What is searched; lent to a pool.
        symmetric: Whether tasks with the same body may stand for each other.

    Attributes:
        states: Their numbers by fingerprint.
        graph: What is known of the ways between them.
        executions: How many runs were made, each to its end, to a broken rule, or to a
            state seen before.
        steps: How many steps were made in them.
        found: The broken rules met, with the order that shows each.
        begun: How often the search has begun, each time knowing better who cannot stand
            for another.
    """

    def __init__(self, instance: Instance, *, symmetric: bool = True) -> None:
        self.instance = instance
        self._scheduler = instance.scheduler
        self._printer = Fingerprinter(
            instance.scheduler,
            instance.heap,
            symmetric=symmetric and instance.program.interchangeable,
        )
        self.executions = 0
        self.steps = 0
        self.begun = 0
        self._footprints = Footprints()

    def begin(self) -> None:
        """Visit the first state."""
        self.begun += 1
        self.states: dict[bytes, int] = {}
        self.graph = StateGraph()
        self.found: list[tuple[Finding, tuple[int, ...]]] = []
        self._slept: list[frozenset[Label]] = []
        self._stack: list[_Node] = []
        self._path: list[int] = []
        self._told = False  # whether the state in which the run ends was told
        self._at_top = False  # whether the run stands where the path ends
        self.instance.begin()
        self._kin = self._printer.given_up
        parts = self._printer.parts()
        if self._believed_wrongly():
            self.begin()
        else:
            self._visit(parts, {})

    def advance(self, budget: int) -> bool:
        """Go on for about ``budget`` steps; false if every state has been visited."""
        limit = self.steps + budget
        while self._stack:
            node = self._stack[-1]
            if not node.todo:
                self._turn_back(node)
            elif self.steps >= limit:
                return True
            else:
                self._go_on(node, node.todo.pop())
        return False

    def _turn_back(self, node: _Node) -> None:
        """All steps from a state have been tried."""
        self._stack.pop()
        if self._path:
            self._path.pop()
        self._at_top = False

    def _go_on(self, node: _Node, chosen: int) -> None:
        """Make a step from the state on top of the stack."""
        instance, scheduler, printer = self.instance, self._scheduler, self._printer
        resumed = not self._at_top
        if resumed:
            instance.begin(told=self._told)
            instance.follow(self._path)
            self.steps += len(self._path)
        task = scheduler.tasks[chosen]
        does = self._footprints.of(task.op)
        scheduler.step(task)
        self.steps += 1
        finding = instance.look()
        self._told = finding is None
        made = does.and_(self._said())
        label = printer.label(node.parts, chosen)
        parts = []
        if finding is None:
            parts = printer.after(node.parts, task, resumed=resumed)
        if self._believed_wrongly():
            self.begin()
            return
        self._path.append(chosen)
        if finding is None:
            sleep = {
                index: step
                for index, step in node.sleep.items()
                if not step.meets(made)
            }
            place = self._visit(parts, sleep, (node.place, label))
        else:
            self.found.append((finding, tuple(self._path)))
            place = FAILED
            self._path_ends()
        self.graph.edges[node.place][label] = place
        node.sleep[chosen] = made

    def _said(self) -> Footprint:
        """What the last step touches in the eyes of who watches."""
        if not self._scheduler.tracing:
            return NOWHERE
        return self._footprints.named(*self.instance.watch.touched())

    def _believed_wrongly(self) -> bool:
        """Whether what was searched so far relies on what has turned out wrong."""
        return self._printer.given_up != self._kin

    def _visit(
        self,
        parts: list[bytes],
        sleep: dict[int, Footprint],
        way: tuple[int, Label] = (0, b""),
    ) -> int:
        """Come to a state; it is on top of the stack if there is something to try."""
        printer = self._printer
        key = printer.of(parts)
        place = self.states.get(key)
        asleep = frozenset(printer.label(parts, index) for index in sleep)
        self._at_top = True
        if place is None:
            place = self.states[key] = len(self.states)
            ready = self._scheduler.ready()
            names = [printer.label(parts, task.index) for task in ready]
            self.graph.add(way, names)
            self._slept.append(asleep)
            if not ready:
                finding = self.instance.at_end()
                if finding is not None:
                    self.found.append((finding, tuple(self._path)))
            awake = asleep
        else:
            slept = self._slept[place]
            if slept <= asleep:
                self._path_ends()
                return place
            self._slept[place] = slept & asleep
            ready = self._scheduler.ready()
            sleep = {
                index: step
                for index, step in sleep.items()
                if printer.label(parts, index) in slept
            }
            awake = frozenset(printer.label(parts, task.index) for task in ready) - (
                slept - asleep
            )
        todo = [
            index
            for index in printer.distinct(parts, [task.index for task in ready])
            if printer.label(parts, index) not in awake
        ]
        if not todo:
            self._path_ends()
            return place
        todo.reverse()
        self._stack.append(_Node(parts, place, todo, sleep))
        return place

    def _path_ends(self) -> None:
        """The run need not go on from here."""
        if self._path:
            self._path.pop()
        self._cut()

    def _cut(self) -> None:
        self.executions += 1
        self._at_top = False


class StateGraph:
    """The ways between states.

    Attributes:
        edges: By state: the state behind a step, by who makes it.
        ready: By state: who can make a step, everyone by himself.
        way: By state: from which state, by whose step it was reached first.
    """

    def __init__(self) -> None:
        self.edges: list[dict[Label, int]] = []
        self.ready: list[list[Label]] = []
        self.way: list[tuple[int, Label]] = []

    def add(self, way: tuple[int, Label], ready: list[Label]) -> None:
        """Add a state."""
        self.edges.append({})
        self.ready.append(ready)
        self.way.append(way)

    def behind(self, state: int, label: Label) -> int:
        """The state behind a step, made or not.

        A step that slept was tried in a state before this one; both ways round the
        square lead to the same state.
        """
        edges = self.edges
        asked = [(state, label)]
        while asked:
            at, who = asked[-1]
            before, last = self.way[at]
            if who in edges[at]:
                asked.pop()
            elif who not in edges[before]:
                asked.append((before, who))
            elif edges[before][who] == FAILED:
                edges[at][who] = FAILED
            elif last not in edges[edges[before][who]]:
                asked.append((edges[before][who], last))
            else:
                edges[at][who] = edges[edges[before][who]][last]
        return edges[state][label]

    def interleavings(self) -> int | None:
        """How many orders of steps there are; None if there is no end of them.

        Cost: one visit of each edge.
        """
        total: dict[int, int] = {FAILED: 1}
        below: set[int] = set()
        stack = [0]
        while stack:
            state = stack[-1]
            if state in total:
                stack.pop()
                continue
            behind = [self.behind(state, label) for label in self.ready[state]]
            missing = [other for other in behind if other not in total]
            if not missing:
                total[state] = sum(map(total.__getitem__, behind)) if behind else 1
            elif state in below:
                return None
            else:
                below.add(state)
                stack += missing
        return total[0]
