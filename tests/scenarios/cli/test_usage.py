"""What the program says to those who call it wrongly, and to those who ask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scenarios.cli import main as main_module
from scenarios.cli.main import COMMANDS
from scenarios.version import VERSION
from tests.scenarios.cli.calling import Cli, environment, program

WRONG = {
    "unknown command": (["rn", "q35-boot"], ['"rn"', 'Did you mean "run"?']),
    "unknown flag": (["run", "q35-boot", "--sed", "3"], ["--sed", "--seed"]),
    "unknown global flag": (["--verson"], ["--verson"]),
    "no scenario": (["run"], ["SCENARIO"]),
    "no schedule": (["replay"], ["SCHEDULE"]),
    "no log": (["check"], ["LOG"]),
    "too much": (["run", "q35-boot", "twice"], ["twice"]),
    "flag without value": (["run", "q35-boot", "--log"], ["--log"]),
    "negative vcpus": (["run", "q35-boot", "--vcpus", "-1"], ['"-1"', ">= 0"]),
    "too many vcpus": (["run", "q35-boot", "--vcpus", "9999"], ["9999", "1024"]),
    "vcpus in words": (["run", "q35-boot", "--vcpus", "four"], ["four", "--vcpus"]),
    "negative seed": (["run", "q35-boot", "--seed", "-1"], ["-1", "--seed"]),
    "huge seed": (["run", "q35-boot", "--seed", str(1 << 63)], [str(1 << 63)]),
    "seed in words": (["run", "q35-boot", "--seed", "rnd"], ["rnd", "random"]),
    "unknown strategy": (
        ["run", "q35-boot", "--strategy", "rendom"],
        ["rendom", 'Did you mean "random"?'],
    ),
    "unknown mode": (["run", "q35-boot", "--mode", "fast"], ["fast", "controlled"]),
    "unknown format": (["run", "q35-boot", "--format", "xml"], ["xml", "json"]),
    "no calls at all": (["run", "q35-boot", "--max-calls", "0"], ["--max-calls", ">="]),
    "negated flag": (["run", "q35-boot", "--no-quiet"], ["--no-quiet"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_is_one_line_with_the_value_and_the_way_out(
    cli: Cli, case: str
) -> None:
    arguments, expected = WRONG[case]
    error = cli(*arguments).error
    for text in expected:
        assert text in error


def test_usage_errors_are_not_wrapped_in_a_narrow_terminal(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    assert "Available commands: list, describe, run" in cli("rn").error


def test_control_characters_of_an_argument_are_not_shown(cli: Cli) -> None:
    assert "[31m" in cli("\x1b[31mrun").error
    assert "[31m" in cli("run", "\x1b[31mq35\nboot").error


def test_markup_of_an_argument_is_shown_as_it_is(cli: Cli) -> None:
    assert "[red]run[/]" in cli("[red]run[/]").error
    assert "[red]q35[/]" in cli("run", "[red]q35[/]").error


def test_unknown_scenario_suggests_the_closest(cli: Cli) -> None:
    error = cli("run", "q35boot").error
    assert "'q35boot': did you mean q35-boot?" in error
    assert "memslots list" in error


def test_unknown_scenario_that_is_close_to_none_points_at_the_list(cli: Cli) -> None:
    error = cli("describe", "unheard-of").error
    assert "'unheard-of'" in error
    assert "did you mean" not in error
    assert "memslots list" in error


@pytest.mark.parametrize("length", [300, 5000])
def test_name_longer_than_any_file_name_is_an_unknown_scenario(
    cli: Cli, length: int
) -> None:
    assert "aaa" in cli("run", "a" * length).error


def test_name_that_is_not_utf8_is_refused(cli: Cli) -> None:
    assert "not UTF-8" in cli("run", "boot\udcff.strace").error


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli: Cli, command: str) -> None:
    outcome = cli(command, "--help")
    assert outcome.code == 0
    assert f"memslots {command}" in outcome.out
    assert not outcome.err


def test_help_names_every_command_and_exit_code(cli: Cli) -> None:
    outcome = cli("--help")
    assert outcome.code == 0
    for command, (_, text) in COMMANDS.items():
        assert command in outcome.out
        assert text in outcome.out
    told = " ".join(outcome.out.split())
    for meaning in (
        "0 holds",
        "1 violation",
        "2 usage, scenario or input error",
        "3 inconclusive",
        "4 replay diverged",
        "70 internal error",
        "130 interrupted",
    ):
        assert meaning in told


def test_no_command_at_all_shows_the_help(cli: Cli) -> None:
    assert cli() == cli("--help")


def test_version_is_told(cli: Cli) -> None:
    assert cli("--version").out == f"{VERSION}\n"


HEAVY = ("trio", "structlog", "cattrs", "msgspec", "rcu", "memslots", "vcpus")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_imports_nothing_that_runs_scenarios(
    arguments: list[str], tmp_path: Path
) -> None:
    code = (
        "import sys\nfrom scenarios.cli.main import main\nmain(sys.argv[1:])\n"
        "sys.stderr.write('\\n'.join(sys.modules))"
    )
    told = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        check=True,
        cwd=tmp_path,
        env=environment(),
        text=True,
    ).stderr.split()
    assert "cyclopts" in told
    assert not set(HEAVY) & set(told)
    ours = {name for name in told if name.startswith("scenarios.")}
    assert {name for name in ours if not name.startswith("scenarios.cli")} == {
        "scenarios.errors",
        "scenarios.printable",
        "scenarios.version",
    }


@pytest.mark.slow
def test_exit_code_of_the_program_is_that_of_main(tmp_path: Path) -> None:
    outcome = program("run", "q35boot", cwd=tmp_path)
    assert "did you mean q35-boot?" in outcome.error


def test_bug_of_ours_is_told_as_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("by accident")

    monkeypatch.setattr(main_module, "app", broken)
    outcome = cli("list")
    assert outcome.code == 70
    assert not outcome.out
    assert "ZeroDivisionError: by accident" in outcome.err
    assert "internal error" in outcome.err.splitlines()[-1]
