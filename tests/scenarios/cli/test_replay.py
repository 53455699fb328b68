"""A violation, the schedule that it leaves, and its replay."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import attrs
import pytest

from scenarios.kvm_thread import KvmThread
from scenarios.planner import plan_for
from tests.scenarios.cli.calling import (
    HEADER,
    HOLDS,
    PAGE,
    SLOT,
    VCPUS,
    VIOLATES,
    VM,
    Cli,
    Outcome,
    update,
    writer,
)

KEPT = Path(".memslots/runs/tiny-random-0/schedule.json")


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A scenario that is violated: its call succeeds, but must fail."""
    path = tmp_path / "own.toml"
    path.write_text(VIOLATES)
    return path


def findings(outcome: Outcome) -> list[str]:
    """The paragraphs about violations."""
    paragraphs = outcome.out.split("\n\n")
    return [each for each in paragraphs if each.startswith("violation of")]


def replay_line(outcome: Outcome) -> list[str]:
    """What stands in the one line that replays a run."""
    (line,) = re.findall(r"^Replay: (.*)$", outcome.out, re.MULTILINE)
    program, *arguments = shlex.split(line)
    assert program == "memslots"
    return arguments


def test_violation_is_told_with_step_actor_reason_and_source(
    cli: Cli, own: Path
) -> None:
    outcome = cli("run", own)
    assert outcome.code == 1
    assert not outcome.err
    told = cli("run", own, "--format", "json").json
    (violation,) = told["violations"]
    assert violation["checker"] == "results-match"
    assert violation["actor"] == "vmm"
    region = (
        "slot 1 of address space 0, gpa 0x8000, size 0x2000, hva 0x7f0000100000,"
        " flags 0x0"
    )
    (finding,) = findings(outcome)
    assert finding == (
        f"violation of results-match in step {violation['step']} by vmm\n"
        f"  seen    the call of line 1 ({region}) returned 0, but EEXIST is recorded\n"
        "  after   step 0\n"
        "  rule    each call returns what the recording, or the scenario, says it"
        " returns\n"
        "  source  KVM: kvm_set_memory_region, virt/kvm/kvm_main.c"
    )
    assert told["mismatches"] == [
        {"line": 1, "region": region, "expected": "EEXIST", "result": "0"}
    ]
    assert "  results as recorded  0 of 1\n" in outcome.out


def test_violation_leaves_a_schedule_and_the_line_that_replays_it(
    cli: Cli, own: Path
) -> None:
    outcome = cli("run", own)
    assert replay_line(outcome) == ["replay", str(KEPT)]
    assert outcome.out.splitlines()[-2].startswith("Replay: ")
    assert outcome.out.splitlines()[-1] == f"Picture: {KEPT.with_suffix('.html')}"
    assert KEPT.is_file()
    assert "<!doctype html>" in KEPT.with_suffix(".html").read_text().lower()
    assert cli("run", own, "--format", "json").json["schedule"] == str(KEPT)


def test_replay_shows_the_same_violation(cli: Cli, own: Path) -> None:
    outcome = cli("run", own, "--log", "run.log")
    again = cli(*replay_line(outcome), "--log", "replay.log")
    assert again.code == 1
    assert findings(again) == findings(outcome) != []
    assert Path("replay.log").read_bytes() == Path("run.log").read_bytes()
    told = cli(*replay_line(outcome), "--format", "json").json
    run = cli("run", own, "--format", "json").json
    assert run["report"] == str(KEPT.with_suffix(".html"))
    assert told | {"seconds": 0} == run | {"seconds": 0, "report": None}


def test_quiet_does_not_hide_a_violation(cli: Cli, own: Path) -> None:
    outcome = cli("run", own, "-q")
    assert findings(outcome)
    assert replay_line(outcome)
    assert findings(cli("replay", KEPT, "-q")) == findings(outcome)


def test_named_schedule_is_the_one_to_replay(cli: Cli, own: Path) -> None:
    outcome = cli("run", own, "--schedule", "my own/violation's.json")
    assert replay_line(outcome) == ["replay", "my own/violation's.json"]
    assert not KEPT.exists()
    assert cli(*replay_line(outcome)).code == 1


