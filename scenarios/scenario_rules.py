"""What no single field of a scenario can tell: whether its tasks can do what they say.

KVM refuses a call that is wrong, and a scenario may expect that. Here is refused what
nobody can ask of a kernel, what would end every run in the same way whatever the order,
and what cannot be kept in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from memslots.units import PAGE_SIZE
from scenarios.calls import (
    U64_MAX,
    AnyCall,
    DestroyVmSpec,
    Flag,
    PauseVcpusSpec,
    RegionCallSpec,
    ResumeVcpusSpec,
    SlotSpec,
    StopVcpusSpec,
    WriteMemorySpec,
    ZapGfnRangeSpec,
)
from scenarios.errors import InputError
from scenarios.scenario import (
    DirtyMode,
    HostAction,
    HostSpec,
    NotifierSpec,
    ProtocolSpec,
    ReadKind,
    Scenario,
    WriterSpec,
)

_READS = {
    ReadKind.READ,
    ReadKind.HVA_CACHE_READ,
    ReadKind.PFN_CACHE_READ,
    ReadKind.PFN_CACHE_TRY_READ,
    ReadKind.CMMA_READ,
    ReadKind.DEVICE_READ,
}

U32_MAX = (1 << 32) - 1

MAX_ALL_ONES = 64 << 30
"""Bytes of a slot whose bitmap begins with a one for each page."""


def check_rules(scenario: Scenario, source: str) -> None:
    """Refuse what no single field can tell.

    Args:
        scenario: Each of its fields is right by itself.
        source: What errors call it.

    Raises:
        InputError: Something cannot be done.
    """
    try:
        if scenario.protocol is not None:
            _check_protocol(scenario, scenario.protocol)
        for place, writer in enumerate(scenario.writers):
            _check_calls(f"writers[{place}]", writer)
            _check_pauses(f"writers[{place}]", writer)
        _check_once(scenario)
        for place, notifier in enumerate(scenario.notifiers):
            _check_changes(f"notifiers[{place}]", notifier)
        for place, vcpu in enumerate(scenario.vcpus):
            for turn, access in enumerate(vcpu.accesses):
                where = f"vcpus[{place}].accesses[{turn}]"
                _check_pages(f"{where}.pages", access.gpa, access.pages)
        if scenario.mmu.dirty_mode is DirtyMode.INITIALLY_SET:
            _check_bitmaps(scenario)
        if scenario.mmu.dirty_mode is DirtyMode.RING:
            _check_readers(scenario)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None


# Protocols.

_BESIDE_A_PROTOCOL = {
    "schema",
    "name",
    "description",
    "family",
    "budget",
    "must_exercise",
    "may_exercise",
    "protocol",
}


def _check_protocol(scenario: Scenario, protocol: ProtocolSpec) -> None:
    """Refuse what says something of the model, which does not run then."""
    for field in attrs.fields(Scenario):
        if field.name in _BESIDE_A_PROTOCOL:
            continue
        if getattr(scenario, field.name) != field.default:
            raise InputError(
                f"{field.name}: the protocol {protocol.name.value} runs in place of the"
                f" model, with tasks of its own; delete {field.name} or [protocol]"
            )


# Calls.


def _calls(writer: WriterSpec, where: str) -> Iterator[tuple[str, AnyCall]]:
    for place, call in enumerate(writer.calls):
        yield f"{where}.calls[{place}]", call


def _check_calls(where: str, writer: WriterSpec) -> None:
    for here, call in _calls(writer, where):
        match call:
            case RegionCallSpec():
                _check_count(here, call)
            case ZapGfnRangeSpec():
                _check_aligned(f"{here}.start", call.start)
                _check_aligned(f"{here}.end", call.end)
            case WriteMemorySpec():
                _check_pages(f"{here}.pages", call.hva, call.pages)


def _check_count(where: str, call: RegionCallSpec) -> None:
    last = call.last_region
    for key, value, most in (
        ("slot", last.slot, U32_MAX),
        ("guest_phys_addr", last.guest_phys_addr, U64_MAX),
        ("userspace_addr", last.userspace_addr, U64_MAX),
    ):
        if value > most:
            raise InputError(
                f"{where}.count: {key} of the last slot would be {value:#x}, behind"
                f" {most:#x}"
            )


def _check_pauses(where: str, writer: WriterSpec) -> None:
    """Refuse a pause that nobody ends, and an end without a pause."""
    paused_by: str | None = None
    for here, call in _calls(writer, where):
        match call:
            case PauseVcpusSpec():
                if paused_by or call.repeat > 1:
                    raise InputError(
                        f"{here}: the vCPUs are paused already, by {paused_by or here}"
                    )
                paused_by = here
            case ResumeVcpusSpec():
                if not paused_by or call.repeat > 1:
                    raise InputError(f"{here}: no call before it pauses the vCPUs")
                paused_by = None
            case StopVcpusSpec() | DestroyVmSpec() if paused_by:
                raise InputError(
                    f"{here}: vCPUs that {paused_by} has paused cannot end; resume them"
                    " first"
                )
    if paused_by:
        raise InputError(f"{paused_by}: nobody resumes the vCPUs; add resume-vcpus")


def _check_once(scenario: Scenario) -> None:
    """Refuse two writers who pause, two ends of the VM, and calls after its end."""
    paused_by = destroyed_by = None
    for place, writer in enumerate(scenario.writers):
        where = f"writers[{place}]"
        for here, call in _calls(writer, where):
            if isinstance(call, PauseVcpusSpec):
                if paused_by not in {None, where}:
                    raise InputError(
                        f"{here}: only one writer can, and {paused_by} does"
                    )
                paused_by = where
            if isinstance(call, DestroyVmSpec):
                if destroyed_by:
                    raise InputError(f"{here}: the VM is destroyed by {destroyed_by}")
                destroyed_by = here
                last = call is writer.calls[-1]
                if not last or writer.repeat > 1 or call.repeat > 1:
                    raise InputError(
                        f"{here}: nothing can be called of a VM that is destroyed; let"
                        " it be the writer's last call, made once"
                    )


# Addresses.


def _check_aligned(where: str, address: int) -> None:
    if address % PAGE_SIZE:
        raise InputError(f"{where}: must be a multiple of 4096, got {address:#x}")


def _check_pages(where: str, address: int, pages: int) -> None:
    """Refuse pages of which the last begins behind the last address."""
    last = address + (pages - 1) * PAGE_SIZE
    if last > U64_MAX:
        raise InputError(f"{where}: the last page would be at {last:#x}, behind 2^64")


# Changes of host pages.


def _check_changes(where: str, notifier: NotifierSpec) -> None:
    """Refuse what no host tells of: parts of pages, and ends without a beginning."""
    under_way: list[HostSpec] = []
    for place, change in enumerate(notifier.changes):
        here = f"{where}.changes[{place}]"
        _check_aligned(f"{here}.hva", change.hva)
        _check_aligned(f"{here}.size", change.size)
        _check_aligned(f"{here}.step", change.step)
        end = change.hva + change.size
        if end > U64_MAX:
            raise InputError(f"{here}.size: the range would end at {end:#x}")
        piece = change.step or change.size
        if change.action is HostAction.REPLACE and piece != PAGE_SIZE:
            raise InputError(
                f"{here}: replace takes one page at a time, got {piece:#x} bytes; set"
                " step = 0x1000"
            )
        if change.action is HostAction.BEGIN:
            under_way.append(change)
        if change.action is HostAction.END:
            began = attrs.evolve(change, action=HostAction.BEGIN)
            if began not in under_way:
                raise InputError(
                    f"{here}: ends what has not begun; before it must come a begin with"
                    " the same hva, size and step"
                )
            under_way.remove(began)


# Dirty pages.


def _check_readers(scenario: Scenario) -> None:
    """Refuse writes that no vCPU makes where only vCPUs can tell of them.

    KVM: mark_page_dirty_in_slot, virt/kvm/kvm_main.c
    """
    for place, reader in enumerate(scenario.readers):
        for turn, access in enumerate(reader.accesses):
            if access.kind not in _READS:
                raise InputError(
                    f"readers[{place}].accesses[{turn}].kind: {access.kind.value} needs"
                    " the dirty ring of a vCPU; let a vCPU make an emulated-write, or"
                    " choose another dirty_mode"
                )


def _check_bitmaps(scenario: Scenario) -> None:
    specs: list[tuple[str, SlotSpec]] = [
        (f"slots[{place}]", spec) for place, spec in enumerate(scenario.slots)
    ]
    for place, writer in enumerate(scenario.writers):
        specs += [
            (here, call)
            for here, call in _calls(writer, f"writers[{place}]")
            if isinstance(call, RegionCallSpec)
        ]
    for where, spec in specs:
        logged = Flag.LOG_DIRTY_PAGES in spec.flags
        if logged and spec.memory_size > MAX_ALL_ONES:
            raise InputError(
                f"{where}.memory_size: a slot that is logged has at most"
                f" {MAX_ALL_ONES:#x} bytes if its pages are initially set, got"
                f" {spec.memory_size:#x}"
            )
