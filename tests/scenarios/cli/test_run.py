"""`run`: what it prints, which exit code it gives, what it refuses."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from scenarios.checkers.judge import CHECKERS
from tests.scenarios.cli.calling import (
    HEADER,
    HOLDS,
    INCONCLUSIVE,
    PAGE,
    SLOT,
    VCPUS,
    VIOLATES,
    VM,
    Cli,
    update,
    writer,
)

PROMISED = {
    "verdict",
    "scenario",
    "seed",
    "strategy",
    "steps",
    "calls",
    "mismatches",
    "read_sections",
    "grace_periods",
    "checkers",
    "log",
    "seconds",
}
"""Keys of the JSON object on which scripts may rely."""

VERDICTS = {"holds": (HOLDS, 0), "violation": (VIOLATES, 1)} | {
    "inconclusive": (INCONCLUSIVE, 3)
}


@pytest.fixture(params=VERDICTS)
def verdict(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """One verdict after the other; `own.toml` is a scenario that has it."""
    found: str = request.param
    (tmp_path / "own.toml").write_text(VERDICTS[found][0])
    return found


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A scenario that holds."""
    path = tmp_path / "own.toml"
    path.write_text(HOLDS)
    return path


def test_verdict_is_the_exit_code(cli: Cli, verdict: str) -> None:
    outcome = cli("run", "own.toml")
    assert outcome.code == VERDICTS[verdict][1]
    lines = outcome.out.splitlines()
    assert any(line.split(":")[0] == verdict for line in lines)
    assert not outcome.err


def test_exit_code_can_be_made_zero(cli: Cli, verdict: str) -> None:
    outcome = cli("run", "own.toml", "--exit-zero")
    assert outcome.code == 0
    assert any(line.startswith(verdict) for line in outcome.out.splitlines())


def test_exit_code_of_an_error_cannot_be_made_zero(cli: Cli) -> None:
    assert "none.toml" in cli("run", "none.toml", "--exit-zero").error


def test_json_is_one_object_with_what_was_promised(cli: Cli, verdict: str) -> None:
    outcome = cli("run", "own.toml", "--format", "json", "--log", "own.log")
    assert outcome.code == VERDICTS[verdict][1]
    assert not outcome.err
    told: dict[str, Any] = outcome.json
    assert set(told) >= PROMISED
    assert told["verdict"] == verdict
    assert told["scenario"] == "tiny"
    assert (told["seed"], told["strategy"]) == (0, "random")
    assert told["calls"] == 1
    assert told["log"] == "own.log"
    assert isinstance(told["seconds"], float)
    assert set(told["checkers"]) == set(CHECKERS)
    for result in told["checkers"].values():
        assert set(result) == {"exercised", "violations"}


def test_json_counts_what_the_text_counts(cli: Cli, own: Path) -> None:
    told = cli("run", own, "--format", "json").json
    text = cli("run", own).out
    counted = {
        "memory-region calls": told["calls"],
        "read sections": told["read_sections"],
        "grace periods": told["grace_periods"],
        "steps": told["steps"],
    } | {id_: each["exercised"] for id_, each in told["checkers"].items()}
    for label, count in counted.items():
        found = re.search(rf"^ +{label} +([\d,]+)", text, re.MULTILINE)
        assert found is not None, label
        assert int(found[1].replace(",", "")) == count, label


def test_quiet_prints_nothing_unless_it_does_not_hold(cli: Cli, verdict: str) -> None:
    outcome = cli("run", "own.toml", "-q")
    assert not outcome.err
    if verdict == "holds":
        assert not outcome.out
    else:
        assert f"\n{verdict}" in outcome.out
    assert cli("run", "own.toml", "--quiet").code == outcome.code


def test_quiet_keeps_notes_and_the_seed_to_itself(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "own.strace").write_text(VM + "no call\n" + update())
    outcome = cli("run", "own.strace", "-q", "--seed", "random")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


def test_verbose_also_prints_the_description(cli: Cli, own: Path) -> None:
    own.write_text(HOLDS.replace("\n", '\ndescription = "What it\\n shows."\n', 1))
    assert "What it shows." not in cli("run", own).out
    assert "What it shows." in cli("run", own, "-v").out


def test_verbose_prints_every_violation(cli: Cli, own: Path) -> None:
    own.write_text(HEADER + SLOT + VCPUS + writer("EEXIST", repeat=8))
    short, long = cli("run", own).out, cli("run", own, "--verbose").out
    assert short.count("violation of results-match") == 5
    assert "and 3 more violations (-v shows more)" in short
    assert long.count("violation of results-match") == 8
    assert "-v shows more" not in long


