"""What each rule is for, told to somebody who knows the series' cover letter only."""

from __future__ import annotations

import attrs

from scenarios.checkers.invariants import INVARIANTS
from scenarios.checkers.judge import CHECKERS

READING = {
    "rcu": "What is RCU, Fundamentally?, https://lwn.net/Articles/262464/",
    "srcu": "Sleepable RCU, https://lwn.net/Articles/202847/",
    "whatisrcu": "Documentation/RCU/whatisRCU.rst",
    "checklist": "Documentation/RCU/checklist.rst",
    "locking": "Documentation/virt/kvm/locking.rst",
    "lockdep": "Documentation/locking/lockdep-design.rst",
    "api": "Documentation/virt/kvm/api.rst: KVM_SET_USER_MEMORY_REGION",
    "dirty": "Documentation/virt/kvm/api.rst: KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG",
    "mmu": "Documentation/virt/kvm/x86/mmu.rst",
    "trees": "commit a54d80668, which keeps memslots in trees",
    "delete": "commit bc6678a33, which brought SRCU and the INVALID copy",
    "generations": "commit 49c7754ce, which brought generations",
}
"""What there is to read, by a short name."""


@attrs.frozen
class Rule:
    """What is told of a rule.

    Attributes:
        sentence: The rule.
        source: Where the kernel states it.
        why: What goes wrong without it.
        counted: What was counted when it was put to the test, behind a number.
        functions: Where it lives in the kernel.
        lessons: Scenarios of the catalogue in which it can be watched.
        reading: What to read about it; see `READING`.
    """

    sentence: str
    source: str
    why: str
    counted: str
    functions: tuple[str, ...]
    lessons: tuple[str, ...]
    reading: tuple[str, ...]


def _of(
    id_: str,
    why: str,
    counted: str,
    functions: str,
    lessons: str,
    reading: str,
) -> tuple[str, Rule]:
    checker = CHECKERS[id_]
    return id_, Rule(
        checker.sentence,
        checker.source,
        why,
        counted,
        tuple(functions.split()),
        tuple(lessons.split()),
        tuple(READING[each] for each in reading.split()),
    )


