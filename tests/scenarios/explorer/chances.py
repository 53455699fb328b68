"""How likely a random walk breaks something: exactly, from the states."""

from __future__ import annotations

from functools import cache
from statistics import mean

from scenarios.explorer.states import FAILED, StateGraph


def of_a_random_walk(graph: StateGraph) -> float:
    """The probability that it makes a step that breaks a rule.

    A walk that chooses among all who can go on, each with the same chance, knows
    nothing but the state.
    """

    @cache
    def behind(state: int) -> float:
        if state == FAILED:
            return 1.0
        ready = graph.ready[state]
        return mean(behind(graph.behind(state, who)) for who in ready) if ready else 0.0

    return behind(0)
