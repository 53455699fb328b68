"""A scenario file says what it means, or its error names the place in the file."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memslots.allocator import Allocation
from memslots.region import Region
from memslots.slot import LOG_DIRTY_PAGES, READONLY
from memslots.units import Gpa, Hva
from scenarios.calls import (
    CALLS,
    AgePageSpec,
    ClearDirtyLogSpec,
    DestroyVmSpec,
    Flag,
    GetDirtyLogSpec,
    PauseVcpusSpec,
    RegionCallSpec,
    RegisterDeviceSpec,
    ResetDirtyRingsSpec,
    ResumeVcpusSpec,
    SlotsSpec,
    StopVcpusSpec,
    UnregisterDevicesSpec,
    WriteMemorySpec,
    ZapGfnRangeSpec,
)
from scenarios.catalogue.entries import entries
from scenarios.checkers.judge import CHECKERS
from scenarios.errors import InputError
from scenarios.scenario import (
    AccessSpec,
    AllocatorSpec,
    DirtyMode,
    HostAction,
    HostSpec,
    MmuSpec,
    NotifierSpec,
    ReaderSpec,
    ReadKind,
    ReadSpec,
    Scenario,
    VcpuSpec,
    WriterSpec,
    Zap,
)
from scenarios.scenario_file import MAX_BYTES, parse_scenario, read_scenario
from tests.support.authoring import document
from vcpus.lookup import Granularity
from vcpus.vcpu import AccessKind

Table = dict[str, Any]

CALL: Table = {
    "slot": 2,
    "guest_phys_addr": 0x9000,
    "memory_size": 0x1000,
    "userspace_addr": 0x7F00_0020_0000,
    "flags": ["log-dirty-pages"],
    "count": 3,
    "repeat": 2,
    "fail": "dirty-bitmap",
    "guest_memfd": 1,
    "expect": "ENOMEM",
}
NO_BUS: Table = {"call": "unregister-devices", "fail": True}
OTHER_CALLS: list[Table] = [
    {"call": "get-dirty-log", "slot": 1, "expect": "ok"},
    {"call": "clear-dirty-log", "slot": 1, "first_page": 64, "num_pages": 7},
    {"call": "reset-dirty-rings", "forged": [3, 4], "expect": "EINVAL"},
    {"call": "zap-gfn-range", "start": 0, "end": 0x100000},
    {"call": "register-device", "expedited": True},
    {"call": "write-memory", "hva": 0x7F00_0000_0000, "value": 9, "pages": 2},
    {"call": "age-page", "hva": 0x7F00_0000_0000},
    {"call": "pause-vcpus"},
    {"call": "resume-vcpus"},
    {"call": "stop-vcpus"},
    {"call": "destroy-vm"},
]
WHOLE: Table = {
    "schema": 1,
    "name": "whole",
    "description": "Everything that a file may say.",
    "family": "test",
    "address_spaces": 2,
    "cpus": 4,
    "user_mem_slots": 509,
    "granularity": "node",
    "budget": 5_000,
    "must_exercise": ["lock-order", "deadlock"],
    "may_exercise": ["freed-once"],
    "internal_slots": True,
    "guest_memfds": [0x1000, 0x2000],
    "devices": 2,
    "mmu": {
        "zap": "slot",
        "mmio_gen_bits": 3,
        "max_pages": 4,
        "accessed_bits": False,
        "dirty_mode": "manual-protect",
        "dirty_ring_entries": 512,
    },
    "slots": [
        {
            "slot": 0,
            "guest_phys_addr": 0x0,
            "memory_size": 0x2000,
            "userspace_addr": 0x7F00_0000_0000,
            "count": 2,
        },
        {
            "slot": 0x10001,
            "guest_phys_addr": 0x1000,
            "memory_size": 0x1000,
            "userspace_addr": 0x7F00_0010_0000,
            "flags": ["readonly", "log-dirty-pages"],
        },
    ],
    "writers": [
        {"name": "w", "repeat": 3, "calls": [CALL, NO_BUS]},
        {"name": "v", "calls": OTHER_CALLS},
    ],
    "vcpus": [
        {
            "count": 2,
            "times": 5,
            "until_writers_return": True,
            "address_space": 1,
            "nested": True,
            "may_read": [0, 7],
            "mmio": False,
            "accesses": [
                {
                    "kind": "emulated-write",
                    "gpa": 0x1000,
                    "length": 16,
                    "value": 7,
                    "pages": 2,
                },
                {"kind": "halt"},
            ],
        }
    ],
    "readers": [
        {
            "name": "r",
            "repeat": 2,
            "accesses": [
                {"gpa": 0},
                {"gpa": 8, "kind": "pfn-cache-write", "length": 4, "value": 5},
            ],
        }
    ],
    "notifiers": [
        {
            "name": "n",
            "repeat": 2,
            "changes": [
                {"action": "begin", "hva": 0x7F00_0000_0000},
                {
                    "action": "unmap",
                    "hva": 0x7F00_0000_0000,
                    "size": 0x2000,
                    "step": 0x1000,
                },
                {"action": "end", "hva": 0x7F00_0000_0000},
            ],
        }
    ],
    "allocators": [{"name": "a"}],
}


def with_value(path: tuple[str | int, ...], value: Any, table: Any = WHOLE) -> Any:
    """The table with another value at ``path``."""
    if not path:
        return value
    step, *rest = path
    copy: Any = list(table) if isinstance(table, list) else dict(table)
    copy[step] = with_value(tuple(rest), value, copy[step] if rest else None)
    return copy


def without(path: tuple[str | int, ...]) -> Table:
    """The table without the key at ``path``."""
    *outer, key = path
    inner: Any = WHOLE
    for step in outer:
        inner = inner[step]
    rest = {name: value for name, value in inner.items() if name != key}
    made: Table = with_value(tuple(outer), rest)
    return made


def error_of(table: Table) -> str:
    """What the parser says of it, without the file's name."""
    with pytest.raises(InputError) as raised:
        parse_scenario(document(table), "file.toml")
    place, _, text = str(raised.value).partition("file.toml: ")
    assert place == ""
    return text


