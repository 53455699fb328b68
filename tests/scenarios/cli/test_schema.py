"""`schema`: the format of logs as a JSON Schema."""

from __future__ import annotations

from scenarios.logbook.json_schema import log_schema
from tests.scenarios.cli.calling import Cli


def test_schema_of_a_log_is_printed_and_nothing_else(cli: Cli) -> None:
    outcome = cli("schema", "log")
    assert outcome.code == 0
    assert not outcome.err
    assert outcome.json == log_schema()
    assert outcome.json["$schema"].startswith("https://json-schema.org/")


def test_other_schema_is_refused(cli: Cli) -> None:
    outcome = cli("schema", "scenery")
    assert outcome.code == 2
    assert "scenery" in outcome.err
