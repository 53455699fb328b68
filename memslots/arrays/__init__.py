"""How it was before: all slots in one array, which is copied for each change.

Trees have replaced it; it is kept behind the same interface, so that whatever runs on
the one runs on the other. Both give the same results, contents and generations; only
the cost differs.

- `slot_array`: slots by descending gfn, a table of indexes by id, and what it costs.
- `array_set`: a set that keeps its slots in such an array.
- `array_vm`: a VM that keeps its slots in such sets, and frees them.
- `array_update`: what its protocol does instead of editing two sets in turn.
"""