def test_a_whole_file_means_what_it_says() -> None:
    call = RegionCallSpec(
        slot=2,
        guest_phys_addr=0x9000,
        memory_size=0x1000,
        userspace_addr=0x7F00_0020_0000,
        flags=(Flag.LOG_DIRTY_PAGES,),
        count=3,
        repeat=2,
        fail=Allocation.DIRTY_BITMAP,
        guest_memfd=1,
        expect="ENOMEM",
    )
    no_bus = UnregisterDevicesSpec(call="unregister-devices", fail=True)
    hva = 0x7F00_0000_0000
    others = (
        GetDirtyLogSpec(call="get-dirty-log", slot=1, expect="ok"),
        ClearDirtyLogSpec(call="clear-dirty-log", slot=1, first_page=64, num_pages=7),
        ResetDirtyRingsSpec(call="reset-dirty-rings", forged=(3, 4), expect="EINVAL"),
        ZapGfnRangeSpec(call="zap-gfn-range", start=0, end=0x100000),
        RegisterDeviceSpec(call="register-device", expedited=True),
        WriteMemorySpec(call="write-memory", hva=hva, value=9, pages=2),
        AgePageSpec(call="age-page", hva=hva),
        PauseVcpusSpec(call="pause-vcpus"),
        ResumeVcpusSpec(call="resume-vcpus"),
        StopVcpusSpec(call="stop-vcpus"),
        DestroyVmSpec(call="destroy-vm"),
    )
    accesses = (
        AccessSpec(
            kind=AccessKind.EMULATED_WRITE, gpa=0x1000, length=16, value=7, pages=2
        ),
        AccessSpec(kind=AccessKind.HALT),
    )
    assert parse_scenario(document(WHOLE), "file.toml") == Scenario(
        schema=1,
        name="whole",
        description="Everything that a file may say.",
        family="test",
        address_spaces=2,
        cpus=4,
        user_mem_slots=509,
        granularity=Granularity.NODE,
        budget=5_000,
        must_exercise=("lock-order", "deadlock"),
        may_exercise=("freed-once",),
        internal_slots=True,
        guest_memfds=(0x1000, 0x2000),
        devices=2,
        mmu=MmuSpec(
            zap=Zap.SLOT,
            mmio_gen_bits=3,
            max_pages=4,
            accessed_bits=False,
            dirty_mode=DirtyMode.MANUAL_PROTECT,
            dirty_ring_entries=512,
        ),
        slots=(
            SlotsSpec(
                slot=0,
                guest_phys_addr=0,
                memory_size=0x2000,
                userspace_addr=hva,
                count=2,
            ),
            SlotsSpec(
                slot=0x10001,
                guest_phys_addr=0x1000,
                memory_size=0x1000,
                userspace_addr=0x7F00_0010_0000,
                flags=(Flag.READONLY, Flag.LOG_DIRTY_PAGES),
            ),
        ),
        writers=(
            WriterSpec(name="w", repeat=3, calls=(call, no_bus)),
            WriterSpec(name="v", calls=others),
        ),
        vcpus=(
            VcpuSpec(
                count=2,
                times=5,
                until_writers_return=True,
                address_space=1,
                nested=True,
                may_read=(0, 7),
                mmio=False,
                accesses=accesses,
            ),
        ),
        readers=(
            ReaderSpec(
                name="r",
                repeat=2,
                accesses=(
                    ReadSpec(gpa=0),
                    ReadSpec(gpa=8, kind=ReadKind.PFN_CACHE_WRITE, length=4, value=5),
                ),
            ),
        ),
        notifiers=(
            NotifierSpec(
                name="n",
                repeat=2,
                changes=(
                    HostSpec(action=HostAction.BEGIN, hva=hva),
                    HostSpec(
                        action=HostAction.UNMAP, hva=hva, size=0x2000, step=0x1000
                    ),
                    HostSpec(action=HostAction.END, hva=hva),
                ),
            ),
        ),
        allocators=(AllocatorSpec(name="a"),),
    )


