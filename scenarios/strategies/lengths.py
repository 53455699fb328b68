"""How long the runs of a program are."""

from __future__ import annotations

import attrs


@attrs.frozen
class Lengths:
    """What some strategies have to know of a program before its first run.

    Attributes:
        choices: Steps at which more than one task could go on.
        steps: Steps of each task, by index.
    """

    choices: int
    steps: tuple[int, ...]
