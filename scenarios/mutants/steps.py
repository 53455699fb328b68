"""The steps of the protocol, in the order in which they are told."""

from __future__ import annotations

from enum import Enum


class Step(Enum):
    """A step, by part of the protocol; the value is what it does.

    The part is the first word of the name.
    """

    # One call, from its arguments to its result.
    CALL_CHECKS = "check what user space asks for, in a fixed order"
    CALL_ALLOCATES = "allocate the new slot and what belongs to it"
    CALL_LOCKS = "take slots_lock, and inside it slots_arch_lock"
    CALL_COMMITS = "commit: count pages, switch dirty logging, tell the MMU"
    CALL_FREES = "free what nobody can reach any more, once"
    # The sets.
    SET_COPIES = "copy the slot's data, and nothing that links it"
    SET_EDITS = "edit the inactive set: table of ids, tree of hvas, tree of gfns"
    SET_CACHES = "mend the set's last used slot when the named one leaves"
    # From one set to the other.
    SWAP_MARKS = "mark the inactive set's generation: update in progress"
    SWAP_WAITS = "wait until no invalidation of the MMU notifier is under way"
    SWAP_PUBLISHES = "publish the set, under mn_invalidate_lock"
    SWAP_RELEASES = "release slots_arch_lock before waiting"
    SWAP_SYNCHRONIZES = "synchronize: wait for all readers of the other set"
    SWAP_TELLS = "tell the architecture: zap if the MMIO generation has wrapped"
    SWAP_SETTLES = "settle the generation at its next number"
    SWAP_PROPAGATES = "make the same change in the set that is now inactive"
    # Before a slot may leave or move.
    INVALID_IS_PUBLISHED = "publish an INVALID copy of the slot first"
    INVALID_FLUSHES = "flush what was made from the slot, and wait until that is done"
    INVALID_RESYNCS = "carry over what was allocated in the meantime"
    INVALID_REVERTS = "go back if it fails behind this step"
    # Sleepable RCU.
    SRCU_READS = "read the index, then count the reader in its rank"
    SRCU_UNLOCKS = "count the reader out, in the rank that it was counted in"
    SRCU_SCANS_FIRST = "scan the rank that is not current, first"
    SRCU_FLIPS = "flip the ranks"
    SRCU_SCANS_AGAIN = "scan the rank that was current before the flip"
    SRCU_SUMS = "sum unlocks before locks, over all processors"
    SRCU_NUMBERS = "number grace periods, and wait for a whole one"
    SRCU_CALLS_BACK = "invoke callbacks when their grace period is over"
    SRCU_ENDS = "clean up a domain only when nobody uses it"
    # Who reads the sets.
    READ_SECTION = "look slots up inside one read section, and drop it to block"
    READ_LOOKUP = "find a slot by gfn or hva, through the caches"
    READ_CACHED = "use a cached translation only in the generation it is from"
    READ_WRITES = "write to guest memory page by page, and mark each page dirty"
    # A page fault.
    FAULT_SNAPSHOTS = "note the invalidation sequence before resolving the page"
    FAULT_RESOLVES = "retry on an INVALID slot"
    FAULT_CHECKS = "check under mmu_lock that nothing has become stale"
    FAULT_MAPS = "map the page, and keep the reverse map"
    # MMIO.
    MMIO_REMEMBERS = "remember a gfn without a slot, with the generation"
    MMIO_HITS = "believe it only in that generation, and never during an update"
    # The host's MMU notifier.
    NOTIFIER_FINDS = "find the slots of a range of hvas, and unmap it"
    # Dirty logging.
    LOG_MARKS = "mark each page that is written"
    LOG_TAKES = "take marks, protect the pages, flush TLBs, then return"
    LOG_SWITCHES = "switch logging on and off"
    # The end of a VM.
    TEARDOWN_FORCES = "end invalidations that will never be ended"
    TEARDOWN_FREES = "free every slot of both sets, once"
    # Buses share the domain.
    BUS_CHANGES = "replace a bus, wait for its readers, then free"

    @property
    def part(self) -> str:
        """Which part of the protocol it belongs to."""
        return self.name.partition("_")[0].lower()
