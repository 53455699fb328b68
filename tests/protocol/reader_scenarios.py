"""Scenarios in which a broken reader, or who serves readers, shows soon."""

from __future__ import annotations

from scenarios.scenario import Scenario
from scenarios.scenario_file import parse_scenario
from tests.support.authoring import HOST, PAGE, Table, document

PLUGGED_GPA = 0x10000
LOG = ["log-dirty-pages"]


def hva(slot: int) -> int:
    """Where the host has the memory of a slot; each id of a space has its own."""
    return HOST + (slot & 0xFFFF) * 0x100000


def memory(slot: int, gpa: int, size: int = PAGE, **more: object) -> Table:
    """A slot: ``size`` bytes at ``gpa``."""
    place = {"slot": slot, "guest_phys_addr": gpa, "memory_size": size}
    return {**place, "userspace_addr": hva(slot), **more}


def change(slot: int, gpa: int, size: int = PAGE, **more: object) -> Table:
    """A call that makes, moves or (``size`` 0) deletes a slot, and may."""
    return memory(slot, gpa, size, expect="ok", **more)


def writer(name: str, repeat: int, *calls: Table) -> list[Table]:
    """One thread that makes these calls over and over."""
    return [{"name": name, "repeat": repeat, "calls": [*calls]}]


def plugs(repeat: int, slot: int = 1) -> list[Table]:
    """One thread with whom a slot of one page comes and goes."""
    calls = change(slot, PLUGGED_GPA), change(slot, PLUGGED_GPA, 0)
    return writer("hotplug", repeat, *calls)


def call(kind: str, **more: object) -> Table:
    """A call that is not about a region."""
    return {"call": kind, **more}


def access(kind: str, gpa: int, pages: int = 1) -> Table:
    """What a guest does."""
    return {"kind": kind, "gpa": gpa, "pages": pages}


def vcpus(count: int, *accesses: Table, **more: object) -> list[Table]:
    """vCPUs that make these accesses until the writers return."""
    endless = {"count": count, "times": 8, "until_writers_return": True}
    return [{**endless, "accesses": [*accesses], **more}]


def notifier(repeat: int, **changes: int) -> list[Table]:
    """A host that does this to the memory of slots, over and over."""
    actions = [{"action": action, "hva": hva(of)} for action, of in changes.items()]
    return [{"name": "ksm", "repeat": repeat, "changes": actions}]


# A slot in use is moved, then deleted; another is there all the time.
MOVED: Table = {
    "slots": [memory(0, 0)],
    "writers": writer(
        "hotplug",
        2,
        change(1, PLUGGED_GPA),
        change(1, PLUGGED_GPA + PAGE),
        change(1, PLUGGED_GPA + PAGE, 0),
    ),
    "vcpus": vcpus(
        2,
        access("write", PLUGGED_GPA),
        access("write", 0),
        access("read", PLUGGED_GPA + PAGE),
    ),
}

# The flags of a slot change, so that it becomes another object, before it is moved.
LOGGED_AND_MOVED: Table = {
    "mmu": {"zap": "slot"},
    "slots": [memory(0, 0)],
    "writers": writer(
        "hotplug", 2, change(0, 0, flags=LOG), change(0, PAGE), change(0, 0)
    ),
    "vcpus": vcpus(1, access("read", 0), access("read", PAGE)),
}

# The host takes away a page of one slot while another slot comes and goes: whoever
# faults on the first may meet the flush of the second.
UNMAPPED_BESIDE: Table = {
    "slots": [memory(0, 0)],
    "writers": plugs(4),
    "vcpus": vcpus(2, access("write", 0)),
    "notifiers": notifier(12, replace=0),
}

# Page tables of a nested guest may take so little that every other fault reclaims some.
# When the guest has stopped its memory is taken away.
NESTED: Table = {
    "mmu": {"max_pages": 2},
    "slots": [memory(0, 0, 4 * PAGE)],
    "writers": writer("vmm", 1, call("stop-vcpus"), change(0, 0, 0)),
    "vcpus": vcpus(1, access("write", 0, pages=4), nested=True),
}

