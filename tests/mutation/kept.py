"""What became of the mutants of a module when they were judged last."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from tests.architecture.pages import ROOT
from tests.mutation.judging import Fate

FOLDER = ROOT / ".memslots" / "mutation"


class Kept:
    """The fates of the mutants of one module, in a file.

    Args:
        module: Its path.
        source: Its text; of another text nothing is known.
    """

    def __init__(self, module: str, source: str) -> None:
        self._path = FOLDER / f"{module.replace('/', '.')}.json"
        self._source = hashlib.sha256(source.encode()).hexdigest()

    def read(self) -> dict[int, Fate]:
        """The fate of each mutant that is known, by its place."""
        if not self._path.exists():
            return {}
        told = json.loads(self._path.read_text())
        if told["source"] != self._source:
            return {}
        return {int(place): Fate(fate) for place, fate in told["fates"].items()}

    def write(self, fates: Mapping[int, Fate]) -> None:
        """Keep the fates of mutants, by their places; those of others stay known."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        known = {**self.read(), **fates}
        by_place = {place: known[place].value for place in sorted(known)}
        told = {"source": self._source, "fates": by_place}
        self._path.write_text(json.dumps(told, indent=0))
