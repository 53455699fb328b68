"""`list` and `describe`."""

from __future__ import annotations

import subprocess
import sys
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


def test_list_can_be_of_one_family(cli: Cli) -> None:
    listed = cli("list", "--family", "dirty-log", "--format", "json").json
    assert {each["family"] for each in listed} == {"dirty-log"}
    assert {"dirty-log-get", "migration"} <= {each["name"] for each in listed}
    lines = cli("list", "--family", "trace").out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["q35-boot", "trace"]]


def test_a_family_that_there_is_not_is_named_with_those_that_there_are(
    cli: Cli,
) -> None:
    error = cli("list", "--family", "perf").error
    assert "--family perf: no scenario belongs to it" in error
    assert "memslot-perf" in error


def test_the_catalogue_is_shown_without_importing_trio() -> None:
    code = (
        "import sys; from scenarios.cli.main import main; code = main(['list']);"
        " sys.exit(code or 'trio' in sys.modules)"
    )
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], capture_output=True, check=False
    )
    assert done.returncode == 0


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
@pytest.mark.parametrize("name", ["dual-set-swap", "hole-punch", "q35-boot"])
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
    outcome = cli("describe", "two.strace", "--vm", "fd10")
    assert outcome.code == 0
    assert "\n2 memory-region calls" in outcome.out
    both = cli("describe", "two.strace").out
    assert both.endswith(f"\n\n{outcome.out}")
    assert both.startswith("two.fd9: family trace\n")
    told = cli("describe", "two.strace", "--format", "json").json
    assert [each["name"] for each in told["vms"]] == ["two.fd9", "two.fd10"]


def test_bound_of_calls_can_be_raised_for_a_description(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "own.strace").write_text(VM + update() + update(1, gpa=PAGE))
    assert "--max-calls" in cli("describe", "own.strace", "--max-calls", 1).error
    assert cli("describe", "own.strace", "--max-calls", 2).code == 0
