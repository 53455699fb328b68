"""A lookup that returns a slot near by, and a caller who knows it."""

from __future__ import annotations

import pytest

from memslots.slot import INVALID, MemorySlot
from memslots.slot_set import Memslots
from memslots.units import PAGE_SIZE, Gfn
from rcu.schedule.pool import TaskPool
from tests.vcpus.memory_world import Guest, answer, copied, hva, looked_up, run_alone
from tests.vcpus.world import region
from vcpus.cmma import Cmma
from vcpus.lookup import Granularity, dereference
from vcpus.lpage_info import OutsideArray
from vcpus.tracepoints import SlotLookedUp

SLOTS = (
    region(1, 0x10, 4),
    region(2, 0x20, 2, hva=hva(8)),
    region(3, 0x30, 1, hva=hva(16)),
)
GRANULARITY = pytest.mark.parametrize("granularity", list(Granularity))


@GRANULARITY
@pytest.mark.parametrize("gfn", range(0x0E, 0x34))
async def test_an_approximate_lookup_finds_the_slot_or_a_border_of_the_hole(
    pool: TaskPool, gfn: int, granularity: Granularity
) -> None:
    below = [slot for slot in SLOTS if slot.base_gfn <= gfn][-1:]
    above = [slot for slot in SLOTS if slot.base_gfn > gfn][:1]
    inside = [slot for slot in below if gfn < slot.end_gfn]
    allowed = {slot.slot_id.id for slot in inside or below + above}

    async def body(guest: Guest) -> None:
        slots = await dereference(guest.vm, 0)
        found = await guest.memory.lookup.gfn_to_memslot_approx(slots, Gfn(gfn))
        assert found is not None
        assert found.id in allowed
        assert slots.last_used_slot is found

    run = await run_alone(pool, body, *SLOTS, granularity=granularity)
    (event,) = [e for _, _, e in run.records if isinstance(e, SlotLookedUp)]
    assert (event.slot is not None) is bool(inside)


@GRANULARITY
async def test_without_slots_an_approximate_lookup_finds_none(
    pool: TaskPool, granularity: Granularity
) -> None:
    async def body(guest: Guest) -> None:
        slots = await dereference(guest.vm, 0)
        lookup = guest.memory.lookup
        assert await lookup.gfn_to_memslot_approx(slots, Gfn(5)) is None
        assert slots.last_used_slot is None
        assert await answer(Cmma(guest.memory).read_next(Gfn(5))) == "EFAULT"

    await run_alone(pool, body, granularity=granularity)


async def test_what_was_found_is_tried_first_if_it_contains_the_page(
    pool: TaskPool,
) -> None:
    async def body(guest: Guest) -> None:
        lookup = guest.memory.lookup
        slots = await dereference(guest.vm, 0)
        for gfn in (0x12, 0x13, 0x20):
            await lookup.gfn_to_memslot_approx(slots, Gfn(gfn))

    run = await run_alone(pool, body, *SLOTS)
    events = [e for _, _, e in run.records if isinstance(e, SlotLookedUp)]
    assert [event.found_in for event in events] == ["tree", "set", "tree"]
    assert looked_up(run) == [0x12, 0x13, 0x20]


NEXT = {
    0x00: 0x10,
    0x0F: 0x10,
    0x10: 0x10,
    0x13: 0x13,
    0x14: 0x20,
    0x1F: 0x20,
    0x21: 0x21,
    0x22: 0x30,
    0x30: 0x30,
    0x31: 0x10,
}
"""Which page comes next; behind the last slot, the first."""


async def read_next(pool: TaskPool, gfn: int, kind: type[Cmma]) -> tuple[object, int]:
    """What is answered, and which host page was read."""
    answers: list[object] = []

    async def body(guest: Guest) -> None:
        for page in range(-20, 40):
            await guest.host.write(hva(page), page)
        answers.append(await answer(kind(guest.memory).read_next(Gfn(gfn))))

    ((_, _, offset, _),) = copied(await run_alone(pool, body, *SLOTS))
    return answers[0], offset // PAGE_SIZE


@pytest.mark.parametrize(("gfn", "found"), list(NEXT.items()))
async def test_the_next_page_is_in_a_slot(pool: TaskPool, gfn: int, found: int) -> None:
    base = {1: 0, 2: 8, 3: 16}[found >> 4]
    page = base + (found & 0xF)
    assert await read_next(pool, gfn, Cmma) == ((found, page), page)


class TakesItForTheSlot(Cmma):
    """Believes that the slot contains the page."""

    def first_page(
        self, slots: Memslots, near: MemorySlot, gfn: Gfn
    ) -> tuple[MemorySlot, Gfn]:
        return near, gfn


@pytest.mark.parametrize(
    ("gfn", "message"),
    [
        (0x00, "gfn 0x0 has no bit in the bitmap of <slot 1 #1 gfn 0x10..0x14>"),
        (0x0F, "gfn 0xf has no bit in the bitmap of <slot 1 #1 gfn 0x10..0x14>"),
        (0x14, "gfn 0x14 has no bit in the bitmap of <slot 1 #1 gfn 0x10..0x14>"),
        (0x1F, "gfn 0x1f has no bit in the bitmap of <slot 1 #1 gfn 0x10..0x14>"),
        (0x31, "gfn 0x31 has no bit in the bitmap of <slot 3 #3 gfn 0x30..0x31>"),
    ],
)
async def test_who_takes_a_border_for_the_slot_looks_outside_of_its_bitmap(
    pool: TaskPool, gfn: int, message: str
) -> None:
    with pytest.raises(OutsideArray, match=message):
        await read_next(pool, gfn, TakesItForTheSlot)


async def test_a_page_of_an_invalid_slot_is_not_read(pool: TaskPool) -> None:
    async def body(guest: Guest) -> None:
        assert await answer(Cmma(guest.memory).read_next(Gfn(0x10))) == "EFAULT"

    await run_alone(pool, body, region(1, 0x10, 4, INVALID))
