"""Files that hold guest memory without mapping it to user space."""

from __future__ import annotations

import errno

import attrs

from memslots.errors import MemoryRegionError
from memslots.units import PAGE_SIZE


@attrs.define(eq=False)
class GuestMemfd:
    """A guest_memfd and the slots bound to it.

    Attributes:
        size_bytes: Length of the file.
        bindings: Bound ranges of the file in bytes, half-open.

    KVM: kvm_gmem_bind, virt/kvm/guest_memfd.c
    """

    size_bytes: int
    bindings: list[tuple[int, int]] = attrs.field(factory=list)

    def bind(self, offset: int, npages: int) -> None:
        """Reserve a range for a slot.

        Args:
            offset: Start of the range in the file, in bytes.
            npages: Its length.

        Raises:
            MemoryRegionError: EINVAL; the range is beyond the end or bound already.
        """
        end = offset + npages * PAGE_SIZE
        if end > self.size_bytes:
            raise MemoryRegionError(
                errno.EINVAL,
                f"guest_memfd range ends at {end:#x}, behind the file's end"
                f" {self.size_bytes:#x}",
            )
        for start, stop in self.bindings:
            if offset < stop and start < end:
                raise MemoryRegionError(
                    errno.EINVAL,
                    f"guest_memfd range {offset:#x}..{end:#x} meets the bound range"
                    f" {start:#x}..{stop:#x}",
                )
        self.bindings.append((offset, end))

    def unbind(self, offset: int, npages: int) -> None:
        """Give a range back."""
        self.bindings.remove((offset, offset + npages * PAGE_SIZE))
