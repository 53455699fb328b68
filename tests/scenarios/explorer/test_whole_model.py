"""Searches of the whole model leave out no state that an order of steps can reach."""

from __future__ import annotations

import pytest
import trio

from scenarios.explorer.footprints import Footprint
from scenarios.explorer.machine_program import MachineProgram
from scenarios.explorer.states import StateSearch
from scenarios.planner import plan_for
from tests.scenarios.explorer.searching import search

STATES = {
    "arch-data-across-flags": 982,
    "lookup-during-delete": 1_797,
    "notifier-across-a-swap": 1_995,
    "pfn-cache-refresh": 3_468,
    "teardown": 1_014,
}


def searched(name: str) -> StateSearch:
    return trio.run(search, MachineProgram(plan_for(name)))


@pytest.mark.slow
@pytest.mark.parametrize("name", STATES)
def test_steps_said_to_be_independent_are(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What operations and events do not name would make the two searches differ."""
    done = searched(name)
    assert not done.found
    assert len(done.states) == STATES[name]
    monkeypatch.setattr(Footprint, "meets", lambda *_: True)
    all_ = searched(name)
    assert done.executions < all_.executions
    assert done.states.keys() == all_.states.keys()
