"""What a slot is, the two sets, and how one region changes: the writer's side.

From the ground up:

- `units`: gfn, gpa, hva, pages.
- `indexes`: red-black tree, interval tree, id hash; they know nothing of slots.
- `slot`: a slot and its nodes, one of each kind per set.
- `slot_set`: one set, its three indexes, its lookups, `replace`.
- `generation`: the number that tells one content of a set from the next.
- `dirty_bitmap`, `guest_memfd`: what a slot may own besides its range.
- `errors`: what KVM refuses, with its errno.
- `profile`: the limits of the kernel that is modelled.
- `allocator`: where what slots own comes from, and how it is made to run out.
- `region`: a request, its checks, the change that it asks for; no state.
- `arch`: what this room asks of the architecture.
- `invalidations`: MMU-notifier sections that hold up a swap.
- `dirty_ring`: where a vCPU may log its writes in place of bitmaps.
- `dirty_tracking`: who marks a page; `dirty_log` and `dirty_reset` are the ioctls that
  tell user space and take the marks away.
- `vm`: locks, SRCU domain, both sets of each address space.
- `resources`: what a slot owns, from allocation to the end.
- `internal_slots`: slots of the kernel's own.
- `teardown`: the end of a VM.
- `update`: the protocol; the one place where a set changes.
- `arrays`: sets, VM and protocol as they were before the trees.
- `tracepoints`: what this room tells the trace.
"""
