"""Where there is no ``/dev/kvm``: what a recording of the real kernel can show."""

from __future__ import annotations

from pathlib import Path

import pytest

from memslots.region import Region
from memslots.units import Gpa, Hva
from memslots.update import Update
from rcu.schedule.pool import TaskPool
from rcu.schedule.scheduler import Scheduler
from scenarios.parity.calls import Answer, SetRegion
from scenarios.parity.compare import Exchange
from scenarios.parity.parity import model_of
from scenarios.traces.importer import read_trace
from tests.scenarios.parity.damage import (
    DAMAGED_REGION_CHECKS,
    METHODS,
    found_in,
    leave_out_region_check,
)
from tests.scenarios.parity.plain_kernel import FEATURES

FUZZED = Path(__file__).parents[3].parent / "shared" / "traces" / "fuzz-16slots.strace"

pytestmark = pytest.mark.skipif(
    not FUZZED.is_file(), reason="the recorded traces are not beside the repository"
)

SHOWN = {
    "without as_id < address_space_count": 387,
    "with as_id <= address_space_count": 387,
    "without start % PAGE_SIZE == 0": 305,
    "without end <= profile.user_address_end": 172,
    "without region.userspace_addr == old.userspace_addr": 9,
    "without region.npages == old.npages": 89,
    "without not (region.flags ^ old.flags) & (READONLY | GUEST_MEMFD)": 30,
    "without not region.flags & ~(LOG_DIRTY_PAGES | READONLY)": 63,
    "without old is not None": 14,
    "NoOverlapCheck": 4,
    "OverlapOfNewSlotsOnly": 128,
    "OverlapWithItself": 38,
    "TouchingIsOverlap": 127,
}
"""The checks that the recording shows, and by which of its 600 calls."""


@pytest.fixture(scope="module")
def recorded() -> list[list[Exchange]]:
    return [
        [
            Exchange(
                SetRegion(
                    Region(
                        slot=call.slot,
                        flags=call.flags,
                        guest_phys_addr=Gpa(call.guest_phys_addr),
                        memory_size=call.memory_size,
                        userspace_addr=Hva(call.userspace_addr),
                    )
                ),
                Answer(call.result or 0),
            )
            for call in read_trace(FUZZED).calls
        ]
    ]


async def test_the_model_answers_as_recorded(
    pool: TaskPool, recorded: list[list[Exchange]]
) -> None:
    assert await found_in(pool, model_of(FEATURES), recorded) is None


@pytest.mark.parametrize("damage", [*DAMAGED_REGION_CHECKS, *METHODS])
async def test_what_the_recording_shows(
    pool: TaskPool,
    recorded: list[list[Exchange]],
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    make = model_of(FEATURES)
    if damage in DAMAGED_REGION_CHECKS:
        leave_out_region_check(monkeypatch, damage)

    def make_damaged(scheduler: Scheduler) -> Update:
        update = make(scheduler)
        return METHODS[damage](update.vm) if damage in METHODS else update

    found = await found_in(pool, make_damaged, recorded)
    assert (None if found is None else found.calls) == SHOWN.get(damage)
