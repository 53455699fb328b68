"""Records as sentences with a subject, for a proof in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import memslots.tracepoints as of_memslots
import rcu.tracepoints as of_rcu
import scenarios.tracepoints as of_scenarios
import vcpus.tracepoints as of_vcpus
from rcu.trace import Event, Record
from scenarios.printable import printable
from scenarios.report.set_bars import generation_text
from scenarios.report.words import slot_words, words

LONGEST = 600

_ARRAYS = ("dirty_bitmap", "rmap", "lpage_info", "gfn_track")


def sentence(record: Record) -> str:
    """What a record says, on one line, with who did it in front."""
    actor = printable(record.actor or "nobody", 60)
    say = _SENTENCES.get(type(record.event))
    if say is not None:
        return printable(say(actor, record.event), LONGEST)
    colon = "" if type(record.event) in _BEGIN_WITH_A_VERB else ":"
    return f"{actor}{colon} {words(record.event)}"


_BEGIN_WITH_A_VERB = {
    of_rcu.SectionBegan,
    of_rcu.SectionEnded,
    of_rcu.LockAcquired,
    of_rcu.LockReleased,
    of_rcu.SynchronizeBegan,
    of_rcu.TaskStuck,
    of_vcpus.SetDereferenced,
    of_vcpus.SlotLookedUp,
    of_vcpus.SpteInstalled,
    of_vcpus.SpteZapped,
    of_memslots.RegionRequested,
    of_memslots.SlotReplaced,
    of_memslots.SlotFreed,
}


def _did(write: bool, wrote: str = "writes", read: str = "reads") -> str:  # noqa: FBT001 - as the event says it
    return wrote if write else read


def _range(event: Any) -> str:
    return f"[{event.start:#x}, {event.end:#x})"


def _slots(count: int) -> str:
    return "1 slot" if count == 1 else f"{count} slots"


def _held(actor: str, event: of_memslots.MemoryHeld) -> str:
    has = [
        f"the {name.replace('_', ' ')} of #{made_for}"
        for name in _ARRAYS
        if (made_for := getattr(event, name)) is not None
    ]
    return f"{actor} lets slot #{event.slot} point to {', '.join(has) or 'nothing'}"


def _log_call(actor: str, event: of_memslots.DirtyLogRequested) -> str:
    what = "all rings" if event.slot is None else f"the log of slot {event.slot}"
    return f"{actor} makes call {event.call}, a {event.kind} of {what}"


def _pages(event: Any) -> str:
    count = event.mask.bit_count()
    pages = "1 page" if count == 1 else f"{count} pages"
    return f"{pages} of slot {event.slot} from page {event.offset} on"


_SENTENCES: dict[type[Event], Callable[[str, Any], str]] = {
    of_rcu.SynchronizeEnded: lambda a, _: f"{a} need not wait for readers any more",
    of_rcu.GracePeriodStarted: lambda a, e: f"{a} starts a grace period of {e.domain}",
    of_rcu.GracePeriodEnded: lambda a, e: f"{a} ends a grace period of {e.domain}",
    of_rcu.RankScanned: lambda a, e: f"{a} finds nobody left on rank {e.rank}",
    of_rcu.IndexFlipped: lambda a, e: (
        f"{a} flips the ranks: new read sections are counted on rank {e.srcu_idx}"
    ),
    of_rcu.CallbackQueued: lambda a, e: (
        f"{a} asks for a grace period, after which '{e.callback}' is called"
    ),
    of_rcu.CallbackInvoked: lambda a, e: f"{a} calls '{e.callback}'",
    of_vcpus.GuestAccessed: lambda a, e: (
        f"the guest of {a} {_did(e.write)} {e.value} at gpa {e.gpa:#x} through slot"
        f" #{e.slot}, at hva {e.hva:#x}"
    ),
    of_vcpus.GuestMemoryCopied: lambda a, e: (
        f"{a} itself {_did(e.write)} guest memory at gpa {e.gpa:#x}, at hva"
        f" {e.hva:#x}, found through a {e.through}"
    ),
    of_vcpus.GuestMemoryAccessed: lambda a, e: (
        f"{a} wants to {_did(e.write, 'write', 'read')} gpa {e.gpa:#x}: {e.outcome}"
    ),
    of_vcpus.PageFaulted: lambda a, e: (
        f"a page fault of {a} at gpa {e.gpa:#x} ends with: {e.outcome}"
    ),
    of_vcpus.MmioCacheHit: lambda a, e: (
        f"{a} takes from a cache ({e.found_in}) that gfn {e.gfn:#x} has no slot"
    ),
    of_vcpus.ShadowFlushed: lambda a, e: (
        f"{a} has flushed slot #{e.slot}: no translation made from it may be left"
    ),
    of_vcpus.ShadowRootAllocated: lambda a, _: (
        f"{a} allocates the first shadow root: from now on every slot needs reverse"
        " maps"
    ),
    of_vcpus.MmuPagesChanged: lambda a, e: (
        f"{a} works out the bound on shadow pages: {e.n_max_mmu_pages}"
    ),
    of_vcpus.RootZapped: lambda a, e: f"{a} gives page tables up: root {e.root}",
    of_vcpus.GfnRangeZapBegan: lambda a, e: f"{a} begins to zap gfn {_range(e)}",
    of_vcpus.GfnRangeZapped: lambda a, e: f"{a} has zapped gfn {_range(e)}",
    of_vcpus.InvalidationBegan: lambda a, e: (
        f"{a} begins the invalidation of hva {_range(e)}, which touches"
        f" {_slots(e.slots)}"
    ),
    of_vcpus.InvalidationEnded: lambda a, e: (
        f"{a} ends the invalidation of hva {_range(e)}, which touches {_slots(e.slots)}"
    ),
    of_memslots.RegionReturned: lambda a, e: (
        f"call {e.call} of {a} returns {e.result}"
        + (f", a {e.change}" if e.change else "")
    ),
    of_memslots.SlotInstalled: lambda _, e: (
        f"before anybody runs, every set has {slot_words(e.slot)}"
    ),
    of_memslots.SetsSwapped: lambda a, e: (
        f"{a} publishes set {e.set} of address space {e.as_id} as"
        f" {generation_text(e.generation)}"
    ),
    of_memslots.GenerationAdvanced: lambda a, e: (
        f"{a} settles set {e.set} of address space {e.as_id} at"
        f" {generation_text(e.generation)}"
    ),
    of_memslots.SetCopied: lambda a, e: f"{a} copies set {e.from_set} to set {e.set}",
    of_memslots.SetFreed: lambda a, e: f"{a} frees set {e.set}",
    of_memslots.MemoryAllocated: lambda a, e: (
        f"{a} allocates the {e.kind} of slot #{e.slot}"
    ),
    of_memslots.MemoryFreed: lambda a, e: f"{a} frees the {e.kind} of slot #{e.slot}",
    of_memslots.MemoryHeld: _held,
    of_memslots.PagesCounted: lambda a, e: (
        f"{a} counts the pages of all slots: {e.nr_memslot_pages}"
    ),
    of_memslots.VmDestroyed: lambda a, _: f"{a} destroys the VM",
    of_memslots.PageMarkedDirty: lambda a, e: (
        f"{a} marks page {e.offset} of slot {e.slot} as written, in the {e.where}"
    ),
    of_memslots.DirtyLogRequested: _log_call,
    of_memslots.DirtyBitsCleared: lambda _, e: (
        f"call {e.call} takes the marks of {_pages(e)}"
    ),
    of_memslots.DirtyRingReset: lambda _, e: (
        f"call {e.call} takes back the entries of {_pages(e)}"
    ),
    of_memslots.DirtyLogReturned: lambda a, e: (
        f"call {e.call} of {a} about the dirty log returns {e.result} and tells of"
        f" {sum(word.bit_count() for _, word in e.words)} pages"
    ),
    of_scenarios.ResultCompared: lambda a, e: (
        f"call {e.call} of {a} ({e.region}) is known to return {e.expected}, and"
        f" returns {e.result}"
    ),
    of_scenarios.GuestExpected: lambda _, e: (
        f"the scenario says what vcpu{e.vcpu} may meet: values"
        f" {', '.join(map(str, e.may_read)) or 'of any kind'},"
        f" {'devices, too' if e.mmio else 'and no device'}"
    ),
}
"""Those that `words` does not begin with a verb, or of which there is more to say."""
