"""A log of any scenario says of its rules what the run said: verdict and counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.catalogue.entries import entries
from tests.scenarios.logbook.catalogue_logs import difference


@pytest.mark.slow
@pytest.mark.parametrize("name", entries())
def test_log_is_judged_as_its_run_was(tmp_path: Path, name: str) -> None:
    assert not difference(name, 1, tmp_path / "log.jsonl")


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "name", ["delete-under-srcu", "failed-move", "get-during-writes", "migration-ring"]
)
def test_so_is_the_log_of_other_orders(tmp_path: Path, name: str, seed: int) -> None:
    assert not difference(name, seed, tmp_path / "log.jsonl")