RULES: dict[str, Rule] = dict(
    (
        _of(
            "consistent-set",
            "A reader works with one of the two sets, without a lock, while a writer"
            " changes the other. What it is told of a page must be what that set held"
            " when it got hold of it; an answer from elsewhere, from a cache that was"
            " not mended or a tree that was edited under it, is a mixture that user"
            " space has never asked for.",
            "lookups compared with what their set held when the reader got hold of it",
            "search_memslots gfn_to_memslot kvm_vcpu_gfn_to_memslot"
            " kvm_replace_memslot",
            "lookup-and-delete two-lookups-and-delete cached-slot-of-a-set",
            "trees rcu srcu",
        ),
        _of(
            "no-use-after-free",
            "Readers hold no lock and no reference: only the grace period tells the"
            " writer that nobody can still use what it has taken out. To free earlier"
            " is to let a guest's thread read memory that already belongs to somebody"
            " else.",
            "frees after which nobody could reach what was freed",
            "kvm_set_memslot kvm_free_memslot synchronize_srcu_expedited",
            "lookup-and-delete delete-with-two-readers teardown",
            "rcu srcu whatisrcu",
        ),
        _of(
            "grace-period",
            "A grace period is the writer's only way to know that readers from before"
            " are gone: it need not wait for those that came later, but for each that"
            " was there. If it ends too early, everything that relies on it is wrong,"
            " from freeing a slot to editing the set that was active.",
            "waits and callbacks that found a reader inside and outlasted it",
            "synchronize_srcu call_srcu srcu_flip srcu_readers_active_idx_check",
            "lookup-and-delete expedited-behind-normal migrating-reader",
            "srcu rcu checklist",
        ),
        _of(
            "sets-converge",
            "Only the slot that changes is edited, first in one set and, when its"
            " readers have gone, in the other: that is why an update costs so little."
            " It works as long as both sets are equal again at the end; a difference"
            " that stays comes back with the next swap, as a slot that was deleted or"
            " one that is INVALID for ever.",
            "times slots_lock was released with both sets equal",
            "kvm_set_memslot kvm_replace_memslot kvm_activate_memslot",
            "delete-unseen failed-move two-writers",
            "trees delete",
        ),
        _of(
            "retired-set-quiet",
            "Trees and hash tables are not edited in one step: a reader that walks one"
            " meanwhile may miss slots that were there all the time, or follow a node"
            " into nowhere. So the writer edits the set that nobody finds, and only"
            " when everybody who found it while it was active has left his read"
            " section.",
            "edits of a set while somebody was reading, all of them elsewhere",
            "kvm_swap_active_memslots kvm_activate_memslot kvm_replace_memslot",
            "lookup-and-delete lookup-and-move two-lookups-in-a-section",
            "srcu rcu trees",
        ),
        _of(
            "generation-unique",
            "Caches of slots and of MMIO pages are not told of an update: they compare"
            " generations. That works only if a generation stands for one content: so"
            " the number is marked while an update is in progress, when two contents"
            " are about, and nothing is cached then; and no number comes twice.",
            "generations published, settled or seen, each with one content",
            "kvm_swap_active_memslots kvm_arch_memslots_updated",
            "hva-cache-and-delete mmio-then-create number-wraps-in-a-pause",
            "generations trees",
        ),
        _of(
            "lock-order",
            "If two tasks take two locks in different orders, some day each holds one"
            " and waits for the other. To wait for a grace period counts, too: whoever"
            " waits for readers with a lock in hand stops for ever if one of them"
            " wants that lock. The order is judged even if no run comes to a stop.",
            "pairs of something held and something acquired inside it",
            "kvm_set_memory_region kvm_swap_active_memslots"
            " mmu_first_shadow_root_alloc",
            "first-shadow-root-during-delete lazy-rmap-vs-update two-writers",
            "locking lockdep",
        ),
        _of(
            "deadlock",
            "A task that nobody can wake is a guest that hangs and a process that"
            " cannot be killed. It is enough that a reader sleeps in its section for"
            " something that the writer would do only after the grace period.",
            "locks that were got and grace periods that ended",
            "kvm_swap_active_memslots kvm_vcpu_block synchronize_srcu",
            "first-shadow-root-during-delete halt-during-delete notifier-vs-swap",
            "lockdep locking checklist",
        ),
        _of(
            "results-match",
            "What can be seen from outside must not change: the same call on the same"
            " slots gives the same result or the same error, as VMMs rely on both. A"
            " difference means that the model, or the changed protocol, is not what"
            " the recorded kernel is.",
            "calls whose result was known",
            "kvm_set_memory_region kvm_check_memslot_overlap",
            "q35-boot refused-requests slots-used-up",
            "api trees",
        ),
        _of(
            "guest-sees",
            "In the end it is the guest that counts: it must find its memory where its"
            " memory is, with what was written there, and a device only where there is"
            " no slot. An access that goes to a device by mistake kills most guests.",
            "reads and faults of guests about which the scenario says something",
            "kvm_faultin_pfn kvm_handle_gfn_range handle_mmio_page_fault",
            "delete-in-use move-in-use fault-during-move",
            "api mmu",
        ),
        _of(
            "freed-once",
            "A slot object comes and goes with each change, but its dirty bitmap and"
            " reverse maps move on to the next one. Each must be freed by whoever is"
            " the last to have it: who frees twice corrupts memory, and who never frees"
            " loses some with every update.",
            "things that were freed, or still had an owner, when slots_lock was free",
            "kvm_commit_memory_region kvm_free_memslot kvm_arch_free_memslot",
            "failed-changes failed-move teardown",
            "trees delete",
        ),
        _of(
            "page-count",
            "How many pages a VM has is added up as slots come and go, so that nobody"
            " must walk all slots to know; the bound on shadow pages follows it. A"
            " count that drifts stays wrong for the life of the VM.",
            "times the count, or the bound, was right",
            "kvm_commit_memory_region kvm_mmu_change_mmu_pages",
            "pages-are-counted memslot-perf-setup",
            "trees mmu",
        ),
        _of(
            "arch-data-kept",
            "Reverse maps may be allocated late, by a vCPU in its read section, while"
            " a writer has copies of the slot in hand. If the copy that ends up in the"
            " set lacks them, the MMU writes through a null pointer; if a slot that"
            " moved keeps them, they describe other pages.",
            "slots that took over what the one before them had",
            "kvm_set_memslot memslot_rmap_alloc mmu_first_shadow_root_alloc",
            "arch-data-in-the-window lazy-rmap-vs-update shadow-root-and-failed-move",
            "locking mmu trees",
        ),
        _of(
            "invalid-is-seen",
            "A slot cannot just go: vCPUs have translations from it. First a copy with"
            " the flag INVALID takes its place, so that nobody makes new ones; when"
            " the readers from before have left, the old ones can be flushed for good;"
            " and only then may the copy go, too.",
            "INVALID copies that went as they must",
            "kvm_invalidate_memslot kvm_delete_memslot kvm_move_memslot"
            " kvm_arch_flush_shadow_memslot",
            "lookup-during-delete fault-during-delete failed-move",
            "delete trees mmu",
        ),
        _of(
            "no-stale-translation",
            "Once a slot is deleted, or the host takes a page back, its memory may be"
            " anybody's. A translation that is left, or that somebody makes from what"
            " he looked up a moment before, lets the guest write to it.",
            "flushes and zaps that left nothing, and uses of a translation",
            "kvm_mmu_zap_all_fast is_page_fault_stale kvm_zap_gfn_range"
            " kvm_unmap_gfn_range",
            "fault-during-delete unmap-during-fault zap-range-during-fault",
            "mmu delete",
        ),
        _of(
            "mmio-cache-fresh",
            "That a page has no slot, so that a device answers, is remembered, with"
            " the generation. When a slot is created there, the generation grows, and"
            " what is remembered must not be believed any more: or the guest's memory"
            " is taken for a device.",
            "times it was rightly remembered that a page has no slot",
            "check_mmio_spte mark_mmio_spte vcpu_match_mmio_gpa",
            "mmio-then-create mmio-generation-wraps mmio-in-smm",
            "generations mmu",
        ),
        _of(
            "notifier-balanced",
            "The host tells KVM before it changes pages and again when it has: in"
            " between, faults must retry. Both ends look for slots; if a set is"
            " published in between, one end may find a slot that the other does not,"
            " and faults retry for ever, or never.",
            "invalidations that ended as they began",
            "kvm_mmu_notifier_invalidate_range_start"
            " kvm_mmu_notifier_invalidate_range_end kvm_swap_active_memslots",
            "notifier-vs-swap notifier-across-a-swap two-notifiers-and-a-swap",
            "locking mmu",
        ),
        _of(
            "no-dirty-page-lost",
            "A VM migrates by copying each page that the log names as written. A page"
            " that was written and is never named keeps its old content on the other"
            " side: memory is corrupted, silently.",
            "written pages that user space was told of",
            "kvm_get_dirty_log_protect kvm_clear_dirty_log_protect"
            " mark_page_dirty_in_slot kvm_mmu_slot_apply_flags",
            "get-during-writes migration log-on-during-writes",
            "dirty mmu",
        ),
        (
            "livelock",
            Rule(
                "from every state that can be reached the run can come to an end",
                "",
                "Tasks that run and never get anywhere are as bad as tasks that stand"
                " still, and harder to see: nobody waits.",
                "",
                ("direct_page_fault", "hva_to_pfn_retry"),
                ("prefault-during-delete",),
                (READING["checklist"],),
            ),
        ),
        (
            "starvation",
            Rule(
                "if everybody who can go on goes on in turn, everybody comes to an end",
                "",
                "A writer waits for readers; readers come and go, and new ones come."
                " If the wait has no end although each section does, one busy guest"
                " stops every change of its slots.",
                "",
                ("srcu_flip", "synchronize_srcu", "mmu_invalidate_retry_hva"),
                ("four-guests-and-create", "prefault-and-unmap"),
                (READING["srcu"], READING["checklist"]),
            ),
        ),
        (
            "lost-wakeup",
            Rule(
                "who waits is woken when what it waits for has come",
                "",
                "A wakeup that comes just before the wait, or for which nobody looks"
                " again, leaves a task asleep with nothing left that could wake it:"
                " a VM that cannot be destroyed, an update that never returns.",
                "",
                ("mn_memslots_update_rcuwait", "srcu_barrier", "kvm_vcpu_block"),
                ("invalidation-and-destroy", "teardown"),
                (READING["checklist"], READING["locking"]),
            ),
        ),
    )
)
"""Every rule that `memslots check` or a search of orders can find broken, by its id."""

