"""The rules without a scheduler answer as the model does, and never change slots."""

from __future__ import annotations

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from memslots.errors import MemoryRegionError
from memslots.profile import X86_64_LINUX_6_18
from memslots.region import Change, Region
from memslots.update import Update
from rcu.schedule.pool import open_pool
from scenarios.traces.sequential import EMPTY, Rules, Slots, held
from tests.memslots.test_update_model import (
    FILE_PAGES,
    LAST_GFN,
    SPACES,
    build,
    requests,
)
from tests.memslots.world import answer, content, run_writer

PROFILE = attrs.evolve(X86_64_LINUX_6_18, max_gfn=LAST_GFN)
RULES = Rules(PROFILE, SPACES, {7: FILE_PAGES * 4096})


def told(slots: Slots, request: Region) -> tuple[int, Slots]:
    """The answer as a positive errno or 0, and the slots afterwards."""
    try:
        return 0, RULES.set_memory_region(slots, request)
    except MemoryRegionError as error:
        return error.errno, slots


@settings(deadline=None)
@given(st.lists(requests, min_size=5, max_size=20))
async def test_rules_answer_as_the_model_does(asked: list[Region]) -> None:
    async def write(update: Update) -> None:
        slots = EMPTY
        for request in asked:
            said = await answer(update, request)
            expected = 0 if said is None or isinstance(said, Change) else said
            result, slots = told(slots, request)
            assert result == expected, request
            for as_id in range(SPACES):
                active = update.vm.active(as_id).peek()
                assert {
                    (slot.id, slot.gfn, slot.flags) for slot in content(active)
                } == {
                    (region.slot_id.id, region.base_gfn, region.flags)
                    for region in slots.regions.values()
                    if region.slot_id.as_id == as_id
                }

    async with open_pool() as pool:
        await run_writer(pool, write, build)


@given(st.lists(requests, max_size=30))
def test_equal_slots_are_equal_however_they_came_about(asked: list[Region]) -> None:
    slots = EMPTY
    for request in asked:
        before = dict(slots.regions)
        _, after = told(slots, request)
        assert dict(slots.regions) == before
        slots = after
    again = EMPTY
    for slot, region in sorted(slots.regions.items()):
        again = again.replaced(slot, region)
    assert (again, hash(again)) == (slots, hash(slots))
    gone = slots
    for slot in slots.regions:
        gone = gone.replaced(slot, None)
    assert (gone, hash(gone)) == (EMPTY, hash(EMPTY))
    assert slots == EMPTY or slots != gone
    assert gone != dict(gone.regions)


def test_a_slot_keeps_nothing_of_the_call_that_made_it() -> None:
    plain = Region(1, 0, 0, 4096, 0)  # type: ignore[arg-type]
    told_more = attrs.evolve(plain, v2=True, guest_memfd=7, guest_memfd_offset=4096)
    assert held(told_more) == plain
    backed = attrs.evolve(told_more, flags=4)
    assert held(backed) == attrs.evolve(backed, v2=False)
