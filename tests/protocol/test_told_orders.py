"""One order, told step by step, in which a broken protocol fails and the whole one not.

A random walk finds these too, but late: a vCPU must sleep through a whole update.
"""

from __future__ import annotations

import pytest

from rcu.errors import UseAfterFree
from rcu.schedule.pool import TaskPool
from rcu.schedule.report import Ending
from rcu.schedule.scheduler import Scheduler
from scenarios.machine import Machine, Parts
from scenarios.scenario_file import parse_scenario
from tests.protocol import broken_parts as broken
from tests.protocol.turns import Turn, Turns
from tests.support.running import Run, run_controlled
from vcpus.tracepoints import SlotLookedUp
from vcpus.vcpu import Vcpu
from vcpus.vcpu_requests import Mode

LOG_ON_AND_OFF = """
schema = 1
name = "log-on-and-off"
[[slots]]
slot = 0
guest_phys_addr = 0x0
memory_size = 0x1000
userspace_addr = 0x7f0000000000
[[writers]]
name = "migration"
calls = [
  { slot = 0, guest_phys_addr = 0x0, memory_size = 0x1000, \
userspace_addr = 0x7f0000000000, flags = ["log-dirty-pages"] },
  { slot = 0, guest_phys_addr = 0x0, memory_size = 0x1000, \
userspace_addr = 0x7f0000000000 },
]
[[vcpus]]
times = 2
accesses = [{ kind = "emulated-read", gpa = 0x0 }]
"""

WRITER = ("migration", "kvm->srcu-gp")


async def sleep_through_an_update(pool: TaskPool, parts: Parts) -> Run[Machine]:
    """A vCPU that looks up a slot, sleeps until its set is published again, and looks.

    The slot was replaced meanwhile, and the one that the vCPU found has been freed.
    """
    scenario = parse_scenario(LOG_ON_AND_OFF, "log-on-and-off")
    turns = Turns()

    def build(scheduler: Scheduler) -> Machine:
        machine = Machine(scenario, scheduler, parts=parts)
        vm, (vcpu,) = machine.vm, machine.vcpus
        first, second = vm.sets[0]
        turns.left += [
            Turn(("vcpu0",), lambda: vcpu.made == 1 and is_outside(vcpu)),
            Turn(WRITER, lambda: vm.active(0).peek() is second),
            Turn(WRITER, lambda: vm.active(0).peek() is first),
            Turn(("vcpu0",), lambda: scheduler.tasks[1].finished),
        ]
        return machine

    return await run_controlled(pool, turns, build, cpus=2)


def is_outside(vcpu: Vcpu) -> bool:
    """Whether nobody waits for a vCPU: it is neither in the guest nor in a section."""
    return vcpu.mode is Mode.OUTSIDE_GUEST_MODE and vcpu.srcu_idx is None


def lookups(run: Run[Machine]) -> list[tuple[int | None, str, int]]:
    """Generation, where it was found, serial of what was found."""
    return [
        (event.generation, event.found_in, event.slot.serial)
        for _, _, event in run.records
        if isinstance(event, SlotLookedUp) and event.slot is not None
    ]


async def test_a_generation_that_comes_back_leads_to_a_freed_slot(
    pool: TaskPool,
) -> None:
    parts = Parts(update=broken.ForgetsTheMark)
    run = await sleep_through_an_update(pool, parts)
    assert lookups(run) == [(1, "tree", 1)]
    assert run.report.ending is Ending.FAILED
    assert (run.report.failed, type(run.report.error)) == ("vcpu0", UseAfterFree)
    text = "base_gfn of slot 0 #1 of address space 0 (freed by migration in step "
    assert str(run.report.error).startswith(text)


async def test_a_generation_that_is_marked_leads_to_the_new_slot(
    pool: TaskPool,
) -> None:
    run = await sleep_through_an_update(pool, Parts())
    assert run.report.ending is Ending.COMPLETED
    assert lookups(run) == [(1, "tree", 1), (1 << 63 | 2, "tree", 3)]


@pytest.mark.parametrize("parts", [Parts(), Parts(update=broken.ForgetsTheMark)])
async def test_a_told_order_is_the_same_each_time(pool: TaskPool, parts: Parts) -> None:
    first = await sleep_through_an_update(pool, parts)
    second = await sleep_through_an_update(pool, parts)
    assert second.told == first.told
