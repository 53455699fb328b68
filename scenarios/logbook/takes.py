"""Who may take the records of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rcu.trace import Record
from scenarios.logbook.writer import Header


class Takes(Protocol):
    """Takes the records of a run: a `LogWriter`, a `Report`, or several of them."""

    def begin(self, header: Header) -> None:
        """Take what the run is a run of."""

    def write(self, records: Sequence[Record]) -> None:
        """Take the next records."""

    def end(self, step: int, ending: str) -> None:
        """Take how the run ended."""