def test_every_kind_of_call_is_in_the_whole_file() -> None:
    scenario = parse_scenario(document(WHOLE), "file.toml")
    used = {type(call) for writer in scenario.writers for call in writer.calls}
    assert used == set(CALLS)


def test_slots_side_by_side_go_on_without_a_gap() -> None:
    call, _ = parse_scenario(document(WHOLE), "file.toml").writers[0].calls
    assert isinstance(call, RegionCallSpec)
    assert [
        (each.slot, each.guest_phys_addr, each.userspace_addr) for each in call.regions
    ] == [
        (2, 0x9000, 0x7F00_0020_0000),
        (3, 0xA000, 0x7F00_0020_1000),
        (4, 0xB000, 0x7F00_0020_2000),
    ]
    assert call.last_region == call.regions[-1]
    assert call.total == 6
    assert call.expected == -errno.ENOMEM


def test_a_slot_becomes_the_request_that_makes_it() -> None:
    slot = parse_scenario(document(WHOLE), "file.toml").slots[1]
    assert slot.region == Region(
        slot=0x10001,
        flags=READONLY | LOG_DIRTY_PAGES,
        guest_phys_addr=Gpa(0x1000),
        memory_size=0x1000,
        userspace_addr=Hva(0x7F00_0010_0000),
    )


def test_a_flag_that_is_named_twice_is_one_flag() -> None:
    twice = with_value(("slots", 0, "flags"), ["readonly", "readonly"])
    slots = parse_scenario(document(twice), "file.toml").slots
    assert slots[0].region.flags == READONLY


def test_only_schema_and_name_are_needed() -> None:
    table = {"schema": 1, "name": "x"}
    scenario = parse_scenario(document(table), "file.toml")
    assert scenario == Scenario(schema=1, name="x")