# KVM itself zaps a range; two slots make it pause in between.
ZAPPED_RANGE: Table = {
    "slots": [memory(0, 0), memory(1, PAGE)],
    "writers": writer(
        "mtrr", 4, call("zap-gfn-range", start=0, end=2 * PAGE, expect="ok")
    ),
    "vcpus": vcpus(2, access("read", 0, pages=2)),
}

# A slot comes into a hole that the guest takes for a device, and goes.
HOLE: Table = {
    "writers": plugs(3),
    "vcpus": vcpus(2, access("read", PLUGGED_GPA)),
}

# The same in both address spaces, each with a hole of its own.
HOLES_OF_TWO_SPACES: Table = {
    "address_spaces": 2,
    "writers": plugs(3, 0x10001),
    "vcpus": vcpus(1, access("read", PLUGGED_GPA), address_space=1),
}

# Invalidations of a page whose slot comes and goes.
RENOTIFIED: Table = {"writers": plugs(2), "notifiers": notifier(6, unmap=1)}

GET = call("get-dirty-log", slot=0, expect="ok")
CLEAR = call("clear-dirty-log", slot=0, expect="ok")
RESET = call("reset-dirty-rings")

# Logging is switched on while the guest writes.
SWITCHED_ON: Table = {
    "slots": [memory(0, 0, 2 * PAGE)],
    "writers": writer(
        "migration",
        2,
        change(0, 0, 2 * PAGE, flags=LOG),
        GET,
        change(0, 0, 2 * PAGE),
    ),
    "vcpus": vcpus(2, access("write", 0, pages=2)),
}


def wrapped(as_id: int, mmio_gen_bits: int) -> Table:
    """The generation in a page table entry wraps while the guest is elsewhere.

    Every fourth number looks the same, and what is in the hole then is not what was
    there before.
    """
    space = as_id << 16
    elsewhere = [access("read", 0)] * 50
    return {
        "address_spaces": as_id + 1,
        "mmu": {"zap": "slot", "mmio_gen_bits": mmio_gen_bits},
        "slots": [memory(space, 0)],
        "writers": plugs(8, space + 1),
        "vcpus": vcpus(1, access("read", PLUGGED_GPA), *elsewhere, address_space=as_id),
    }


def logged(dirty_mode: str, *calls: Table) -> Table:
    """The guest writes while its dirty pages are fetched by these calls."""
    return {
        "mmu": {"dirty_mode": dirty_mode},
        "slots": [memory(0, 0, 2 * PAGE, flags=LOG)],
        "writers": writer("migration", 4, *calls),
        "vcpus": vcpus(
            2,
            access("write", 0, pages=2),
            access("emulated-write", PAGE),
            times=12,
        ),
    }


TABLES: dict[str, Table] = {
    "moved": MOVED,
    "zapped-by-slot": MOVED | {"mmu": {"zap": "slot"}},
    "unmapped": MOVED | {"notifiers": notifier(3, unmap=1, replace=0)},
    "logged-and-moved": LOGGED_AND_MOVED,
    "unmapped-beside": UNMAPPED_BESIDE,
    "nested": NESTED,
    "zapped-range": ZAPPED_RANGE,
    "hole": HOLE,
    "holes-of-two-spaces": HOLES_OF_TWO_SPACES,
    "wrapped": wrapped(0, 2),
    "wrapped-in-space-1": wrapped(1, 3),
    "renotified": RENOTIFIED,
    "switched-on": SWITCHED_ON,
    "got": logged("bitmap", GET),
    "got-and-cleared": logged("manual-protect", GET, CLEAR),
    "set-and-cleared": logged("initially-set", GET, CLEAR),
    "reset": logged("ring", RESET),
}
"""What they are, by name."""


def reader_scenarios() -> dict[str, Scenario]:
    """All of them, by name."""
    return {
        name: parse_scenario(document({"schema": 1, "name": name, **table}), name)
        for name, table in TABLES.items()
    }