def test_run_that_holds_leaves_no_schedule_unless_asked(cli: Cli, own: Path) -> None:
    own.write_text(HOLDS)
    assert "Replay:" not in cli("run", own, "--schedule", "own.json").out
    assert not Path(".memslots").exists()
    assert cli("replay", "own.json").code == 0
    assert cli("replay", "own.json", "-q") == Outcome(0, "", "")


def test_name_of_a_scenario_leads_nowhere_else(cli: Cli, own: Path) -> None:
    name = 'name = "../../../\\u001b[31m' + "x" * 300
    own.write_text(VIOLATES.replace('name = "tiny', name, 1))
    arguments = replay_line(cli("run", own))
    (folder,) = Path(".memslots/runs").iterdir()
    assert arguments == ["replay", str(folder / "schedule.json")]
    assert folder.name.startswith(".._.._.._")
    assert cli(*arguments).code == 1


CHOICES = [
    ("run", "q35-boot"),
    ("run", "q35-boot", "--vcpus", 1, "--seed", 7),
    ("run", "dual-set-swap", "--strategy", "round-robin"),
    ("run", "dual-set-swap", "--vcpus", 5, "--seed", "random"),
    ("run", "dual-set-swap", "--mode", "trio"),
    ("run", "q35-boot", "--mode", "trio"),
]


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES, ids=lambda each: " ".join(map(str, each)))
def test_log_of_a_replay_is_that_of_the_run(cli: Cli, choice: list[object]) -> None:
    run = cli(*choice, "--log", "run.log", "--schedule", "own.json")
    assert run.code == 0
    assert cli("replay", "own.json", "--log", "replay.log").code == 0
    assert Path("replay.log").read_bytes() == Path("run.log").read_bytes()


def test_own_distribution_of_vcpus_is_replayed(cli: Cli, own: Path) -> None:
    other = VCPUS.replace("count = 2", "count = 7").replace("read", "emulated-read")
    own.write_text(HEADER + SLOT + VCPUS + other + writer())
    assert cli("run", own, "--log", "a", "--schedule", "own.json").code == 0
    assert cli("replay", "own.json", "--log", "b").code == 0
    assert Path("a").read_bytes() == Path("b").read_bytes()


