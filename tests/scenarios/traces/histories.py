"""Small histories of overlapping calls, and every order that they allow."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence

import attrs
from hypothesis import strategies as st

from memslots.errors import MemoryRegionError
from memslots.profile import X86_64_LINUX_6_18
from scenarios.traces.call import NEVER, RegionCall
from scenarios.traces.sequential import EMPTY, Rules, Slots

PAGE = 4096
PROFILE = attrs.evolve(X86_64_LINUX_6_18, user_mem_slots=8, max_gfn=7)
"""Limits that small histories reach."""

FILES = {7: 4 * PAGE}
"""One guest_memfd of four pages."""

RULES = Rules(PROFILE, 2, FILES)


def call(
    index: int,
    span: tuple[int, int],
    slot: int,
    pages: tuple[int, int],
    result: int | None = 0,
    **more: int,
) -> RegionCall:
    """Make a call on *pages*, half-open, under way during *span*, inclusive."""
    start, end = pages
    return RegionCall(
        index=index,
        line=span[0],
        thread=str(index),
        vm="fd9",
        slot=slot,
        flags=more.pop("flags", 0),
        guest_phys_addr=start * PAGE,
        memory_size=(end - start) * PAGE,
        userspace_addr=0x7F0000000000,
        result=result,
        entered=span[0],
        returned=span[1],
        v2="guest_memfd" in more,
        **more,
    )


def answer(slots: Slots, asked: RegionCall) -> tuple[int, Slots]:
    """What a call answers, and what it leaves."""
    try:
        return 0, RULES.set_memory_region(slots, asked.request)
    except MemoryRegionError as error:
        return error.result, slots


@st.composite
def requests(draw: st.DrawFn, index: int, span: tuple[int, int]) -> RegionCall:
    """Draw what a call asks for: often what others ask for, too."""
    start = draw(st.integers(0, 4))
    size = draw(st.sampled_from([0, 1, 1, 2, 4]))
    slot = draw(st.sampled_from([0, 0, 1, 1, 2, 65536, 8]))
    flags = draw(st.sampled_from([0, 0, 1, 2, 4]))
    more = {"flags": flags}
    if flags == 4:
        file = draw(st.sampled_from([7, 7, 8]))
        more |= {"guest_memfd": file, "guest_memfd_offset": PAGE * start}
    return call(index, span, slot, (start, start + size), **more)


@st.composite
def spans(draw: st.DrawFn, most: int) -> list[tuple[int, int]]:
    """Draw entries and returns on lines of their own, by entry."""
    count = draw(st.integers(1, most))
    ends = draw(st.permutations([*range(count), *range(count)]))
    places: dict[int, list[int]] = {}
    for line, who in enumerate(ends, 1):
        places.setdefault(who, []).append(line)
    return sorted((first, last) for first, last in places.values())


@st.composite
def real(draw: st.DrawFn, most: int = 12) -> list[RegionCall]:
    """Draw what a kernel can have recorded: each call is made at its own moment.

    Some calls have not returned; some of these have not even been made.
    """
    calls = []
    slots = EMPTY
    for index in range(draw(st.integers(1, most))):
        moment = 100 * (index + 1)
        entered = moment - draw(st.integers(1, 350))
        returned = moment + draw(st.integers(1, 350))
        asked = draw(requests(index, (entered, returned)))
        silent = draw(st.integers(0, 9))
        if silent:
            result, slots = answer(slots, asked)
        if silent < 2:
            asked = attrs.evolve(asked, result=None, returned=NEVER)
        else:
            asked = attrs.evolve(asked, result=result)
        calls.append(asked)
    return calls


@st.composite
def arbitrary(draw: st.DrawFn, most: int = 6) -> list[RegionCall]:
    """Draw calls with answers that hardly any kernel would give."""
    results = [0, 0, 0, -errno.EINVAL, -errno.EEXIST, None]
    calls = []
    for index, (entered, returned) in enumerate(draw(spans(most))):
        result = draw(st.sampled_from(results))
        asked = draw(requests(index, (entered, returned)))
        if result is None and draw(st.booleans()):
            asked = attrs.evolve(asked, returned=NEVER)
        calls.append(attrs.evolve(asked, result=result))
    return calls


def orders(calls: Sequence[RegionCall]) -> Iterator[list[RegionCall]]:
    """Every order that keeps everybody's times, without or with the silent calls."""
    if all(each.result is None for each in calls):
        yield []
    for first in calls:
        rest = [each for each in calls if each is not first]
        if any(
            each.returned < first.entered for each in rest if each.result is not None
        ):
            continue
        # A silent call that is passed over can no longer take effect.
        rest = [each for each in rest if each.returned >= first.entered]
        for order in orders(rest):
            yield [first, *order]


def explains(order: Iterable[RegionCall]) -> bool:
    """Whether each call of an order gets its answer."""
    slots = EMPTY
    for each in order:
        result, slots = answer(slots, each)
        if each.result is not None and each.result != result:
            return False
    return True


def keeps_time(order: Sequence[RegionCall]) -> bool:
    """Whether no call comes after one that was entered when it had returned."""
    latest = 0
    for each in order:
        latest = max(latest, each.entered)
        if each.returned < latest:
            return False
    return True


def until(calls: Iterable[RegionCall], last: int) -> list[RegionCall]:
    """What had happened at a position: who was under way then may not have answered."""
    return [each for each in calls if each.entered <= last]
