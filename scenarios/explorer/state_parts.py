"""A part of a search of states, done apart from the others: plain data in and out.

A part begins at *items*: places of the search where something is still to be tried. It
knows the states that had been visited when it was cut off, and stops after so many new
ones; what is left to be tried are items again. It can be stopped anywhere, and gone on
with elsewhere, and does the same as without the stop.

States are numbered: first those that were known, then those that the part visits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from scenarios.explorer.footprints import Footprint
from scenarios.explorer.happens_before import bits
from scenarios.explorer.program import Finding, Instance
from scenarios.explorer.states import Label, StateSearch, _Node

Plain = dict[str, Any]
"""Plain values by name: None, bool, int, str, bytes, lists, tuples, dicts of these."""

Order = tuple[int, ...]


@attrs.define(eq=False)
class Known:
    """What had been visited before; shared by the parts, so nobody changes it.

    Attributes:
        states: Their numbers by fingerprint.
        slept: By state: what need not have been tried there.
    """

    states: dict[bytes, int] = attrs.field(factory=dict)
    slept: list[frozenset[Label]] = attrs.field(factory=list)


class _States:
    """The numbers of states by fingerprint, those that were known and new ones."""

    def __init__(self, known: dict[bytes, int]) -> None:
        self._known = known
        self._first = len(known)
        self.new: dict[bytes, int] = {}

    def get(self, key: bytes) -> int | None:
        place = self._known.get(key)
        return self.new.get(key) if place is None else place

    def __setitem__(self, key: bytes, place: int) -> None:
        self.new[key] = place

    def __len__(self) -> int:
        return self._first + len(self.new)


class _Slept:
    """What slept in each state; what was known is not changed but overlaid."""

    def __init__(self, known: list[frozenset[Label]]) -> None:
        self._known = known
        self._next = len(known)
        self.now: dict[int, frozenset[Label]] = {}

    def __getitem__(self, place: int) -> frozenset[Label]:
        labels = self.now.get(place)
        return self._known[place] if labels is None else labels

    def __setitem__(self, place: int, labels: frozenset[Label]) -> None:
        self.now[place] = labels

    def restore(self, told: Mapping[int, Sequence[Label]], states: int) -> None:
        self.now = {place: frozenset(labels) for place, labels in told.items()}
        self._next = states

    def append(self, labels: frozenset[Label]) -> None:
        self.now[self._next] = labels
        self._next += 1


class _Graph:
    """The ways that a part has found; see `StateGraph`."""

    def __init__(self) -> None:
        self.edges: defaultdict[int, dict[Label, int]] = defaultdict(dict)
        self.ready: list[list[Label]] = []
        self.way: list[tuple[int, Label]] = []

    def add(self, way: tuple[int, Label], ready: list[Label]) -> None:
        self.ready.append(ready)
        self.way.append(way)


class StatePart(StateSearch):
    """A search that begins at items and stops after so many new states.

    Args:
        instance: What is searched; lent to a pool.
        known: What had been visited before.
        plan: What is to be done: ``kin``, which is None if it is not known who has to
            be told apart; ``most_states``, ``most_steps`` and ``most_found``, after
            which to stop, None for never.

    Attributes:
        again: Whether what was searched before relies on what has turned out wrong: the
            whole search has to begin again.
    """

    def __init__(self, instance: Instance, known: Known, plan: Plain) -> None:
        kin = plan["kin"]
        super().__init__(instance, symmetric=kin != [])
        if kin is not None:
            self._printer.keep_kin(kin)
        self._known = known
        self._plan = plan
        self._items: list[Plain] = []
        self._shown: set[Finding] = set()
        self._forget()
        self.again = False

    def begin(self) -> None:
        """Begin the whole search, or note that it has to begin."""
        self._forget()
        self.begun += 1
        if self._known.states:
            self.again = True
        else:
            self._items = [ROOT]

    def begin_at(self, items: Sequence[Plain]) -> None:
        """Begin at these items, the last one first."""
        self._items = [*items]

    def _forget(self) -> None:
        self.states = _States(self._known.states)  # type: ignore[assignment]
        self.graph = _Graph()  # type: ignore[assignment]
        self._slept = _Slept(self._known.slept)  # type: ignore[assignment]
        self.found = []
        self._shown.clear()
        self._items = []
        self._stack = []
        self._path = []
        self._start = 0  # how many steps lead to the item
        self._told = False
        self._at_top = False
        self._kin = self._printer.given_up

    def advance(self, budget: int) -> bool:
        """Go on for about ``budget`` steps; false if the part is done."""
        limit = self.steps + budget
        while (self._stack or self._items) and not self._is_enough():
            if self._stack and not self._stack[-1].todo:
                self._turn_back(self._stack[-1])
            elif self.steps >= limit:
                return True
            elif self._stack:
                self._go_on(self._stack[-1], self._stack[-1].todo.pop())
                self._drop_known()
            else:
                self._take(self._items.pop())
        return False

    def _is_enough(self) -> bool:
        return any(
            most is not None and count >= most
            for count, most in (
                (len(self.states) - len(self._known.states), self._plan["most_states"]),
                (self.steps, self._plan["most_steps"]),
                (len(self.found), self._plan["most_found"]),
            )
        )

    def _drop_known(self) -> None:
        """Keep each finding once."""
        while len(self.found) > len(self._shown):
            if self.found[-1][0] in self._shown:
                self.found.pop()
            else:
                self._shown.add(self.found[-1][0])

    def _take(self, item: Plain) -> None:
        """Stand where an item begins."""
        parts = self._stand_at(item)
        self.steps += len(self._path)
        if self._believed_wrongly():
            self.begin()
            return
        self._start = len(self._path)
        if item == ROOT:
            self._visit(parts, {})
            self._drop_known()
            return
        todo = item["todo"]
        if "way" in item:
            ready = [task.index for task in self._scheduler.ready()]
            tried = {self._printer.label(parts, index): index for index in ready}
            todo = [tried[label] for label in todo]
        sleep = {index: self._named(*names) for index, *names in item["sleep"]}
        self._stack.append(_Node(parts, item["place"], [*todo], sleep))

    def _stand_at(self, item: Plain) -> list[bytes]:
        """Make the steps that lead to an item; returns the parts of its state."""
        self.instance.begin()
        self._told = self._at_top = True
        if "way" not in item:
            self._path = [*item["order"]]
            self.instance.follow(self._path)
            return self._printer.parts()
        self._path = []
        parts = self._printer.parts()
        for label in item["way"]:
            self._path.append(
                next(
                    task.index
                    for task in self._scheduler.ready()
                    if self._printer.label(parts, task.index) == label
                )
            )
            parts = self._step(parts, self._path[-1])
        return parts

    def _step(self, parts: list[bytes], index: int) -> list[bytes]:
        """Make a step that was made before; returns the parts behind it."""
        task = self._scheduler.tasks[index]
        self._scheduler.step(task)
        self.instance.look()
        return self._printer.after(parts, task, resumed=False)

    def left(self) -> list[Plain]:
        """The items that are left, the last one to be gone on with first."""
        return [
            *self._items,
            *(
                {"order": self._path[: self._start + depth]} | self._tell(node)
                for depth, node in enumerate(self._stack)
                if node.todo
            ),
        ]

    def _tell(self, node: _Node) -> Plain:
        return {
            "place": node.place,
            "todo": node.todo,
            "sleep": [(i, *self._names(step)) for i, step in node.sleep.items()],
        }

    def _names(self, step: Footprint) -> tuple[list[str], list[str]]:
        """The locations that a step touches."""
        names = [*self._footprints._bits]  # noqa: SLF001 - the bits of this search
        return [names[bit] for bit in bits(step.reads)], [
            names[bit] for bit in bits(step.writes)
        ]

    def _named(self, reads: Sequence[str], writes: Sequence[str]) -> Footprint:
        return self._footprints.named(reads, writes)

    def state(self) -> Plain:
        """Where the part is, as plain values; between two calls of `advance`."""
        return {
            "counts": (self.executions, self.steps, self.begun),
            "again": self.again,
            "kin": self._printer.kin_left(),
            "found": [(attrs.astuple(one), order) for one, order in self.found],
            "new": [*self.states.new],  # type: ignore[attr-defined]
            "slept": {
                place: sorted(labels)
                for place, labels in self._slept.now.items()  # type: ignore[attr-defined]
            },
            "edges": {**self.graph.edges},  # type: ignore[dict-item]
            "ready": self.graph.ready,
            "way": self.graph.way,
            "items": self._items,
            "stack": [self._tell(node) for node in self._stack],
            "path": self._path,
            "start": self._start,
            "at_top": self._at_top,
            "locations": [*self._footprints._bits],  # noqa: SLF001 - as in _names
        }

    def restore(self, state: Plain) -> None:
        """Stand where another search of the same part was; not begun yet."""
        self._named(state["locations"], ())  # they get the bits that they had
        self.executions, self.steps, self.begun = state["counts"]
        self.again = state["again"]
        self._printer.keep_kin(state["kin"])
        self._kin = self._printer.given_up
        self.found = [(Finding(*one), tuple(order)) for one, order in state["found"]]
        self._shown = {finding for finding, _ in self.found}
        first = len(self._known.states)
        for place, key in enumerate(state["new"], start=first):
            self.states[key] = place
        slept: Any = self._slept
        slept.restore(state["slept"], len(self.states))
        graph: Any = self.graph
        graph.edges.update(state["edges"])
        graph.ready = [*state["ready"]]
        graph.way = [*state["way"]]
        self._items = [*state["items"]]
        self._start = state["start"]
        self._restore_stack(state)

    def _restore_stack(self, state: Plain) -> None:
        """Make the steps of the path again; they were counted before."""
        if not state["stack"]:
            return
        self._path = [*state["path"]]
        self.instance.begin()
        self.instance.follow(self._path[: self._start])
        parts = self._printer.parts()
        for depth, node in enumerate(state["stack"]):
            if depth:
                parts = self._step(parts, self._path[self._start + depth - 1])
            sleep = {index: self._named(*names) for index, *names in node["sleep"]}
            self._stack.append(_Node(parts, node["place"], [*node["todo"]], sleep))
        self._told, self._at_top = True, state["at_top"]


ROOT: Plain = {"order": []}
"""Where the whole search begins."""
