"""What the threads of a VMM can do besides changing regions, and how often."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from memslots.region import Region
from memslots.tracepoints import (
    DirtyRingReset,
    RegionRequested,
    RegionReturned,
    VmDestroyed,
)
from memslots.units import PAGE_SIZE, Hva
from rcu.schedule.controlled import ControlledScheduler
from rcu.schedule.pool import TaskPool, open_pool
from rcu.schedule.report import Ending
from rcu.trace import Record, Trace
from rcu.tracepoints import (
    CallbackInvoked,
    CallbackQueued,
    GracePeriodEnded,
    GracePeriodStarted,
    LockAcquired,
    SynchronizeBegan,
    SynchronizeEnded,
)
from scenarios.errors import InputError
from scenarios.machine import Machine, Work
from scenarios.scenario_file import parse_scenario
from scenarios.strategies.random_walk import RandomWalk
from scenarios.tracepoints import GuestExpected, ResultCompared
from vcpus.tracepoints import GuestAccessed, GuestMemoryCopied

HVA = 0x7F00_0000_0000
SLOTS = f"""
schema = 1
name = "calls"
[[slots]]
slot = 0
guest_phys_addr = 0x0
memory_size = 0x4000
userspace_addr = {HVA}
"""
VCPUS = """
[[vcpus]]
count = 2
times = 5
accesses = [{ kind = "write", gpa = 0x1000 }, { kind = "read", gpa = 0x3000 }]
"""


def region(slot: int, gpa: int, *, size: int = PAGE_SIZE, more: str = "") -> str:
    return (
        f"{{ slot = {slot}, guest_phys_addr = {gpa}, memory_size = {size},"
        f" userspace_addr = {HVA + 0x100000 + gpa}{more} }}"
    )


def writer(*calls: str, name: str = "vmm") -> str:
    return f'[[writers]]\nname = "{name}"\ncalls = [{", ".join(calls)}]\n'


@pytest.fixture
async def pool() -> AsyncIterator[TaskPool]:
    async with open_pool() as pool:
        yield pool


async def run(pool: TaskPool, text: str, seed: int = 0) -> tuple[Machine, list[Record]]:
    """Run a scenario to its end, and keep what it tells."""
    records: list[Record] = []
    trace = Trace(records.extend)
    scheduler = ControlledScheduler(RandomWalk(seed), trace)
    machine = Machine(parse_scenario(text, "calls"), scheduler)
    report = await pool.run(scheduler)
    trace.flush()
    assert report.ending is Ending.COMPLETED
    return machine, records


# Pauses.

PAUSES = (
    '{ call = "pause-vcpus" }',
    region(1, 0x8000),
    region(2, 0x9000),
    '{ call = "resume-vcpus" }',
    '{ call = "pause-vcpus" }',
    region(1, 0x8000, size=0),
    '{ call = "resume-vcpus" }',
)
PAUSED = writer(*PAUSES)


async def test_no_vcpu_is_in_kvm_while_slots_change_in_a_pause(pool: TaskPool) -> None:
    for seed in range(20):
        _, records = await run(pool, SLOTS + VCPUS + PAUSED, seed)
        calls = 0
        changing = False
        for record in records:
            if isinstance(record.event, RegionRequested | RegionReturned):
                changing = isinstance(record.event, RegionRequested)
                calls += changing
            assert not (changing and record.actor.startswith("vcpu"))
        assert calls == 3


async def test_a_paused_guest_goes_on_where_it_was(pool: TaskPool) -> None:
    places = [0x1000, 0x3000, 0x1000, 0x3000, 0x1000]
    turned = [0x3000, 0x1000, 0x3000, 0x1000, 0x3000]
    for seed in range(10):
        _, records = await run(pool, SLOTS + VCPUS + PAUSED, seed)
        made: dict[str, list[int]] = {}
        for record in records:
            if isinstance(record.event, GuestAccessed):
                made.setdefault(record.actor, []).append(record.event.gpa)
        assert made == {"vcpu0": places, "vcpu1": turned}


async def test_vcpus_can_be_stopped_after_a_pause(pool: TaskPool) -> None:
    endless = VCPUS.replace("times", "until_writers_return = true\ntimes")
    stopped = writer(*PAUSES, '{ call = "stop-vcpus" }')
    for seed in range(10):
        machine, records = await run(pool, SLOTS + endless + stopped, seed)
        actors = [
            each.actor for each in records if isinstance(each.event, GuestAccessed)
        ]
        assert {*actors} == {"vcpu0", "vcpu1"}
        assert min(actors.count(actor) for actor in actors) >= 5
        assert [vcpu.must_exit for vcpu in machine.vcpus] == [True, True]


# Devices and the VMM's own memory.


@pytest.mark.parametrize("expedited", [False, True])
async def test_a_device_is_registered_under_slots_lock(
    pool: TaskPool, *, expedited: bool
) -> None:
    call = f'{{ call = "register-device", expedited = {str(expedited).lower()} }}'
    machine, records = await run(pool, SLOTS + writer(call))
    events = [record.event for record in records if record.actor == "vmm"]
    kinds = [type(event) for event in events]
    assert kinds.index(LockAcquired) < kinds.index(CallbackQueued)
    domain = machine.vm.srcu
    assert bool(domain.gp_seq_needed_exp) is expedited
    assert domain.gp_seq_needed


async def test_an_update_may_wait_behind_the_grace_period_of_a_bus(
    pool: TaskPool,
) -> None:
    text = SLOTS + writer('{ call = "register-device" }', region(1, 0x8000))
    told = (GracePeriodStarted, SynchronizeBegan, GracePeriodEnded, SynchronizeEnded)
    orders = set()
    for seed in range(20):
        _, records = await run(pool, text, seed)
        kinds = [type(each.event) for each in records if isinstance(each.event, told)]
        orders.add(tuple(kinds))
    begun, asked, ended, done = told
    assert orders == {
        (begun, asked, ended, begun, ended, done),
        (begun, ended, asked, begun, ended, done),
    }


async def test_a_vm_waits_for_the_grace_period_of_a_bus_when_it_is_destroyed(
    pool: TaskPool,
) -> None:
    calls = ('{ call = "register-device" }', '{ call = "destroy-vm" }')
    for seed in range(20):
        _, records = await run(pool, SLOTS + writer(*calls), seed)
        kinds = [type(record.event) for record in records]
        assert kinds.index(CallbackInvoked) < kinds.index(VmDestroyed)


async def test_the_vmm_writes_to_its_own_memory(pool: TaskPool) -> None:
    call = f'{{ call = "write-memory", hva = {HVA}, value = 7, pages = 2 }}'
    machine, _ = await run(pool, SLOTS + writer(call))
    pages = [machine.host._page(Hva(HVA + place * PAGE_SIZE)) for place in range(3)]
    assert [page.value for page in pages] == [7, 7, 0]


async def test_rings_can_be_reset_where_there_are_none(pool: TaskPool) -> None:
    call = '{ call = "reset-dirty-rings", expect = "EINVAL" }'
    _, records = await run(pool, SLOTS + VCPUS + writer(call))
    compared = [r.event for r in records if isinstance(r.event, ResultCompared)]
    assert [event.result == event.expected for event in compared] == [True]


async def test_user_space_may_make_entries_of_a_ring_up(pool: TaskPool) -> None:
    call = '{ call = "reset-dirty-rings", forged = [3, 1000] }'
    ring = '[mmu]\ndirty_mode = "ring"\n'
    _, records = await run(pool, SLOTS + ring + VCPUS + writer(call))
    reset = [r.event for r in records if isinstance(r.event, DirtyRingReset)]
    forged = [each for each in reset if each.offset in {3, 1000}]
    assert len(forged) == 4


async def test_a_call_may_name_a_guest_memfd(pool: TaskPool) -> None:
    backed = ', flags = ["guest-memfd"], guest_memfd = 1, expect = "ok"'
    text = SLOTS.replace("[[slots]]", "guest_memfds = [0x1000, 0x2000]\n[[slots]]")
    text += writer(region(1, 0x8000, size=0x2000, more=backed))
    machine, records = await run(pool, text)
    (event,) = [r.event for r in records if isinstance(r.event, ResultCompared)]
    assert event.result == 0
    bindings = {fd: file.bindings for fd, file in machine.vm.guest_memfds.items()}
    assert bindings == {0: [], 1: [(0, 0x2000)]}


async def test_readers_share_a_cache_and_may_read_from_a_hole(pool: TaskPool) -> None:
    first = '{ kind = "pfn-cache-read", gpa = 0x1000 }'
    later = '{ kind = "pfn-cache-try-read", gpa = 0x1000 }'
    hole = '{ kind = "cmma-read", gpa = 0x9000 }'
    text = f'[[readers]]\nname = "a"\naccesses = [{later}, {first}, {later}, {hole}]\n'
    _, records = await run(pool, SLOTS + text)
    copied = [r.event for r in records if isinstance(r.event, GuestMemoryCopied)]
    assert [(each.through, each.gpa) for each in copied] == [
        ("pfn-cache", 0x1000),
        ("pfn-cache", 0x1000),
        ("slot", 0),
    ]


# How often, and of how many ids.


def test_a_call_is_made_as_often_as_it_says() -> None:
    calls = writer(
        region(1, 0x8000, more=", count = 2, repeat = 2"),
        '{ call = "reset-dirty-rings", repeat = 3 }',
    )
    scenario = parse_scenario(f"{SLOTS}{calls}repeat = 2", "calls")
    (made,) = Work.of(scenario).calls.values()
    ids = [each.what.slot if isinstance(each.what, Region) else "-" for each in made]
    assert ids == [1, 2, 1, 2, "-", "-", "-"] * 2
    assert [each.place for each in made] == list(range(14))
    assert sum(call.total for call in scenario.writers[0].calls) == 7


async def test_ids_end_where_the_scenario_says(pool: TaskPool) -> None:
    calls = writer(
        region(3, 0x8000, more=', expect = "ok"'),
        region(4, 0x9000, more=', expect = "EINVAL"'),
    )
    limited = f"user_mem_slots = 4\n{SLOTS}"
    _, records = await run(pool, limited + calls)
    compared = [r.event for r in records if isinstance(r.event, ResultCompared)]
    assert [event.result == event.expected for event in compared] == [True, True]
    with pytest.raises(InputError, match=r"slots\[0\]: slot id must be below 4, got 4"):
        parse_scenario(limited.replace("slot = 0\n", "count = 5\nslot = 0\n"), "calls")


@pytest.mark.parametrize(
    ("second", "error"),
    [
        (
            "slot = 3\nguest_phys_addr = 0x8000",
            r"slots\[1\]\.slot: 3 is slots\[0\], too",
        ),
        (
            "slot = 8\nguest_phys_addr = 0x7000",
            r"slots\[1\]: guest range 0x7000..0x8000 overlaps slots\[0\] at 0x4000",
        ),
    ],
)
def test_none_of_several_slots_may_meet_another(second: str, error: str) -> None:
    text = f"""
schema = 1
name = "side by side"
[[slots]]
slot = 0
count = 4
guest_phys_addr = 0x4000
memory_size = 0x1000
userspace_addr = {HVA}
[[slots]]
{second}
memory_size = 0x1000
userspace_addr = {HVA}
"""
    with pytest.raises(InputError, match=error):
        parse_scenario(text, "calls")


# What the guest may see.


async def test_what_a_guest_may_see_is_told_before_anybody_runs(pool: TaskPool) -> None:
    said = VCPUS + VCPUS.replace("times", "may_read = [0, 2]\nmmio = false\ntimes")
    _, records = await run(pool, SLOTS + said)
    assert [
        (r.step, r.event.vcpu, r.event.may_read, r.event.mmio)
        for r in records
        if isinstance(r.event, GuestExpected)
    ] == [(0, 2, (0, 2), False), (0, 3, (0, 2), False)]