def test_violations_that_were_counted_only_are_told(cli: Cli, own: Path) -> None:
    own.write_text(HEADER + SLOT + VCPUS + writer("EEXIST", repeat=30))
    outcome = cli("run", own, "-v")
    assert outcome.out.count("violation of results-match") == 20
    assert "and 10 more violations" in outcome.out
    assert cli("run", own, "--format", "json").json["checkers"]["results-match"] == {
        "exercised": 30,
        "violations": 30,
    }


def test_same_seed_gives_the_same_log_and_another_seed_another(
    cli: Cli, own: Path, tmp_path: Path
) -> None:
    logs = []
    for place, seed in enumerate((5, 5, 6)):
        log = tmp_path / f"{place}.log"
        assert cli("run", own, "--seed", seed, "--log", log).code == 0
        logs.append(log.read_bytes())
    assert logs[0] == logs[1] != logs[2]


def test_drawn_seed_is_told_and_gives_the_same_run(cli: Cli, own: Path) -> None:
    drawn = cli("run", own, "--seed", "random", "--format", "json")
    seed = drawn.json["seed"]
    assert drawn.line == f"memslots: seed {seed}"
    again = cli("run", own, "--seed", seed, "--format", "json")
    assert not again.err
    assert again.json | {"seconds": 0} == drawn.json | {"seconds": 0}


def test_drawn_seeds_differ(cli: Cli, own: Path) -> None:
    lines = {cli("run", own, "--seed", "random").line for _ in range(3)}
    assert len(lines) > 1


def test_trio_decides_in_its_mode(cli: Cli, own: Path) -> None:
    told = cli("run", own, "--mode", "trio", "--format", "json").json
    assert (told["strategy"], told["mode"]) == ("trio", "trio")
    assert "Trio's own order" in cli("run", own, "--mode", "trio").out


def test_strategy_can_be_chosen(cli: Cli, own: Path) -> None:
    told = cli("run", own, "--strategy", "round-robin", "--format", "json").json
    assert told["strategy"] == "round-robin"


# How many vCPUs.


def test_trace_without_vcpus_holds_as_it_needs_no_reader(cli: Cli) -> None:
    told = cli("run", "q35-boot", "--vcpus", 0, "--format", "json").json
    assert told["verdict"] == "holds"
    assert (told["vcpus"], told["read_sections"]) == (0, 0)
    assert told["checkers"]["consistent-set"]["exercised"] == 0
    assert told["checkers"]["results-match"]["exercised"] == 39


def test_scenario_without_vcpus_is_inconclusive_if_a_checker_needs_them(
    cli: Cli, own: Path
) -> None:
    needs = 'must_exercise = ["consistent-set", "results-match"]\n'
    own.write_text(HEADER + needs + SLOT + VCPUS + writer())
    assert cli("run", own).code == 0
    outcome = cli("run", own, "--vcpus", 0)
    assert outcome.code == 3
    assert "\ninconclusive: consistent-set was not exercised\n" in outcome.out


def test_scenario_without_vcpus_holds_if_other_readers_exercise_its_checkers(
    cli: Cli,
) -> None:
    told = cli("run", "dual-set-swap", "--vcpus", 0, "--format", "json").json
    assert told["verdict"] == "holds"
    assert told["vcpus"] == 0
    assert told["checkers"]["consistent-set"]["exercised"] > 0


def test_scenario_in_which_nothing_happens_is_inconclusive(cli: Cli, own: Path) -> None:
    own.write_text(HEADER)
    outcome = cli("run", own, "--format", "json")
    assert outcome.code == 3
    assert outcome.json["reasons"] == ["no checker was exercised"]


def test_vcpus_are_multiplied(cli: Cli, own: Path) -> None:
    assert cli("run", own, "--format", "json").json["vcpus"] == 2
    assert cli("run", own, "--vcpus", 5, "--format", "json").json["vcpus"] == 5


def test_own_number_of_vcpus_leaves_their_distribution(cli: Cli, own: Path) -> None:
    other = VCPUS.replace("count = 2", "count = 7").replace("read", "emulated-read")
    own.write_text(HEADER + SLOT + VCPUS + other + writer())
    plain = cli("run", own, "--format", "json", "--log", "a.log").json
    named = cli("run", own, "--vcpus", 9, "--format", "json", "--log", "b.log").json
    assert plain["vcpus"] == 9
    assert Path("a.log").read_bytes() == Path("b.log").read_bytes()
    assert named | {"log": 0, "seconds": 0} == plain | {"log": 0, "seconds": 0}