def test_run_with_more_calls_than_usual_is_replayed(
    cli: Cli, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def noted(*arguments: Any, **options: Any) -> Any:
        asked.append(options["max_calls"])
        return plan_for(*arguments, **options)

    monkeypatch.setattr("scenarios.cli.replay.plan_for", noted)
    cli("run", own)
    assert cli("replay", KEPT).code == 1
    assert asked[0] > 1 << 32


def test_chosen_vm_is_replayed(cli: Cli, tmp_path: Path) -> None:
    text = (
        VM
        + update()
        + VM.replace("9", "10")
        + update(fd=10)
        + update(1, gpa=PAGE, fd=10)
    )
    (tmp_path / "two.strace").write_text(text)
    assert cli("run", "two.strace", "--vm", "fd10", "--schedule", "s").code == 0
    assert cli("replay", "s", "--format", "json").json["calls"] == 2


# Schedules that do not fit.


@attrs.frozen
class Changed:
    """Replays the schedule of a violation after changing it."""

    cli: Cli
    kept: dict[str, Any]

    def __call__(self, **changes: Any) -> Outcome:
        Path("changed.json").write_text(json.dumps(self.kept | changes))
        return self.cli("replay", "changed.json")

    @property
    def steps(self) -> list[tuple[int, list[int]]]:
        """Its turns, to be changed."""
        return [(task, [*made]) for task, made in self.kept["steps"]]


@pytest.fixture
def changed(cli: Cli, own: Path) -> Changed:
    """Replays a changed schedule."""
    assert cli("run", own).code == 1
    return Changed(cli, json.loads(KEPT.read_text()))


def diverged(outcome: Outcome) -> str:
    """Why a replay did not follow its recording."""
    assert outcome.code == 4
    assert outcome.line.startswith("memslots: the replay diverged: ")
    return outcome.line


def test_unchanged_schedule_is_replayed(changed: Changed) -> None:
    assert changed().code == 1


@pytest.mark.parametrize("kept", [0, 1, 20, 200, -3])
def test_schedule_that_is_cut_off_is_refused(changed: Changed, kept: int) -> None:
    Path("cut.json").write_bytes(KEPT.read_bytes()[:kept])
    error = changed.cli("replay", "cut.json").error
    assert "cut.json: not a schedule, or only a part of one" in error


def test_schedule_of_another_version_is_refused(changed: Changed) -> None:
    error = changed(version=1).error
    assert "a schedule of version 1, this program reads 2" in error
    assert "replay it with" in error


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "format": ({"format": "rcu-schedule"}, "not a schedule"),
    "key": ({"colour": "red"}, "colour"),
    "seed": ({"seed": 1 << 70}, "$.seed"),
    "vcpus": ({"vcpus": -1}, "$.vcpus"),
    "many vcpus": ({"vcpus": 1 << 30}, "$.vcpus"),
    "mode": ({"mode": "fast"}, "$.mode"),
    "verdict": ({"verdict": "fine"}, "$.verdict"),
    "strategy": ({"strategy": "\x1b[31mluck"}, "unknown strategy"),
    "task": ({"steps": [[99, 1]]}, "steps[0]: task 99"),
    "negative task": ({"steps": [[-1, 1]]}, "steps[0]: task -1"),
    "no steps in a turn": ({"steps": [[0, 0]]}, "steps[0]: task 0 makes 0 steps"),
    "words": ({"steps": [["vmm", 1]]}, "$.steps[0][0]"),
    "endless": ({"steps": [[0, 1 << 60]]}, f"has {1 << 60} steps"),
    "source": ({"source": "none.toml"}, "none.toml: No such file"),
    "unknown source": ({"source": "q35boot"}, "did you mean q35-boot?"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_schedule_that_cannot_be_is_refused(changed: Changed, case: str) -> None:
    changes, expected = REFUSED[case]
    assert expected in changed(**changes).error


def test_schedule_with_half_its_steps_diverges(changed: Changed) -> None:
    steps = changed.steps[:5]
    made = sum(len(made) for _, made in steps)
    why = diverged(changed(steps=steps))
    assert f"the schedule ends after {made} steps, but" in why


def test_schedule_with_steps_to_spare_diverges(changed: Changed) -> None:
    steps = changed.steps
    made = sum(len(made) for _, made in steps)
    why = diverged(changed(steps=[*steps, [0, 5]]))
    assert f"the run ended after {made} steps, but the schedule has {made + 5}" in why


def test_schedule_with_a_task_that_cannot_go_diverges(changed: Changed) -> None:
    tasks = changed.kept["tasks"]
    waiting = tasks.index(next(name for name in tasks if name.endswith("-gp")))
    why = diverged(changed(steps=[[waiting, 1], *changed.steps]))
    assert f"step 1 is made by {tasks[waiting]}, which cannot" in why
    assert "vmm" in why


def test_schedule_with_more_tasks_than_the_run_diverges(changed: Changed) -> None:
    tasks = [*changed.kept["tasks"], "another"]
    why = diverged(changed(tasks=tasks, steps=[[len(tasks) - 1, 1]]))
    assert f"task number {len(tasks) - 1}" in why


def test_schedule_of_another_digest_diverges(
    cli: Cli, own: Path, changed: Changed
) -> None:
    assert "own.toml is not what it was" in diverged(changed(scenario_digest="0" * 64))
    own.write_text(VIOLATES + "# changed\n")
    assert "own.toml is not what it was" in diverged(cli("replay", KEPT))


def test_other_verdict_diverges(changed: Changed) -> None:
    outcome = changed(verdict="holds")
    assert findings(outcome)
    why = diverged(outcome)
    assert "the verdict was holds and is violation now" in why


def test_other_finding_diverges(changed: Changed) -> None:
    kept = changed.kept["finding"]
    assert kept["checker"] == "results-match"
    outcome = changed(finding={"checker": "deadlock", "seen": "nobody goes on"})
    assert findings(outcome)
    why = diverged(outcome)
    assert "the run showed deadlock: nobody goes on, and shows results-match: " in why
    assert "the run showed nothing, and shows " in diverged(changed(finding=None))


def test_first_step_with_another_operation_diverges(changed: Changed) -> None:
    """As after a change of the model that made its operations others."""
    operations = changed.kept["operations"]
    tasks, steps = changed.kept["tasks"], changed.steps
    number = max(made[0] for _, made in steps)  # the table is in order of appearance
    (turn,) = [place for place, (_, made) in enumerate(steps) if made[0] == number]
    step = 1 + sum(len(made) for _, made in steps[:turn])
    others = [*operations]
    others[number] = "read tea leaves"
    why = diverged(changed(operations=others))
    assert why.endswith(
        f"in step {step} {tasks[steps[turn][0]]} did 'read tea leaves', and would"
        f" '{operations[number]}' now"
    )


def test_schedule_of_another_model_goes_the_same_way_or_diverges(
    changed: Changed,
) -> None:
    outcome = changed(model_digest="0" * 64)
    assert outcome.code == 1
    (note,) = outcome.notes
    assert note == (
        "the schedule was recorded in another version of the model, and goes the same"
        " way in this one"
    )
    why = diverged(changed(model_digest="0" * 64, verdict="holds"))
    assert why.endswith(
        "is violation now; the schedule was recorded in another version of the model"
    )


def test_schedule_that_ends_before_the_run_stops_it(changed: Changed) -> None:
    assert changed(whole=False).code == 1
    steps = changed.steps[:5]
    made = sum(len(made) for _, made in steps)
    outcome = changed(whole=False, steps=steps, finding=None, verdict="inconclusive")
    assert outcome.code == 3
    assert f"  steps                {made:,} in" in outcome.out
    assert "  ended by             stopped where its schedule ends\n" in outcome.out


class Moody(KvmThread):
    """Does something else in every second machine."""

    made = 0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        Moody.made += 1
        self.is_moody = Moody.made % 2 == 0

    async def perform(self, what: Any, number: int) -> int:
        result = await super().perform(what, number)
        return -22 if self.is_moody else result


def test_run_that_depends_on_more_than_its_order_diverges(
    changed: Changed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scenarios.machine.KvmThread", Moody)
    why = diverged(changed())
    assert "run again, the same steps show results-match: the call of" in why
    assert "returned EINVAL, but EEXIST is recorded, and showed" in why


def test_diverged_replay_prints_no_result(changed: Changed) -> None:
    assert not changed(steps=changed.steps[:5]).out


def test_log_of_a_diverged_replay_is_inconclusive(changed: Changed) -> None:
    steps = changed.steps[:5]
    Path("changed.json").write_text(json.dumps(changed.kept | {"steps": steps}))
    diverged(changed.cli("replay", "changed.json", "--log", "own.log"))
    outcome = changed.cli("check", "own.log")
    assert outcome.code == 3
    assert "the run is not whole: interrupted" in outcome.out


def test_missing_schedule_is_refused(cli: Cli, tmp_path: Path) -> None:
    assert "none.json: No such file" in cli("replay", "none.json").error
    assert "Is a directory" in cli("replay", tmp_path).error


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 99, b"\xff\xfe", b"[]", b"3", b'"x"', b"{}", b"[" * 100_000],
    ids=["empty", "zeros", "binary", "array", "number", "text", "object", "nested"],
)
def test_other_file_is_no_schedule(cli: Cli, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "own.json").write_bytes(content)
    assert "own.json: not a schedule" in cli("replay", "own.json").error


def test_file_larger_than_any_schedule_is_refused(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scenarios.schedule_file.MAX_BYTES", 1 << 20)
    (tmp_path / "own.json").write_bytes(bytes(2 << 20))
    assert "own.json: a schedule has at most 1 MiB" in cli("replay", "own.json").error


def test_neither_schedule_nor_scenario_is_overwritten(
    cli: Cli, own: Path, changed: Changed
) -> None:
    for path in (KEPT, own):
        before = path.read_bytes()
        error = cli("replay", KEPT, "--log", path).error
        assert f"will not overwrite {path}" in error
        assert path.read_bytes() == before


def test_schedule_is_readable(changed: Changed) -> None:
    lines = KEPT.read_text().splitlines()
    assert lines[0] == "{"
    assert lines[-1] == "}"
    assert [line.split(":")[0].strip() for line in lines[1:-1]] == [
        f'"{key}"' for key in changed.kept
    ]