@pytest.mark.parametrize("count", range(6))
def test_vcpus_are_shared_out_in_turn(count: int) -> None:
    one = VcpuSpec(accesses=(AccessSpec(kind=AccessKind.READ),))
    scenario = Scenario(schema=1, name="x", vcpus=(one, one))
    shared = scenario.with_vcpus(count)
    assert shared.vcpu_count == count
    assert [spec.count for spec in shared.vcpus] == [(count + 1) // 2, count // 2]
    none = attrs.evolve(scenario, vcpus=())
    assert none.with_vcpus(count) is none


U64 = 1 << 64
SLOT_0 = ("slots", 0)
CALL_0 = ("writers", 0, "calls", 0)
OTHERS = ("writers", 1, "calls")
ACCESS_0 = ("vcpus", 0, "accesses", 0)
CHANGE_1 = ("notifiers", 0, "changes", 1)
NAME_TAKEN = "is the name of a task that every scenario may have; choose another"


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        # Another version, and what the fields of the file itself cannot be.
        (("schema",), 2, "schema: must be 1, got 2"),
        (("schema",), "1", "schema: must be 1, got '1'"),
        (("schema",), True, "schema: must be 1, got True"),
        (("schema",), 1.0, "schema: must be 1, got 1.0"),
        (("name",), 5, "name: must be a string, got 5"),
        (("name",), "", "Length of 'name' must be >= 1: 0"),
        (("description",), ["x"], "description: must be a string, got ['x']"),
        (("address_spaces",), 3, "'address_spaces' must be in (1, 2) (got 3)"),
        (("cpus",), 0, "'cpus' must be >= 1: 0"),
        (("cpus",), 65, "'cpus' must be <= 64: 65"),
        (("cpus",), "2", "cpus: must be a whole number, got '2'"),
        (("cpus",), 2.5, "cpus: must be a whole number, got 2.5"),
        (("cpus",), True, "cpus: must be a whole number, got True"),
        (
            ("granularity",),
            "nodes",
            "granularity: 'nodes' is not a valid Granularity; known are operation, no",
        ),
        (("budget",), 0, "'budget' must be >= 1: 0"),
        (("must_exercise",), "lock-order", "must_exercise: must be an array, got"),
        (("must_exercise", 1), 5, "must_exercise[1]: must be a string, got 5"),
        (("must_exercise", 1), "lock", "must_exercise[1]: 'lock' is no checker; there"),
        # Slots.
        (("slots",), 5, "slots: must be an array, got 5"),
        (("slots",), {"slot": 1}, "slots: must be an array, got {'slot': 1}"),
        (SLOT_0, 5, "slots[0]: must be a table, got 5"),
        (SLOT_0, "slot", "slots[0]: must be a table, got 'slot'"),
        (SLOT_0, [], "slots[0]: must be a table, got []"),
        (
            (*SLOT_0, "colour"),
            1,
            (
                "slots[0]: unknown key 'colour'; known are count, flags,"
                " guest_phys_addr, memory_size, slot, userspace_addr"
            ),
        ),
        ((*SLOT_0, "slot"), -1, "slots[0]: 'slot' must be >= 0: -1"),
        ((*SLOT_0, "slot"), 1 << 32, "slots[0]: 'slot' must be <= 4294967295: "),
        ((*SLOT_0, "slot"), 0x20000, "slots[0]: address space must be below 2, got 2"),
        ((*SLOT_0, "slot"), 32764, "slots[0]: slot id must be below 509, got 32764"),
        ((*SLOT_0, "slot"), 0x10001, "slots[1].slot: 65537 is slots[0], too"),
        (
            (*SLOT_0, "memory_size"),
            -4096,
            "slots[0]: 'memory_size' must be >= 0: -4096",
        ),
        ((*SLOT_0, "memory_size"), 0, "slots[0].memory_size: must be more than 0"),
        ((*SLOT_0, "memory_size"), 100, "slots[0]: memory_size must be whole pages"),
        ((*SLOT_0, "memory_size"), U64, "slots[0]: 'memory_size' must be <= "),
        ((*SLOT_0, "guest_phys_addr"), 1, "slots[0]: guest_phys_addr must be page "),
        (
            (*SLOT_0, "guest_phys_addr"),
            U64 - 4096,
            "slots[0]: the range ends at 0x10000000000001000, behind the last",
        ),
        ((*SLOT_0, "userspace_addr"), 1, "slots[0]: userspace_addr must be page align"),
        ((*SLOT_0, "userspace_addr"), 1 << 60, "slots[0]: userspace_addr must be page"),
        ((*SLOT_0, "flags"), "readonly", "slots[0].flags: must be an array, got"),
        (
            (*SLOT_0, "flags"),
            ["read-only"],
            (
                "slots[0].flags[0]: 'read-only' is not a valid Flag; known are"
                " log-dirty-pages, readonly, guest-memfd"
            ),
        ),
        # Writers and their calls; a call may be one that KVM refuses.
        (("writers", 0, "name"), "", "writers[0]: Length of 'name' must be >= 1: 0"),
        (("writers", 0, "calls"), [], "writers[0]: Length of 'calls' must be >= 1: 0"),
        (("writers", 0, "repeat"), 0, "writers[0]: 'repeat' must be >= 1: 0"),
        ((*CALL_0, "gpa"), 1, "writers[0].calls[0]: unknown key 'gpa'; known are call"),
        (
            (*CALL_0, "expect"),
            "EFOO",
            (
                "writers[0].calls[0]: 'expect' must be ok or the name of an errno, got"
                " 'EFOO'"
            ),
        ),
        ((*CALL_0, "expect"), -17, "writers[0].calls[0].expect: must be a string, got"),
        ((*CALL_0, "slot"), "2", "writers[0].calls[0].slot: must be a whole number, "),
        ((*CALL_0, "count"), 0, "writers[0].calls[0]: 'count' must be >= 1: 0"),
        ((*CALL_0, "count"), 32765, "writers[0].calls[0]: 'count' must be <= 32764: "),
        ((*CALL_0, "repeat"), 0, "writers[0].calls[0]: 'repeat' must be >= 1: 0"),
        (
            (*CALL_0, "fail"),
            "page",
            (
                "writers[0].calls[0].fail: 'page' is not a valid Allocation; known are"
                " slot, invalid-slot, dirty-bitmap, rmap, lpage-info, gfn-track"
            ),
        ),
        (
            (*CALL_0, "slot"),
            (1 << 32) - 2,
            (
                "writers[0].calls[0].count: slot of the last slot would be 0x100000000,"
                " behind 0xffffffff"
            ),
        ),
        (
            (*CALL_0, "guest_phys_addr"),
            U64 - 0x1000,
            (
                "writers[0].calls[0].count: guest_phys_addr of the last slot would be"
                " 0x10000000000001000, behind 0xffffffffffffffff"
            ),
        ),
        (
            (*CALL_0, "userspace_addr"),
            U64 - 0x2000,
            "writers[0].calls[0].count: userspace_addr of the last slot would be 0x1",
        ),
        # Other calls.
        (
            (*OTHERS, 0, "call"),
            "get-dirty",
            (
                "writers[1].calls[0]: 'call' must be one of set-memory-region,"
                " get-dirty-log, clear-dirty-log, reset-dirty-rings, zap-gfn-range,"
                " register-device, unregister-devices, write-memory, age-page,"
                " pause-vcpus, resume-vcpus, stop-vcpus, destroy-vm, got 'get-dirty'"
            ),
        ),
        ((*OTHERS, 0, "call"), 5, "writers[1].calls[0]: 'call' must be one of set-mem"),
        ((*OTHERS, 0, "call"), ["x"], "writers[1].calls[0]: 'call' must be one of set"),
        ((*OTHERS, 0, "flags"), [], "writers[1].calls[0]: unknown key 'flags'; known "),
        ((*OTHERS, 0, "slot"), 1 << 32, "writers[1].calls[0]: 'slot' must be <= 42949"),
        ((*OTHERS, 0, "expect"), "no", "writers[1].calls[0]: 'expect' must be ok or t"),
        ((*OTHERS, 1, "first_page"), -1, "writers[1].calls[1]: 'first_page' must be >"),
        ((*OTHERS, 1, "num_pages"), U64, "writers[1].calls[1]: 'num_pages' must be <="),
        ((*OTHERS, 1, "num_pages"), "7", "writers[1].calls[1].num_pages: must be a wh"),
        (
            (*OTHERS, 3, "start"),
            1,
            "writers[1].calls[3].start: must be a multiple of 4096, got 0x1",
        ),
        (
            (*OTHERS, 3, "end"),
            U64 - 1,
            (
                "writers[1].calls[3].end: must be a multiple of 4096, got"
                " 0xffffffffffffffff"
            ),
        ),
        ((*OTHERS, 4, "expedited"), 1, "writers[1].calls[4].expedited: must be true o"),
        ((*OTHERS, 5, "pages"), 0, "writers[1].calls[5]: 'pages' must be >= 1: 0"),
        ((*OTHERS, 5, "value"), U64, "writers[1].calls[5]: 'value' must be <= "),
        (
            (*OTHERS, 5, "hva"),
            U64 - 1,
            (
                "writers[1].calls[5].pages: the last page would be at"
                " 0x10000000000000fff, behind 2^64"
            ),
        ),
        (
            (*OTHERS, 7),
            {"call": "stop-vcpus"},
            "writers[1].calls[8]: no call before it pauses the vCPUs",
        ),
        (
            (*OTHERS, 7, "repeat"),
            2,
            (
                "writers[1].calls[7]: the vCPUs are paused already, by"
                " writers[1].calls[7]"
            ),
        ),
        (
            (*OTHERS, 8),
            {"call": "pause-vcpus"},
            (
                "writers[1].calls[8]: the vCPUs are paused already, by"
                " writers[1].calls[7]"
            ),
        ),
        (
            (*OTHERS, 8),
            {"call": "reset-dirty-rings"},
            (
                "writers[1].calls[9]: vCPUs that writers[1].calls[7] has paused cannot"
                " end; resume them first"
            ),
        ),
        (
            ("writers", 0, "calls"),
            [{"call": "pause-vcpus"}],
            ("writers[0].calls[0]: nobody resumes the vCPUs; add resume-vcpus"),
        ),
        (
            ("writers", 0, "calls"),
            OTHER_CALLS[7:9],
            ("writers[1].calls[7]: only one writer can, and writers[0] does"),
        ),
        (
            (*OTHERS, 9),
            {"call": "destroy-vm"},
            "writers[1].calls[9]: nothing can be called of a VM that is destroyed; let",
        ),
        ((*OTHERS, 10, "repeat"), 2, "writers[1].calls[10]: nothing can be called of "),
        (("writers", 1, "repeat"), 2, "writers[1].calls[10]: nothing can be called "),
        (
            ("writers", 0),
            {"name": "w", "calls": [{"call": "destroy-vm"}]},
            "writers[1].calls[10]: the VM is destroyed by writers[0].calls[0]",
        ),
        # vCPUs, readers, allocators.
        (("vcpus", 0, "count"), -1, "vcpus[0]: 'count' must be >= 0: -1"),
        (("vcpus", 0, "times"), 0, "vcpus[0]: 'times' must be >= 1: 0"),
        (("vcpus", 0, "exits"), 5, "vcpus[0]: unknown key 'exits'; known are access"),
        (("vcpus", 0, "nested"), "yes", "vcpus[0].nested: must be true or false, got"),
        (("vcpus", 0, "may_read"), 7, "vcpus[0].may_read: must be an array, got 7"),
        (("vcpus", 0, "mmio"), 1, "vcpus[0].mmio: must be true or false, got 1"),
        (("vcpus", 0, "accesses"), [], "vcpus[0]: Length of 'accesses' must be >= 1"),
        (
            ("vcpus", 0, "until_writers_return"),
            "false",
            "vcpus[0].until_writers_return: must be true or false, got 'false'",
        ),
        (
            ("vcpus", 0, "until_writers_return"),
            1,
            "vcpus[0].until_writers_return: must be true or false, got 1",
        ),
        (
            ("vcpus", 0, "address_space"),
            2,
            "vcpus[0]: 'address_space' must be in (0, 1) (got 2)",
        ),
        (
            (*ACCESS_0, "kind"),
            "peek",
            (
                "vcpus[0].accesses[0].kind: 'peek' is not a valid AccessKind; known are"
                " read, write, emulated-read, emulated-write, prefault, migrate, halt"
            ),
        ),
        ((*ACCESS_0, "gpa"), -1, "vcpus[0].accesses[0]: 'gpa' must be >= 0: -1"),
        ((*ACCESS_0, "gpa"), U64, "vcpus[0].accesses[0]: 'gpa' must be <= "),
        ((*ACCESS_0, "length"), 0, "vcpus[0].accesses[0]: 'length' must be >= 1: 0"),
        ((*ACCESS_0, "length"), 65537, "vcpus[0].accesses[0]: 'length' must be <= "),
        ((*ACCESS_0, "value"), -1, "vcpus[0].accesses[0]: 'value' must be >= 0: -1"),
        ((*ACCESS_0, "value"), "1", "vcpus[0].accesses[0].value: must be a whole numb"),
        ((*ACCESS_0, "pages"), 0, "vcpus[0].accesses[0]: 'pages' must be >= 1: 0"),
        ((*ACCESS_0, "pages"), 1 << 21, "vcpus[0].accesses[0]: 'pages' must be <= "),
        (
            (*ACCESS_0, "gpa"),
            U64 - 4096,
            (
                "vcpus[0].accesses[0].pages: the last page would be at"
                " 0x10000000000000000, behind 2^64"
            ),
        ),
        (("readers", 0, "gpas"), [0], "readers[0]: unknown key 'gpas'; known are acce"),
        (("readers", 0, "accesses"), [], "readers[0]: Length of 'accesses' must be >="),
        (("readers", 0, "accesses"), "12", "readers[0].accesses: must be an array, go"),
        (("readers", 0, "accesses", 0), 5, "readers[0].accesses[0]: must be a table, "),
        (
            ("readers", 0, "accesses", 1, "kind"),
            "peek",
            (
                "readers[0].accesses[1].kind: 'peek' is not a valid ReadKind; known are"
                " read, write, clear, hva-cache-read, hva-cache-write, pfn-cache-read,"
                " pfn-cache-write, pfn-cache-try-read, cmma-read, device-read"
            ),
        ),
        (
            ("readers", 0, "accesses", 1, "gpa"),
            "1",
            "readers[0].accesses[1].gpa: must be a whole number, got '1'",
        ),
        (
            ("readers", 0, "accesses", 1, "value"),
            U64,
            "readers[0].accesses[1]: 'value' must be <= ",
        ),
        (
            ("readers", 0, "accesses", 1, "length"),
            0,
            "readers[0].accesses[1]: 'length' must be >= 1: 0",
        ),
        (("readers", 0, "repeat"), 0, "readers[0]: 'repeat' must be >= 1: 0"),
        # Changes of host pages.
        (("notifiers", 0, "changes"), [], "notifiers[0]: Length of 'changes' must be "),
        (("notifiers", 0, "repeat"), 0, "notifiers[0]: 'repeat' must be >= 1: 0"),
        (("notifiers", 0, "name"), "vcpu0", f"notifiers[0].name: 'vcpu0' {NAME_TAKEN}"),
        (
            ("notifiers", 0, "name"),
            "r",
            "notifiers[0].name: 'r' is the name of readers[0].name, too",
        ),
        (
            (*CHANGE_1, "action"),
            "map",
            (
                "notifiers[0].changes[1].action: 'map' is not a valid HostAction; known"
                " are unmap, replace, age, begin, end"
            ),
        ),
        ((*CHANGE_1, "hva"), -4096, "notifiers[0].changes[1]: 'hva' must be >= 0"),
        ((*CHANGE_1, "size"), 0, "notifiers[0].changes[1]: 'size' must be >= 1: 0"),
        ((*CHANGE_1, "size"), 1 << 41, "notifiers[0].changes[1]: 'size' must be <= "),
        ((*CHANGE_1, "step"), -1, "notifiers[0].changes[1]: 'step' must be >= 0: -1"),
        (
            (*CHANGE_1, "hva"),
            0x7F00_0000_0800,
            (
                "notifiers[0].changes[1].hva: must be a multiple of 4096, got"
                " 0x7f0000000800"
            ),
        ),
        (
            (*CHANGE_1, "size"),
            0x1800,
            "notifiers[0].changes[1].size: must be a multiple of 4096, got 0x1800",
        ),
        (
            (*CHANGE_1, "step"),
            1,
            "notifiers[0].changes[1].step: must be a multiple of 4096, got 0x1",
        ),
        (
            (*CHANGE_1, "hva"),
            U64 - 4096,
            "notifiers[0].changes[1].size: the range would end at 0x10000000000001000",
        ),
        (
            CHANGE_1,
            {"action": "replace", "hva": 0, "size": 0x2000},
            (
                "notifiers[0].changes[1]: replace takes one page at a time, got 0x2000"
                " bytes; set step = 0x1000"
            ),
        ),
        (
            ("notifiers", 0, "changes", 2, "hva"),
            0x1000,
            (
                "notifiers[0].changes[2]: ends what has not begun; before it must come"
                " a begin with the same hva, size and step"
            ),
        ),
        (
            ("notifiers", 0, "changes", 0, "action"),
            "age",
            "notifiers[0].changes[2]: ends what has not begun; ",
        ),
        # The MMU.
        (("mmu",), [], "mmu: must be a table, got []"),
        (("mmu", "tlb"), 1, "mmu: unknown key 'tlb'; known are accessed_bits, dirty_m"),
        (
            ("mmu", "zap"),
            "none",
            "mmu.zap: 'none' is not a valid Zap; known are all, slot",
        ),
        (("mmu", "mmio_gen_bits"), 0, "mmu: 'mmio_gen_bits' must be >= 1: 0"),
        (("mmu", "mmio_gen_bits"), 20, "mmu: 'mmio_gen_bits' must be <= 19: 20"),
        # With one page a root could map nothing: it would make room for ever.
        (("mmu", "max_pages"), 1, "mmu: 'max_pages' must be >= 2: 1"),
        (
            ("mmu", "dirty_mode"),
            "rings",
            (
                "mmu.dirty_mode: 'rings' is not a valid DirtyMode; known are bitmap,"
                " manual-protect, initially-set, ring"
            ),
        ),
        (
            ("mmu", "dirty_ring_entries"),
            300,
            "mmu: 'dirty_ring_entries' must be in (256, 512, 1024, ",
        ),
        (("internal_slots",), 1, "internal_slots: must be true or false, got 1"),
        (("user_mem_slots",), 32765, "'user_mem_slots' must be <= 32764: 32765"),
        (("user_mem_slots",), 1, "slots[0]: slot id must be below 1, got 1"),
        (("allocators", 0), "a", "allocators[0]: must be a table, got 'a'"),
        # Names.
        (("writers", 0, "name"), "main", f"writers[0].name: 'main' {NAME_TAKEN}"),
        (("writers", 0, "name"), "setup", f"writers[0].name: 'setup' {NAME_TAKEN}"),
        (("readers", 0, "name"), "vcpu7", f"readers[0].name: 'vcpu7' {NAME_TAKEN}"),
        (("allocators", 0, "name"), "x-gp", f"allocators[0].name: 'x-gp' {NAME_TAKEN}"),
        (
            ("allocators", 0, "name"),
            "w",
            "allocators[0].name: 'w' is the name of writers[0].name, too",
        ),
        # Keys that nobody knows.
        (
            ("colour",),
            1,
            "unknown key 'colour'; known are address_spaces, allocators, ",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_path(
    path: tuple[str | int, ...], value: Any, text: str
) -> None:
    assert error_of(with_value(path, value)).startswith(text)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("schema",), "schema: key 'schema' is missing"),
        (("name",), "name: key 'name' is missing"),
        ((*SLOT_0, "slot"), "slots[0].slot: key 'slot' is missing"),
        (
            (*SLOT_0, "memory_size"),
            "slots[0].memory_size: key 'memory_size' is missing",
        ),
        (("writers", 0, "calls"), "writers[0].calls: key 'calls' is missing"),
        ((*CALL_0, "slot"), "writers[0].calls[0].slot: key 'slot' is missing"),
        (("vcpus", 0, "accesses"), "vcpus[0].accesses: key 'accesses' is missing"),
        ((*ACCESS_0, "kind"), "vcpus[0].accesses[0].kind: key 'kind' is missing"),
        (("readers", 0, "accesses"), "readers[0].accesses: key 'accesses' is missing"),
        (
            ("readers", 0, "accesses", 1, "gpa"),
            "readers[0].accesses[1].gpa: key 'gpa' is missing",
        ),
        (
            (*CHANGE_1, "action"),
            "notifiers[0].changes[1].action: key 'action' is missing",
        ),
        ((*CHANGE_1, "hva"), "notifiers[0].changes[1].hva: key 'hva' is missing"),
        ((*OTHERS, 0, "slot"), "writers[1].calls[0].slot: key 'slot' is missing"),
        ((*OTHERS, 3, "end"), "writers[1].calls[3].end: key 'end' is missing"),
        ((*OTHERS, 5, "value"), "writers[1].calls[5].value: key 'value' is missing"),
        (("allocators", 0, "name"), "allocators[0].name: key 'name' is missing"),
    ],
)
def test_a_missing_key_is_named(path: tuple[str | int, ...], text: str) -> None:
    assert error_of(without(path)) == text


