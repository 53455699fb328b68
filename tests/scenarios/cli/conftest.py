"""What every test of the command line may ask for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.cli.calling import Cli, Outcome, called


@pytest.fixture
def cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Cli:
    """Calls commands in this process, in an empty folder, and not on a terminal."""
    monkeypatch.chdir(tmp_path)
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: object) -> Outcome:
        return called(arguments, capfd.readouterr)

    return call
