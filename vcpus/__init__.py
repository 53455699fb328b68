"""Who reads the sets: guest CPUs and their MMU.

From the ground up:

- `host_memory`: the pages behind host virtual addresses; they are freed.
- `lookup`: from gfn to slot, through the mini-caches.
- `guest_memory`: from slot to hva, reads and writes of any length.
- `hva_cache`, `pfn_cache`: translations that KVM's threads remember; `pfn_refresh` is
  how a page gets into the latter, `cached_reader` uses one of each.
- `cmma`: a reader that looks where there may be a hole.
- `lpage_info`: which large pages of a slot may be mapped as one.
- `shadow_roots`: arch data that the first shadow root allocates late.
- `page_tables`: roots and translations, as the guest walks them.
- `mmu_lock`: what it protects besides: invalidations, and TLB flushes.
- `reverse_maps`: from a page of a slot to the shadow page tables that map it.
- `shadow_mmu`: page tables are filled, zapped and write-protected.
- `mmio_cache`: pages known to have no slot.
- `page_fault`: what KVM does when page tables do not allow an access.
- `vcpu`: the run loop, the guest, and what KVM does on an exit; `vcpu_requests` is what
  others ask of it.
- `mmu_notifier`: what the host tells KVM of its pages.
- `arch_x86`: what the writer asks of this architecture.
- `tracepoints`: what this room tells the trace.
"""
