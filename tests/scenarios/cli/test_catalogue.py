"""`list` and `describe`."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.catalogue.entries import entries
from scenarios.checkers.judge import CHECKERS
from tests.scenarios.cli.calling import HEADER, HOLDS, PAGE, VM, Cli, update

NAMES = tuple(entries())
DESCRIBED = {"name", "family", "description", "tasks", "checkers", "ignored_lines"}


def test_list_shows_every_scenario_on_a_line_of_its_own(cli: Cli) -> None:
    outcome = cli("list")
    assert outcome.code == 0
    assert not outcome.err
    heading, *lines = outcome.out.splitlines()
    assert heading.split()[:3] == ["name", "family", "tasks"]
    assert [line.split()[0] for line in lines] == list(NAMES)
    assert all(line.endswith(".") for line in lines)
    assert all(line == line.rstrip() for line in outcome.out.splitlines())


def test_list_as_json_is_one_array(cli: Cli) -> None:
    outcome = cli("list", "--format", "json")
    assert outcome.code == 0
    assert not outcome.err
    assert [each["name"] for each in outcome.json] == list(NAMES)
    assert all(set(each) == DESCRIBED for each in outcome.json)
    assert all(each["description"] and each["tasks"] for each in outcome.json)


@pytest.mark.parametrize("name", NAMES)
def test_description_says_who_and_what(cli: Cli, name: str) -> None:
    outcome = cli("describe", name)
    assert outcome.code == 0
    assert not outcome.err
    described = cli("describe", name, "--format", "json").json
    assert set(described) == DESCRIBED
    assert outcome.out.startswith(f"{name}: family {described['family']}\n")
    assert described["description"] in outcome.out
    assert ", ".join(described["tasks"]) in outcome.out
    assert set(described["checkers"]) <= set(CHECKERS)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_described_file_runs_as_the_scenario_itself(
    cli: Cli, name: str, tmp_path: Path
) -> None:
    outcome = cli("describe", name, "--format", "file")
    assert outcome.code == 0
    assert outcome.out.encode() == entries()[name].read_bytes()
    copy = tmp_path / f"{name}{entries()[name].suffix}"
    copy.write_text(outcome.out)
    own = cli("run", name, "--format", "json").json
    copied = cli("run", copy.name, "--format", "json").json
    del own["seconds"], copied["seconds"]
    assert copied == own


def test_file_is_printed_as_it_is(cli: Cli, tmp_path: Path) -> None:
    text = f"# \t[red] :smile: \r\n{HOLDS}# no newline at the end"
    (tmp_path / "own.toml").write_text(text, newline="")
    assert cli("describe", "own.toml", "--format", "file").out == text


def test_scenario_without_a_description_is_described(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(HEADER)
    outcome = cli("describe", "own.toml")
    assert outcome.code == 0
    assert outcome.out.startswith("tiny: family own\n\ntasks")


def test_one_vm_of_several_can_be_described(cli: Cli, tmp_path: Path) -> None:
    text = (
        VM
        + update()
        + VM.replace("9", "10")
        + update(fd=10)
        + update(1, gpa=PAGE, fd=10)
    )
    (tmp_path / "two.strace").write_text(text)
    assert "--vm: fd9, fd10" in cli("describe", "two.strace").error
    outcome = cli("describe", "two.strace", "--vm", "fd10")
    assert outcome.code == 0
    assert "\n2 memory-region calls" in outcome.out


def test_bound_of_calls_can_be_raised_for_a_description(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "own.strace").write_text(VM + update() + update(1, gpa=PAGE))
    assert "--max-calls" in cli("describe", "own.strace", "--max-calls", 1).error
    assert cli("describe", "own.strace", "--max-calls", 2).code == 0
