"""Sleepable RCU, as Tree SRCU in Linux 6.1.

- `counters`: what each processor keeps, and the conditions that read it.
- `grace_period`: scan, flip, scan; the worker that drives it and calls callbacks.
- `domain`: what readers and updaters call.
"""
