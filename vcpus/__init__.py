"""Who reads the sets: guest CPUs and their MMU.

- `host_memory`: the pages behind host virtual addresses.
- `lookup`: from gfn to slot, through the mini-caches.
- `guest_memory`: from slot to hva, reads and writes.
- `vcpu`: the run loop, and what it does on an exit.
- `shadow_roots`: arch data that the first shadow root allocates late.
- `arch_x86`: what the writer asks of this architecture.
- `tracepoints`: what this room tells the trace.
"""
