"""A layout that QEMU's monitor printed: its slots, in order."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from memslots.slot import READONLY
from scenarios.checkers.judge import Verdict
from scenarios.planner import plan_for
from scenarios.runner import run
from scenarios.traces.call import RegionCall, Trace, TraceError
from scenarios.traces.importer import read_trace
from scenarios.traces.mtree import HOST_START

Read = Callable[[str], Trace]

RECORDED = Path(__file__).parents[3].parent / "shared" / "traces" / "q35.mtree"

IO = """\
FlatView #0
 AS "I/O", root: io
 Root memory region: io
  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan
  0000000000000cf9-0000000000000cf9 (prio 1, i/o): lpc-reset-control

"""
MEMORY = """\
FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 AS "cpu-memory-1", root: system
 Root memory region: system
  0000000000000000-000000000009ffff (prio 0, ram): pc.ram KVM
  00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem
  00000000000c0000-00000000000dffff (prio 1, rom): pc.rom KVM
  00000000000e0000-00000000000fffff (prio 0, romd): pc.bios @0000000000020000 KVM
  0000000000100000-000000001fffffff (prio 0, ram): pc.ram @0000000000100000 KVM
  00000000febc0000-00000000febc0fff (prio 0, ramd): 0000:00:1a.0 BAR 0 mmaps[0]
  00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios KVM

"""
LAST = """\
FlatView #2
 AS "VGA", root: bus master container
 Root memory region: (none)
  No rendered FlatView

"""


def places(calls: tuple[RegionCall, ...]) -> list[tuple[int, int, int, int]]:
    """Slot, first and last byte, and flags of each call."""
    return [
        (call.slot, call.guest_phys_addr, call.guest_phys_end - 1, call.flags)
        for call in calls
    ]


def test_ranges_that_kvm_maps_are_slots_in_their_order(read: Read) -> None:
    trace = read(IO + MEMORY + LAST)
    assert trace.format == "mtree"
    assert places(trace.calls) == [
        (0, 0, 0x9FFFF, 0),
        (1, 0xC0000, 0xDFFFF, READONLY),
        (2, 0xE0000, 0xFFFFF, READONLY),
        (3, 0x100000, 0x1FFFFFFF, 0),
        (4, 0xFFFC0000, 0xFFFFFFFF, READONLY),
    ]
    assert [call.line for call in trace.calls] == [12, 14, 15, 16, 18]
    assert {(call.result, call.thread, call.vm) for call in trace.calls} == {
        (0, "vmm", "")
    }
    assert trace.other_lines == {
        "flat view": 3,
        "address space": 5,
        "root memory region": 3,
        "i/o range without a slot": 3,
        "ramd range without a slot": 1,
        "empty flat view": 1,
    }
    assert (trace.vcpus, trace.unknown_lines.count) == (2, 0)


def test_host_addresses_are_made_up_so_that_memory_is_shared(read: Read) -> None:
    trace = read(MEMORY)
    ram, rom, low_bios, more_ram, bios = (call.userspace_addr for call in trace.calls)
    assert ram == HOST_START
    assert more_ram == ram + 0x100000
    assert low_bios == bios + 0x20000
    assert rom >= ram + 0x20000000
    (assumed,) = trace.assumed
    assert "addresses that are made up" in assumed


SHARED = MEMORY.replace(" KVM\n", " KVM KVM\n")
SMRAM = """\
FlatView #3
 AS "KVM-SMRAM", root: mem-container-smram
 Root memory region: mem-container-smram
  0000000000000000-000000000009ffff (prio 0, ram): pc.ram KVM
  00000000000a0000-00000000000bffff (prio 10, ram): pc.ram @00000000000a0000 KVM