def test_every_problem_is_told_at_once() -> None:
    table = with_value(("cpus",), "2", with_value(("name",), 5))
    table = with_value((*SLOT_0, "slot"), "x", table)
    said = error_of(table).split("; ")
    assert [each.partition(":")[0] for each in said] == [
        "name",
        "cpus",
        "slots[0].slot",
    ]


def test_a_vcpu_needs_its_address_space() -> None:
    table = with_value(("address_spaces",), 1)
    table["slots"] = table["slots"][:1]
    text = "vcpus[0].address_space: must be below address_spaces = 1, got 1"
    assert error_of(table) == text


def test_slots_that_meet_are_both_named() -> None:
    second = {
        "slot": 2,
        "guest_phys_addr": 0x3000,
        "memory_size": 0x2000,
        "userspace_addr": 0,
    }
    table = with_value(("slots",), [*WHOLE["slots"], second])
    text = "slots[2]: guest range 0x3000..0x5000 overlaps slots[0] at 0x0..0x4000"
    assert error_of(table) == text
    beside = with_value(("slots", 2, "guest_phys_addr"), 0x4000, table)
    assert len(parse_scenario(document(beside), "file.toml").slots) == 3
    elsewhere = with_value(("slots", 2, "slot"), 0x10000, table)
    assert len(parse_scenario(document(elsewhere), "file.toml").slots) == 3