def test_vcpus_cannot_be_made_of_nothing(cli: Cli, own: Path) -> None:
    own.write_text(HEADER + SLOT + writer())
    assert "--vcpus 3" in cli("run", own, "--vcpus", 3).error
    assert cli("run", own, "--vcpus", 0).code == 0


def test_run_that_uses_up_its_budget_is_inconclusive(cli: Cli, own: Path) -> None:
    own.write_text(HOLDS.replace("\n", "\nbudget = 30\n", 1))
    outcome = cli("run", own)
    assert outcome.code == 3
    assert "step budget used up" in outcome.out.splitlines()[-1]


# Which VM of a trace.


def test_one_vm_of_several_can_be_chosen(cli: Cli, tmp_path: Path) -> None:
    text = (
        VM
        + update()
        + VM.replace("9", "10")
        + update(fd=10)
        + update(1, gpa=PAGE, fd=10)
    )
    (tmp_path / "two.strace").write_text(text)
    assert (
        "no VM 'fd7'; it has fd9, fd10" in cli("run", "two.strace", "--vm", "fd7").error
    )
    for vm, calls in (("fd9", 1), ("fd10", 2)):
        told = cli("run", "two.strace", "--vm", vm, "--format", "json").json
        assert told["calls"] == calls


def test_vm_is_refused_for_a_scenario(cli: Cli, own: Path) -> None:
    assert "--vm fd9" in cli("run", own, "--vm", "fd9").error


def test_bound_of_calls_can_be_raised(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "own.strace").write_text(VM + update() + update(1, gpa=PAGE))
    error = cli("run", "own.strace", "--max-calls", 1).error
    assert "own.strace:3: more than 1 memory-region updates" in error
    assert "--max-calls N" in error


def test_trace_may_come_through_a_pipe(cli: Cli) -> None:
    reading, writing = os.pipe()
    os.write(writing, (VM + update()).encode())
    os.close(writing)
    try:
        assert cli("run", f"/dev/fd/{reading}").code == 0
    finally:
        os.close(reading)


# Where it writes.


@pytest.mark.parametrize("option", ["--log", "--schedule"])
def test_scenario_is_not_overwritten(cli: Cli, own: Path, option: str) -> None:
    (own.parent / "link").symlink_to("own.toml")
    for path in ("own.toml", own, "link"):
        assert str(path) in cli("run", "own.toml", option, path).error
        assert own.read_text() == HOLDS


def test_log_and_schedule_do_not_overwrite_each_other(cli: Cli, own: Path) -> None:
    error = cli("run", own, "--log", "x", "--schedule", "./x").error
    assert "will not overwrite x: the log goes there" in error
    assert not Path("x").exists()


def test_log_and_schedule_may_both_be_thrown_away(cli: Cli, own: Path) -> None:
    null = "/dev/null"
    assert cli("run", own, "--log", null, "--schedule", null).code == 0


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("none/x", "No such file or directory"),
        (".", "Is a directory"),
        ("own.toml/x", "Not a directory"),
        ("/dev/full", "No space left on device"),
        ("x" * 300, "File name too long"),
    ],
)
def test_unwritable_log_is_one_line(
    cli: Cli, own: Path, path: str, reason: str
) -> None:
    error = cli("run", own, "--log", path).error
    assert "cannot write the log" in error
    assert path in error
    assert reason in error


def test_unwritable_schedule_does_not_hide_the_verdict(cli: Cli, own: Path) -> None:
    own.write_text(VIOLATES)
    outcome = cli("run", own, "--schedule", "own.toml/x")
    assert outcome.code == 2
    assert "error: cannot write own.toml/x: Not a directory" in outcome.line
    assert "\nviolation\n" in outcome.out
    assert "Replay:" not in outcome.out


def test_violation_stays_one_if_nothing_can_be_kept_of_it(cli: Cli, own: Path) -> None:
    own.write_text(VIOLATES)
    Path(".memslots").write_text("a file where a folder should be")
    outcome = cli("run", own)
    assert outcome.code == 1
    assert "\nviolation\n" in outcome.out
    assert "Replay:" not in outcome.out
    (note,) = outcome.notes
    assert ".memslots/runs/tiny-random-0/schedule.json" in note
    assert "--schedule" in note
    told = cli("run", own, "--format", "json")
    assert told.json["schedule"] is None
    assert told.notes == [note]
