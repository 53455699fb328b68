"""What is not promised: each of these scenarios holds, and may surprise users."""

from __future__ import annotations

from scenarios.mutants.mutant import Limit

LIMITS = (
    Limit(
        id="L1",
        title="a slot cannot grow, or be split, in one step",
        observed=(
            "It is deleted and created anew, and in between there is no slot: a guest"
            " meets a device, and KVM gets EFAULT. Guests that must not see it have to"
            " be paused."
        ),
        scenario="slot-grows",
    ),
    Limit(
        id="L2",
        title="one section may see two sets",
        observed=(
            "Whoever dereferences the pointer twice in a section may find the set from"
            " before an update, and then the one from after it. Only within one set"
            " does everything agree."
        ),
        scenario="two-lookups-in-a-section",
    ),
    Limit(
        id="L3",
        title="two slots may show the same host page",
        observed=(
            "Host ranges of slots may overlap; no call refuses that. What is written"
            " through one is read through the other, and logged only where it was"
            " written."
        ),
        scenario="two-slots-of-one-page",
    ),
    Limit(
        id="L4",
        title="a slot may have host addresses at which nothing is mapped",
        observed=(
            "The call checks that the range lies in user space, and not that anything"
            " is there; address 0 is as good as any. Only who accesses the memory finds"
            " out."
        ),
        scenario="nothing-behind-a-slot",
    ),
    Limit(
        id="L5",
        title="moving a slot moves no memory",
        observed=(
            "The slot shows the same host pages at other guest addresses. Where it was"
            " the guest finds what else is there, and what it wrote is found where the"
            " slot is now."
        ),
        scenario="window-moves",
    ),
    Limit(
        id="L6",
        title="a get that returns EFAULT has cleared the log",
        observed=(
            "The marks are taken before they are copied to user space. If that fails,"
            " no later call tells of them, and the VMM must take every page of the slot"
            " for dirty."
        ),
        scenario="get-into-a-bad-bitmap",
    ),
)
