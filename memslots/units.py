"""The four ways to count memory, kept apart by type.

A gfn, a gpa and an hva are all plain integers at run time; the type checker
refuses one where another is due. Ranges are half-open, ``[start, end)``, and
the word *last* always means an inclusive end.

KVM: gfn_t, include/linux/kvm_types.h
"""

from __future__ import annotations

from typing import Final, NewType

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 1 << PAGE_SHIFT

# The number of a guest page.
Gfn = NewType("Gfn", int)

# A guest physical address in bytes: ``gfn << PAGE_SHIFT`` plus an offset.
Gpa = NewType("Gpa", int)

# An address in the host process that backs the guest's memory, in bytes.
Hva = NewType("Hva", int)

# A count of pages.
Pages = NewType("Pages", int)
