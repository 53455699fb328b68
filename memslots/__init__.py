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
- `region`: a request, its checks, the change that it asks for; no state.
- `arch`: what this room asks of the architecture.
- `invalidations`: MMU-notifier sections that hold up a swap.
- `vm`: locks, SRCU domain, both sets of each address space.
- `resources`: what a slot owns, from allocation to the end.
- `update`: the protocol; the one place where a set changes.
- `tracepoints`: what this room tells the trace.
"""
