"""The kernel underneath: who runs, who waits, what is published, when it may be freed.

The room knows nothing of memory slots. Its modules, from the ground up:

- `operation`: a shared access, named by what it reads and writes.
- `errors`: rules that the modelled system can break, and bugs of our own.
- `trace`, `tracepoints`: events, and how they get to whoever reads them.
- `schedule`: tasks, schedule points, the two ways to run them; the only Trio below
  `scenarios`.
- `locks`, `rcuwait`: the ways to wait.
- `srcu`: read sections and grace periods.
- `published`: pointers that readers dereference.
- `reclaim`: what is freed is poisoned.
"""
