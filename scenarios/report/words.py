"""What a record is called in a picture: its group, a few words, and all of it.

What is said here is on one line and without control characters, whatever the log holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs

import memslots.tracepoints as of_memslots
import rcu.tracepoints as of_rcu
import scenarios.tracepoints as of_scenarios
import vcpus.tracepoints as of_vcpus
from memslots.slot import MemFlag, SlotId
from memslots.tracepoints import SlotData
from rcu.trace import Event
from scenarios.printable import printable

GROUPS: dict[str, tuple[type[Event], ...]] = {
    "findings": (of_rcu.RuleWasBroken, of_rcu.TaskStuck),
    "sections": (
        of_rcu.SectionBegan,
        of_rcu.SectionEnded,
        of_vcpus.SetDereferenced,
    ),
    "lookups": (
        of_vcpus.SlotLookedUp,
        of_vcpus.GuestMemoryAccessed,
        of_vcpus.GuestMemoryCopied,
        of_vcpus.MmioCacheHit,
        of_vcpus.HvaCacheFilled,
        of_vcpus.PfnCacheRefreshed,
        of_vcpus.PfnCacheInvalidated,
    ),
    "calls": (
        of_memslots.RegionRequested,
        of_memslots.RegionReturned,
        of_memslots.DirtyLogRequested,
        of_memslots.DirtyLogReturned,
    ),
    "sets": (
        of_memslots.AddressSpaceMade,
        of_memslots.SlotInstalled,
        of_memslots.SlotReplaced,
        of_memslots.SetsSwapped,
        of_memslots.GenerationAdvanced,
        of_memslots.SetGivenUp,
        of_memslots.SetCopied,
        of_memslots.SetFreed,
        of_memslots.ArchDataCopied,
    ),
    "grace periods": (
        of_rcu.SynchronizeBegan,
        of_rcu.SynchronizeEnded,
        of_rcu.GracePeriodStarted,
        of_rcu.RankScanned,
        of_rcu.IndexFlipped,
        of_rcu.GracePeriodEnded,
        of_rcu.CallbackQueued,
        of_rcu.CallbackInvoked,
    ),
    "locks": (of_rcu.LockAcquired, of_rcu.LockReleased),
    "invalidations": (
        of_vcpus.InvalidationBegan,
        of_vcpus.InvalidationEnded,
        of_memslots.InvalidationsForgotten,
    ),
    "page tables": (
        of_vcpus.ShadowRootAllocated,
        of_vcpus.MmuPagesChanged,
        of_vcpus.SpteInstalled,
        of_vcpus.SpteZapped,
        of_vcpus.RootZapped,
        of_vcpus.ShadowFlushed,
        of_vcpus.PageFaulted,
        of_vcpus.GuestAccessed,
        of_vcpus.GfnRangeZapBegan,
        of_vcpus.GfnRangeZapped,
    ),
    "dirty pages": (
        of_memslots.PageMarkedDirty,
        of_memslots.DirtyBitsCleared,
        of_memslots.DirtyRingCollected,
        of_memslots.DirtyRingReset,
    ),
    "allocations": (
        of_memslots.SlotFreed,
        of_memslots.MemoryAllocated,
        of_memslots.AllocationFailed,
        of_memslots.MemoryHeld,
        of_memslots.MemoryFreed,
        of_memslots.PagesCounted,
        of_memslots.VmDestroyed,
    ),
    "outside the model": (
        of_scenarios.ResultCompared,
        of_scenarios.BegunLate,
        of_scenarios.OrderUnknown,
        of_scenarios.NoOrder,
        of_scenarios.UpdatesLost,
        of_scenarios.RuleHeld,
        of_scenarios.GuestExpected,
    ),
}
"""The events by what they are about; whoever looks can hide a group."""

GROUP_OF = {kind: name for name, kinds in GROUPS.items() for kind in kinds}

SPAN_GROUPS = {
    "call": "calls",
    "section": "sections",
    "synchronize": "grace periods",
    "grace-period": "grace periods",
    "lock": "locks",
    "lock-wait": "locks",
    "invalidation": "invalidations",
    "zap": "page tables",
    "set": "sets",
}
"""Likewise for bars, by their kind."""

FLAG_LETTERS = {
    MemFlag.INVALID: "INVALID",
    MemFlag.READONLY: "read-only",
    MemFlag.LOG_DIRTY_PAGES: "logged",
    MemFlag.GUEST_MEMFD: "memfd",
}

LONGEST_STRING = 300
MOST_ITEMS = 64


def slot_words(slot: SlotData | None) -> str:
    """A slot in a few words."""
    if slot is None:
        return "no slot"
    flags = [word for flag, word in FLAG_LETTERS.items() if slot.flags & int(flag)]
    where = f"slot {slot.id} #{slot.serial} [{slot.base_gfn:#x}, {slot.end_gfn:#x})"
    return " ".join([where, *flags])


_WORDS: dict[type[Event], Callable[[Any], str]] = {
    of_rcu.SectionBegan: lambda e: f"enters a read section, rank {e.srcu_idx}",
    of_rcu.SectionEnded: lambda e: f"leaves its read section, rank {e.srcu_idx}",
    of_rcu.LockAcquired: lambda e: (
        f"takes {e.lock}" + (" (shared)" if e.shared else "")
    ),
    of_rcu.LockReleased: lambda e: f"releases {e.lock}",
    of_rcu.SynchronizeBegan: lambda _: "waits for a grace period",
    of_rcu.SynchronizeEnded: lambda _: "need not wait any more",
    of_rcu.GracePeriodStarted: lambda e: f"grace period starts, gp_seq {e.gp_seq}",
    of_rcu.GracePeriodEnded: lambda e: f"grace period ends, gp_seq {e.gp_seq}",
    of_rcu.RankScanned: lambda e: f"nobody is left on rank {e.rank}",
    of_rcu.IndexFlipped: lambda e: f"flips: new sections use rank {e.srcu_idx}",
    of_rcu.RuleWasBroken: lambda e: f"breaks a rule: {e.rule}: {e.text}",
    of_rcu.TaskStuck: lambda e: f"is stuck at: {e.waits_for}",
    of_vcpus.SetDereferenced: lambda e: f"gets hold of set {_set(e)}",
    of_vcpus.SlotLookedUp: lambda e: (
        f"looks up gfn {e.gfn:#x} in set {_set(e)}: {slot_words(e.slot)}"
    ),
    of_vcpus.GuestMemoryAccessed: lambda e: (
        f"{'writes' if e.write else 'reads'} gpa {e.gpa:#x}: {e.outcome}"
    ),
    of_vcpus.GuestAccessed: lambda e: (
        f"guest {'writes' if e.write else 'reads'} gpa {e.gpa:#x} through slot"
        f" #{e.slot}"
    ),
    of_vcpus.PageFaulted: lambda e: f"fault at gpa {e.gpa:#x}: {e.outcome}",
    of_vcpus.SpteInstalled: lambda e: f"maps gfn {e.gfn:#x} from slot #{e.slot}",
    of_vcpus.SpteZapped: lambda e: f"unmaps gfn {e.gfn:#x} of slot #{e.slot}",
    of_vcpus.ShadowFlushed: lambda e: f"no translation is left of slot #{e.slot}",
    of_vcpus.InvalidationBegan: lambda e: (
        f"invalidation begins: hva [{e.start:#x}, {e.end:#x})"
    ),
    of_vcpus.InvalidationEnded: lambda e: (
        f"invalidation ends: hva [{e.start:#x}, {e.end:#x})"
    ),
    of_memslots.RegionRequested: lambda e: (
        f"asks for {SlotId.of(e.slot)}: gpa {e.guest_phys_addr:#x},"
        f" {e.memory_size:#x} bytes, flags {e.flags:#x}"
    ),
    of_memslots.RegionReturned: lambda e: (
        f"call {e.call} returns {e.result}" + (f" ({e.change})" if e.change else "")
    ),
    of_memslots.SlotInstalled: lambda e: f"both sets get {slot_words(e.slot)}",
    of_memslots.SlotReplaced: lambda e: f"edits set {_set(e)}: {_edit(e.old, e.new)}",
    of_memslots.SetsSwapped: lambda e: f"publishes set {_set(e)}",
    of_memslots.GenerationAdvanced: lambda e: (
        f"set {_set(e)} has generation {e.generation}"
    ),
    of_memslots.SlotFreed: lambda e: f"frees slot #{e.serial}",
}


def words(event: Event) -> str:
    """A few words of what happened."""
    say = _WORDS.get(type(event))
    if say is not None:
        return printable(say(event))
    fields = (f"{name} {value}" for name, value in plain(event).items())
    return printable(f"{event.name.replace('_', ' ')}: {', '.join(fields)}")


def plain(event: Event) -> dict[str, Any]:
    """The fields of an event, fit to be shown; long strings and lists are cut."""
    return {
        name: _plain(value, lambda text: printable(text, LONGEST_STRING))
        for name, value in _fields(event).items()
    }


def raw(event: Event) -> str:
    """The fields of an event as the log has them, in ASCII."""
    return json.dumps(
        {name: _plain(value, _cut) for name, value in _fields(event).items()},
        separators=(",", ":"),
    )


def _fields(event: Event) -> dict[str, object]:
    fields: tuple[attrs.Attribute[Any], ...] = getattr(
        type(event), "__attrs_attrs__", ()
    )
    return {field.name: getattr(event, field.name) for field in fields}


def _cut(text: str) -> str:
    if len(text) <= LONGEST_STRING:
        return text
    return f"{text[: LONGEST_STRING - 1]}\N{HORIZONTAL ELLIPSIS}"


def _plain(value: object, show: Callable[[str], str]) -> object:
    if isinstance(value, str):
        return show(value)
    if attrs.has(type(value)):
        fields = attrs.asdict(value, recurse=False)  # type: ignore[arg-type]
        return {name: _plain(each, show) for name, each in sorted(fields.items())}
    if isinstance(value, list | tuple):
        items = [_plain(each, show) for each in value[:MOST_ITEMS]]
        more = len(value) - len(items)
        return [*items, f"and {more:,} more"] if more else items
    return value


def _set(event: Any) -> str:
    return f"{event.set}" + (f" of as {event.as_id}" if event.as_id else "")


def _edit(old: int | None, new: SlotData | None) -> str:
    parts = [] if old is None else [f"#{old} leaves"]
    if new is not None:
        parts.append(f"{slot_words(new)} enters")
    return ", ".join(parts) or "nothing"
