"""What must always be so while slots change; each checker says which it stands for."""

from __future__ import annotations

from collections.abc import Mapping

from scenarios.checkers.checker import Checker

INVARIANTS = {
    "I1": "Whenever no update is under way, both sets of an address space hold the same"
    " slot objects.",
    "I2": "In a set, guest ranges are disjoint, an id is unique, and a slot is in all"
    " three indexes once, or in none.",
    "I3": "The index of host addresses has a slot from its first byte to its last.",
    "I4": "The last used slot of a set is in that set, if there is one.",
    "I5": "Only the inactive set is edited.",
    "I6": "A set is edited only when every reader that got hold of it has left.",
    "I7": "Nothing is freed while it can be reached from a set, from a reader's"
    " section, or from a cache that can still hit.",
    "I8": "A generation is marked as in progress from the publishing of its set to the"
    " end of the same swap, and a VM makes one swap at a time.",
    "I9": "Generations of an address space grow, and none, marked or not, stands for"
    " two contents.",
    "I10": "A generation modulo the number of address spaces is the address space.",
    "I11": "Whenever no update is under way, the page count is the sum of the pages of"
    " all slots.",
    "I12": "Whenever no update is under way, no slot is INVALID.",
    "I13": "A slot has a dirty bitmap exactly if its pages are logged, but not in a"
    " ring.",
    "I14": "No count of invalidations is ever negative, and one is in progress only"
    " between its start and its end, or while KVM itself zaps a range.",
    "I15": "An invalidation sees the same active sets at its start and at its end.",
    "I16": "When an INVALID slot has been flushed, no translation goes through it.",
    "I17": "Locks are nested in one order.",
    "I18": "What is allocated for a slot is freed exactly once.",
}
"""The invariants by their number."""


def watchers(checkers: Mapping[str, type[Checker]]) -> dict[str, list[str]]:
    """Who stands for each invariant.

    Args:
        checkers: By id.
    """
    return {
        number: [id_ for id_, kind in checkers.items() if number in kind.invariants]
        for number in INVARIANTS
    }