def test_a_slot_whose_pages_are_initially_set_is_not_too_large() -> None:
    table = with_value(("mmu", "dirty_mode"), "initially-set")
    large = with_value((*CALL_0, "memory_size"), (64 << 30) + 4096, table)
    text = (
        "writers[0].calls[0].memory_size: a slot that is logged has at most"
        " 0x1000000000 bytes if its pages are initially set, got 0x1000001000"
    )
    assert error_of(large) == text
    largest = with_value((*CALL_0, "memory_size"), 64 << 30, table)
    unlogged = with_value((*CALL_0, "flags"), [], large)
    otherwise = with_value((*CALL_0, "memory_size"), (64 << 30) + 4096)
    for each in (largest, unlogged, otherwise):
        parse_scenario(document(each), "file.toml")


@pytest.mark.parametrize("kind", list(ReadKind))
def test_who_is_no_vcpu_cannot_write_where_there_are_rings(kind: ReadKind) -> None:
    table = with_value(("readers", 0, "accesses", 1, "kind"), kind.value)
    parse_scenario(document(table), "file.toml")
    ring = with_value(("mmu", "dirty_mode"), "ring", table)
    if kind.value.endswith("read"):
        parse_scenario(document(ring), "file.toml")
    else:
        assert error_of(ring) == (
            f"readers[0].accesses[1].kind: {kind.value} needs the dirty ring of a vCPU;"
            " let a vCPU make an emulated-write, or choose another dirty_mode"
        )