TERMS = {
    "#": "number of a slot object, behind the slot's id; a slot that is changed becomes"
    " another object",
    "read section": "what a reader is in while it uses a set, without any lock;"
    " many may be open at once",
    "rank": "one of the two counters in which SRCU counts who is in a read section",
    "grace period": "the time until every read section is over that was open when it"
    " was asked for",
    "INVALID": "the flag of a copy that stands in for a slot about to go: nobody may"
    " make translations from it",
    "generation": "the number of a set's content, which caches compare; marked while"
    " an update is in progress",
    "publishes": "makes a set the active one, which readers find from then on",
    "slots_lock": "what every writer holds from the beginning of a change to its end",
    "translation": "an entry of page tables or of a TLB, which lets the guest reach"
    " host memory without asking",
    "flushed": "no translation made from it is left",
    "invalidation": "the host is changing pages, and tells KVM before and after",
    "gfn": "number of a guest page",
    "hva": "address in the VMM's memory, where the guest's page lies",
}
"""Words of the kernel, for those who meet them for the first time."""


def invariants_of(id_: str) -> dict[str, str]:
    """The invariants that a checker stands for, by their number."""
    checker = CHECKERS.get(id_)
    numbers = () if checker is None else checker.invariants
    return {number: INVARIANTS[number] for number in numbers}


def counted(id_: str) -> str:
    """What a checker counts; a checker may be somebody else's."""
    return RULES[id_].counted if id_ in RULES else "tests of a rule of its own"