"""


def test_each_flat_view_with_slots_is_an_address_space(read: Read) -> None:
    trace = read(MEMORY + IO + SMRAM)
    assert [call.slot for call in trace.calls] == [0, 1, 2, 3, 4, 0x10000, 0x10001]
    assert trace.calls[5].userspace_addr == trace.calls[0].userspace_addr


def test_one_flat_view_can_be_of_two_address_spaces(read: Read) -> None:
    trace = read(SHARED)
    assert [call.slot for call in trace.calls] == [*range(5), *range(0x10000, 0x10005)]
    assert [call.line for call in trace.calls] == [6, 8, 9, 10, 12] * 2
    assert trace.calls[0].userspace_addr == trace.calls[5].userspace_addr


def test_more_address_spaces_than_kvm_has_are_refused(read: Read) -> None:
    with pytest.raises(TraceError, match=r"recorded:\d+: KVM maps more than 2 address"):
        read(SHARED + SMRAM)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("KVM", "kvm"),
        lambda text: text.replace("KVM", "kvm:tcg"),
        lambda text: text.replace(" KVM\n", " KVM owner:{obj path=/machine/x}\n"),
        lambda text: text.replace(" @0000", "\n@0000"),  # wrapped by a mail program
        lambda text: "".join(f"> {line}\n" for line in text.splitlines()),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.strip(),
        lambda text: "(qemu) info mtree -f\n" + text + "(qemu) \n",
        lambda text: text + "  Dispatch\n    Physical sections\n      #0 @0..f io\n\n",
    ],
)
def test_spellings_of_other_versions_are_read(
    read: Read, change: Callable[[str], str]
) -> None:
    trace = read(change(MEMORY))
    assert places(trace.calls) == places(read(MEMORY).calls)
    assert [call.userspace_addr for call in trace.calls] == [
        call.userspace_addr for call in read(MEMORY).calls
    ]
    assert trace.unknown_lines.count == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (IO + LAST, "no range of the layout is marked KVM (flat view 2, "),
        (
            MEMORY.replace(" KVM", ""),
            "take it from a machine that runs with -accel kvm",
        ),
        ("address-space: memory\n  0-f (prio 0, i/o): system\n", "'info mtree -f'"),
        ("memory-region: system\n", "recorded:1: this is 'info mtree', which does not"),
        (MEMORY + MEMORY, "recorded:14: a second layout begins here (FlatView #1)"),
        (
            MEMORY.replace("000000001fffffff", "0000ffffffffffff"),
            "bytes of host memory; a process has room for",
        ),
    ],
)
def test_layout_without_slots_says_why(read: Read, text: str, said: str) -> None:
    with pytest.raises(TraceError) as caught:
        read(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_odd_lines_are_counted_and_named(read: Read) -> None:
    text = MEMORY.replace("9ffff (", "9fffe (") + "what is this\n"
    trace = read(text)
    assert len(trace.calls) == 4
    assert trace.unknown_lines.by_why == {
        "a slot that is not whole pages": 1,
        "no line of a layout": 1,
    }


def test_layout_may_be_packed_and_have_any_name(tmp_path: Path) -> None:
    path = tmp_path / "layout.txt"
    path.write_bytes(gzip.compress((IO + MEMORY).encode()))
    assert len(read_trace(path).calls) == 5


def test_layout_is_made_and_holds(tmp_path: Path) -> None:
    path = tmp_path / "machine.mtree"
    path.write_text(MEMORY + SMRAM)
    plan = plan_for(str(path), vcpus=1)
    assert plan.scenario.address_spaces == 2
    assert plan.scenario.description == (
        "7 slots in 2 address spaces of the layout in machine.mtree, made one after the"
        " other while vCPUs read; host addresses are made up."
    )
    judgement = run(plan).judgement
    assert (judgement.verdict, judgement.calls) == (Verdict.HOLDS, 7)
    assert plan.account is not None
    (note,) = plan.account.notes()
    assert note.startswith("a layout says neither in which order its slots were made")


@pytest.mark.skipif(not RECORDED.exists(), reason="it is not beside the repository")
def test_recorded_layout_is_read() -> None:
    trace = read_trace(RECORDED)
    assert len(trace.calls) == 5
    assert trace.other_lines["i/o range without a slot"] == 70
    assert trace.unknown_lines.count == 0