def test_a_change_that_begins_may_be_left_to_the_end_of_the_vm() -> None:
    begins = [{"action": "begin", "hva": 0}] * 2
    changes = [*begins, {"action": "end", "hva": 0}]
    parse_scenario(document(with_value(("notifiers", 0, "changes"), changes)), "x")
    twice = with_value(("notifiers", 0, "changes"), [*changes, *changes[2:] * 2])
    assert error_of(twice).startswith("notifiers[0].changes[4]: ends what has not beg")


def test_two_names_that_are_the_same_are_refused() -> None:
    table = with_value(("writers",), WHOLE["writers"][:1] * 2)
    text = "writers[1].name: 'w' is the name of writers[0].name, too"
    assert error_of(table) == text


@pytest.mark.parametrize("id_", sorted(CHECKERS))
def test_every_checker_may_be_asked_for(id_: str) -> None:
    table = with_value(("must_exercise",), [id_])
    assert parse_scenario(document(table), "file.toml").must_exercise == (id_,)


@pytest.mark.parametrize(
    "text",
    [
        "schema = ",
        "schema = 1\nschema = 1\n",
        "[[slots]]\n[slots]\n",
        "x = 2021-02-30",
        f"x = {'1' * 5_000}",
        '"a = 1',
    ],
)
def test_what_is_no_toml_is_said_to_be_none(text: str) -> None:
    with pytest.raises(InputError, match=r"^file\.toml: not TOML: "):
        parse_scenario(text, "file.toml")


