"""Tasks, schedule points, and the two ways to run them.

- `task`: a simulated thread, and what a strategy may know of it.
- `scheduler`: what the model sees of a scheduler, whichever it is.
- `controlled`: a strategy decides at each point who goes next.
- `pool`: the Trio tasks that a controlled run borrows; the driver between them.
- `trio_driven`: Trio decides; a point is a checkpoint, waiting parks.
- `report`: how a run ended.

This is the only place below `scenarios` that touches Trio: an ``await`` that the
scheduler does not know would be a hole in determinism.
"""
