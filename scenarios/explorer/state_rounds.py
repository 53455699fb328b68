"""A search of states cut into parts that know nothing of each other.

The first part is done alone. What it leaves is dealt out, and so is what those parts
leave, round by round: how is the same whoever does them, and when. Between two rounds
what the parts have found is put together.

Two parts may visit the same state, each with something else asleep. One after the other
they would have tried together whatever does not sleep in both; apart, each may have
relied on the other. So what the first one has left out and the other has not is tried
once more, with nobody asleep.
"""

from __future__ import annotations

import attrs

from scenarios.explorer.program import Finding
from scenarios.explorer.state_parts import ROOT, Known, Plain
from scenarios.explorer.states import Label, StateGraph

Order = tuple[int, ...]


@attrs.frozen
class StateLimits:
    """How a search of states is cut, and when it ends.

    Attributes:
        most_found: Findings after which it ends; None for never.
        most_steps: Steps after which it ends; None for never.
        first: New states after which the first part stops.
        part: New states after which every other part stops.
        width: Parts of a round.
    """

    most_found: int | None = None
    most_steps: int | None = None
    first: int = 20_000
    part: int = 20_000
    width: int = 8


class StateRounds:
    """What the parts of a search have found, put together.

    Attributes:
        known: The states, and what slept in them.
        graph: What is known of the ways between them.
        found: The broken rules met, each with an order that shows it.
        executions, steps, begun: See `StateSearch`.
        items: Where something is still to be tried, the last one first.
        kin: Who may stand for each other; None where that is not known.
    """

    def __init__(self, limits: StateLimits) -> None:
        self.limits = limits
        self.executions = 0
        self.steps = 0
        self.begun = 1
        self.kin: list[tuple[int, int]] | None = None
        self._interleavings: tuple[int | None] | None = None
        self._begin()

    def _begin(self) -> None:
        self.known = Known()
        self.graph = StateGraph()
        self.found: dict[Finding, Order] = {}
        self.items: list[Plain] = [ROOT]

    @property
    def is_over(self) -> bool:
        """Whether nothing is left, or enough was found or done."""
        most_found, most_steps = self.limits.most_found, self.limits.most_steps
        return (
            not self.items
            or (most_found is not None and len(self.found) >= most_found)
            or (most_steps is not None and self.steps >= most_steps)
        )

    @property
    def interleavings(self) -> int | None:
        """See `StateGraph.interleavings`; counted once, when the search is over."""
        if self._interleavings is None:
            self._interleavings = (self.graph.interleavings(),)
        return self._interleavings[0]

    def cut(self) -> list[tuple[Plain, list[Plain]]]:
        """The parts of the next round: what each is to do, and where it begins."""
        limits = self.limits
        is_first = not self.known.states
        width = min(limits.width, len(self.items))
        most_steps, most_states = limits.most_steps, limits.part
        if most_steps is not None:
            most_steps = -(-(most_steps - self.steps) // width)
        plan = {
            "kin": self.kin,
            "most_states": limits.first if is_first else most_states,
            "most_steps": most_steps,
            "most_found": limits.most_found,
        }
        return [(plan, self.items[start::width]) for start in range(width)]

    def merge(self, parts: list[tuple[Plain, list[Plain]]]) -> None:
        """Put together what the parts of a round have found, in their order.

        Args:
            parts: Their states, and the items that each has left.
        """
        for state, _ in parts:
            executions, steps, begun = state["counts"]
            self.executions += executions
            self.steps += steps
            self.begun += begun
        kin = [{(first, last) for first, last in state["kin"]} for state, _ in parts]
        self.kin = sorted(set.intersection(*kin))
        if any(state["again"] for state, _ in parts):
            self.begun += 1
            self._begin()
            return
        cut_at = len(self.known.states)
        self.items = []
        for state, left in parts:
            self._merge(state, left, cut_at)

    def state(self) -> Plain:
        """Where the search is, as plain values."""
        return {
            "counts": (self.executions, self.steps, self.begun),
            "kin": self.kin,
            "states": [*self.known.states],
            "slept": [sorted(labels) for labels in self.known.slept],
            "edges": self.graph.edges,
            "ready": self.graph.ready,
            "way": self.graph.way,
            "found": [(attrs.astuple(one), order) for one, order in self.found.items()],
            "items": self.items,
        }

    def restore(self, state: Plain) -> None:
        """Stand where another search was."""
        self.executions, self.steps, self.begun = state["counts"]
        self.kin = state["kin"]
        states = {key: place for place, key in enumerate(state["states"])}
        self.known = Known(states, [*map(frozenset, state["slept"])])
        self.graph.edges = state["edges"]
        self.graph.ready = state["ready"]
        self.graph.way = state["way"]
        self.found = {Finding(*one): tuple(order) for one, order in state["found"]}
        self.items = state["items"]

    def _merge(self, state: Plain, left: list[Plain], cut_at: int) -> None:
        """Put together with the rest what one part has found."""
        places = self._number(state["new"])
        graph = self.graph
        for place, ready, (before, last) in zip(
            places, state["ready"], state["way"], strict=True
        ):
            if place == len(graph.ready):
                graph.add((_number(before, cut_at, places), last), ready)
        for place, edges in state["edges"].items():
            graph.edges[_number(place, cut_at, places)].update(
                (label, _number(behind, cut_at, places))
                for label, behind in edges.items()
            )
        for one, order in state["found"]:
            self.found.setdefault(Finding(*one), tuple(order))
        for item in left:
            if item != ROOT:
                item["place"] = _number(item["place"], cut_at, places)
            self.items.append(item)
        for place, labels in state["slept"].items():
            self._sleep(_number(place, cut_at, places), frozenset(labels))

    def _number(self, new: list[bytes]) -> list[int]:
        """The numbers of the states that a part has visited."""
        states = self.known.states
        return [states.setdefault(key, len(states)) for key in new]

    def _sleep(self, place: int, theirs: frozenset[Label]) -> None:
        """A part has left these untried in a state, where others have been, too."""
        slept = self.known.slept
        if place == len(slept):
            slept.append(theirs)
            return
        ours = slept[place]
        if theirs <= ours:
            slept[place] = theirs
        elif not ours <= theirs:
            slept[place] = ours & theirs
            self.items.append(
                {
                    "way": self._way(place),
                    "place": place,
                    "todo": sorted(ours - theirs),
                    "sleep": [],
                }
            )

    def _way(self, place: int) -> list[Label]:
        """Who makes the steps that lead to a state."""
        way: list[Label] = []
        while place:
            place, last = self.graph.way[place]
            way.append(last)
        return way[::-1]


def _number(place: int, cut_at: int, places: list[int]) -> int:
    """The number of a state that has the number ``place`` in a part."""
    return place if place < cut_at else places[place - cut_at]