def test_what_is_nested_without_end_is_refused() -> None:
    with pytest.raises(InputError, match=r"^file\.toml: nested too deeply$"):
        parse_scenario(f"x = {'[' * 100_000}", "file.toml")


def test_a_file_is_read_with_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "whole.toml"
    data = document(WHOLE).encode()
    path.write_bytes(data)
    scenario, digest = read_scenario(path)
    assert scenario == parse_scenario(data.decode(), "whole.toml")
    assert digest == hashlib.sha256(data).hexdigest()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml: No such file or directory"):
        read_scenario(tmp_path / "nowhere.toml")
    with pytest.raises(InputError, match="Is a directory"):
        read_scenario(tmp_path)
    path = tmp_path / "binary.toml"
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(InputError, match=r"binary\.toml: not UTF-8 at byte 8$"):
        read_scenario(path)
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(InputError, match=r"a scenario file has at most 16 MiB$"):
        read_scenario(path)


@pytest.mark.parametrize(
    "name", [name for name, path in entries().items() if path.suffix == ".toml"]
)
def test_the_catalogue_can_be_read(name: str) -> None:
    scenario, _ = read_scenario(entries()[name])
    assert scenario.name == name
    assert scenario.description.strip()


def paths(
    value: Any, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[str | int, ...]]:
    """Every place in the table."""
    yield path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from paths(each, (*path, key))
    if isinstance(value, list):
        for place, each in enumerate(value):
            yield from paths(each, (*path, place))


texts = st.text(st.characters(codec="utf-8"), max_size=5)
anything = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-2, 70),
        st.sampled_from([1 << 32, 1 << 63, U64 - 1, U64, -U64, 4096, 0x7F00_0000_0000]),
        st.floats(allow_nan=False, allow_infinity=False).map(lambda x: round(x, 3)),
        texts,
        st.sampled_from(
            ["ok", "EINVAL", "readonly", "read", "node", "w", "halt", "stop-vcpus"]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                texts, st.sampled_from(["slot", "name", "calls", "gpa", "kind", "call"])
            ),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)


@given(st.sampled_from([path for path in paths(WHOLE) if path]), anything)
def test_any_value_at_any_place_is_taken_or_refused(
    path: tuple[str | int, ...], value: Any
) -> None:
    text = document(with_value(path, value))
    try:
        scenario = parse_scenario(text, "file.toml")
    except InputError as error:
        assert str(error).startswith("file.toml: ")  # noqa: PT017 - or it is taken
        assert "unknown error" not in str(error)  # noqa: PT017
    else:
        assert isinstance(scenario, Scenario)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_taken(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(data)
    with pytest.raises(InputError):
        read_scenario(path)
