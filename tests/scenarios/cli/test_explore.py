"""`explore`: what it prints, what it leaves behind, and how it is gone on with."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scenarios.checkers.judge import Verdict
from scenarios.cli.findings import Searching
from scenarios.explorer import programs
from scenarios.explorer.exploration import Answer, Progress, Question
from scenarios.explorer.program import Program
from scenarios.scenario import ProtocolName
from tests.scenarios.cli.calling import (
    HEADER,
    SLOT,
    Cli,
    Outcome,
    environment,
    prepared_program,
    program,
    writer,
)
from tests.scenarios.cli.test_replay import diverged, replay_line
from tests.scenarios.explorer.broken_deletes import BROKEN, BrokenDelete

NAME = "delete-under-srcu"
KEPT = Path(".memslots/explore/delete-under-srcu-exhaustive/schedule.json")
SECONDS = re.compile(r"\d+\.\d\d s")

Break = Callable[[str], None]


@pytest.fixture
def break_it(monkeypatch: pytest.MonkeyPatch) -> Break:
    """Breaks the protocol for every command that follows."""

    def change(broken: str) -> None:
        def make(readers: int, budget: int) -> Program:
            return BrokenDelete(BROKEN[broken], readers)

        monkeypatch.setitem(programs._PROTOCOLS, ProtocolName.DELETE_UNDER_SRCU, make)

    return change


# What holds.


def test_all_orders_of_the_protocol_are_covered(cli: Cli) -> None:
    outcome = cli("explore", NAME, "--strategy", "exhaustive")
    assert outcome.code == 0
    assert not outcome.err
    title, _, verdict, _, *facts = outcome.out.splitlines()
    assert title == "delete-under-srcu: strategy exhaustive"
    assert verdict.startswith("holds: 282,721,164 orders: 1,674 states in ")
    assert "other orders" not in outcome.out
    assert [line.split()[0] for line in facts] == [
        "runs",
        "steps",
        "states",
        "interleavings",
    ]
    assert facts[2] == "  states         1,674"
    assert facts[3] == "  interleavings  282,721,164, all covered"
    assert not Path(".memslots").exists()


def test_each_trace_can_be_run_once(cli: Cli) -> None:
    told = cli(
        *("explore", NAME, "--strategy", "exhaustive", "--no-prune"),
        *("--format", "json"),
    ).json
    assert told["exhausted"]
    assert told["distinct_traces"] == told["executions"]
    assert (told["distinct_states"], told["redundant"]) == (None, 0)


def test_orders_that_are_drawn_are_no_proof(cli: Cli) -> None:
    outcome = cli("explore", NAME, "--schedules", 50, "--seed", 7)
    assert outcome.code == 0
    assert (
        "holds: 50 orders drawn by pos, seeds 7 to 56; other orders may differ\n"
        in outcome.out
    )


def test_answer_as_json_is_one_object(cli: Cli) -> None:
    told = cli("explore", NAME, "--strategy", "exhaustive", "--format", "json").json
    assert told.pop("seconds") >= 0
    assert told.pop("executions") > 0
    assert told == {
        "scenario": NAME,
        "strategy": "exhaustive",
        "seeds": None,
        "jobs": 1,
        "verdict": "holds",
        "exhausted": True,
        "bound": told["bound"],
        "redundant": 0,
        "distinct_states": 1674,
        "distinct_traces": None,
        "interleavings": 282_721_164,
        "share": 1.0,
        "finding": None,
        "findings": [],
    }


def test_seeds_are_told_as_they_were_drawn(cli: Cli) -> None:
    told = cli("explore", NAME, "--seeds", "3:9", "--format", "json").json
    assert (told["seeds"], told["executions"], told["share"]) == ([3, 9], 6, None)
    default = cli("explore", NAME, "--schedules", 4, "--format", "json").json
    assert default["seeds"] == [0, 4]


def test_quiet_search_that_holds_prints_nothing(cli: Cli) -> None:
    assert cli("explore", NAME, "--schedules", 9, "-q") == Outcome(0, "", "")


def test_search_that_ends_early_is_inconclusive(cli: Cli) -> None:
    arguments = ("explore", NAME, "--strategy", "exhaustive", "--max-steps", 500)
    outcome = cli(*arguments)
    assert outcome.code == 3
    assert "\ninconclusive: ended after " in outcome.out
    assert cli(*arguments, "--exit-zero").code == 0
    assert cli(*arguments, "-q").out.startswith("delete-under-srcu: ")


def test_whole_model_is_searched_with_so_many_vcpus(cli: Cli) -> None:
    arguments = ("explore", "fault-during-delete", "--schedules", 3, "--vcpus")
    few, many = (cli(*arguments, count, "--format", "json").json for count in (1, 3))
    assert few["verdict"] == many["verdict"] == "holds"


@pytest.mark.slow
def test_two_processes_find_the_same(tmp_path: Path) -> None:
    arguments = ("explore", NAME, "--schedules", 12_000, "--format", "json")
    one = program(*arguments, cwd=tmp_path).json
    two = program(*arguments, "--jobs", 2, cwd=tmp_path).json
    del one["seconds"], two["seconds"]
    assert two == one | {"jobs": 2}


# What breaks.

BROKEN_TEXT = """\
delete-under-srcu: strategy exhaustive

violation: ended at 1 finding: N states in N runs

  runs    N in T s
  steps   N
  states  N

violation of retired-set-quiet: SetChanged: a set changed while in use
minimal: 10 steps in 3 blocks, 2 preemptions (!)
    reader0  1-4    read srcu_idx; write readers of rank 0; read active set; read set 0
  ! writer   5-8    write set 1; write active set; write spte; write set 0
  ! reader0  9-10   map spte, slot; read set 0
Step 8 (writer: write set 0) and step 10 (reader0: read set 0) meet at set 0 and could \
as well be made the other way round; what should have ordered them: a set is edited \
only when everybody who may use it has left his section.
Replay: memslots replay .memslots/explore/delete-under-srcu-exhaustive/schedule.json
"""


def test_what_breaks_is_told_as_the_shortest_story(cli: Cli, break_it: Break) -> None:
    break_it("NO_SYNC1")
    outcome = cli("explore", NAME, "--strategy", "exhaustive")
    assert outcome.code == 1
    assert not outcome.err
    head, mark, story = outcome.out.partition("\nviolation of")
    head = re.sub(r"(?<= )\d[\d,]*(?= state|$| in )", "N", SECONDS.sub("T s", head))
    head = re.sub(r"in \d+ runs", "in N runs", head)
    head = re.sub(r"^(  (steps|states) +)\d+$", r"\1N", head, flags=re.MULTILINE)
    assert head + mark + story == BROKEN_TEXT
    assert cli("explore", NAME, "--strategy", "exhaustive", "--exit-zero").code == 0


def test_finding_as_json(cli: Cli, break_it: Break) -> None:
    break_it("FREE_EARLY")
    arguments = ("explore", NAME, "--strategy", "exhaustive", "--format", "json")
    outcome = cli(*arguments)
    assert outcome.code == 1
    told = outcome.json
    assert told["verdict"] == "violation"
    assert told["findings"] == [told["finding"]]
    story = told["finding"].pop("story")
    assert story.startswith("Step 12 (writer: free slot, spte) and step 14 (reader0:")
    assert told["finding"] == {
        "checker": "no-use-after-free",
        "seen": "UseAfterFree: a reader uses a slot that was freed",
        "minimal": True,
        "preemptions": 3,
        "blocks": 4,
        "steps": 14,
        "seed": None,
        "schedule": str(KEPT),
    }


def test_seed_that_showed_it_first_is_told(cli: Cli, break_it: Break) -> None:
    break_it("NO_SYNC1")
    told = cli("explore", NAME, "--format", "json").json
    seed = told["finding"]["seed"]
    assert seed == told["executions"] - 1
    alone = cli("run", NAME, "--strategy", "pos", "--seed", seed)
    assert alone.code == 1


def test_every_finding_is_kept_the_shortest_first(cli: Cli, break_it: Break) -> None:
    break_it("NO_SYNC1")
    outcome = cli(
        *("explore", NAME, "--strategy", "exhaustive", "--maxfail", 0),
        *("--schedule", "own/order.json", "--format", "json"),
    )
    findings = outcome.json["findings"]
    assert {each["checker"] for each in findings} == {
        "retired-set-quiet",
        "no-stale-translation",
    }
    assert [each["schedule"] for each in findings] == [
        "own/order.json",
        "own/order.2.json",
    ]
    lengths = [(each["blocks"], each["steps"]) for each in findings]
    assert lengths == sorted(lengths)
    for each in findings:
        replayed = cli("replay", each["schedule"], "--format", "json")
        assert replayed.code == 1
        (violation,) = replayed.json["violations"]
        assert violation["checker"] == each["checker"]
        assert replayed.json["steps"] == each["steps"]


def test_what_was_found_is_replayed_until_it_is_mended(
    cli: Cli, break_it: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context():
        break_it("NO_SYNC2")
        outcome = cli("explore", NAME, "--strategy", "exhaustive")
        again = cli(*replay_line(outcome), "--log", "found.jsonl")
        assert again.code == 1
        assert "violation of retired-set-quiet in step 15 by reader0" in again.out
        assert cli("check", "found.jsonl").code == 1
        break_it("FREE_EARLY")
        assert diverged(cli(*replay_line(outcome))).endswith(
            "in step 13 writer did 'write set 1', and would 'free slot, spte' now"
        )


def test_violation_of_the_model_is_found_and_replayed(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(HEADER + SLOT + writer("EEXIST", repeat=2))
    outcome = cli("explore", "own.toml", "--schedules", 5, "--format", "json")
    assert outcome.code == 1
    finding = outcome.json["finding"]
    assert finding["checker"] == "results-match"
    assert finding["schedule"] == ".memslots/explore/tiny-pos/schedule.json"
    again = cli("replay", finding["schedule"], "--format", "json")
    assert again.code == 1
    told = again.json
    assert (told["steps"], told["ending"], told["strategy"]) == (
        finding["steps"],
        "stopped where its schedule ends",
        "pos",
    )


# How far it is.


def answer(**changes: Any) -> Answer:
    told: dict[str, Any] = {
        "verdict": "holds",
        "exhausted": False,
        "bound": "nothing",
        "executions": 0,
        "redundant": 0,
        "steps": 0,
        "distinct_states": None,
        "distinct_traces": None,
        "interleavings": None,
        "shown": (),
        "seconds": 0.0,
    }
    return Answer(**told | changes)


class Asked:
    """Takes the place of the search and keeps what it is asked."""

    def __init__(self) -> None:
        self.question = Question()
        self.options: dict[str, Any] = {}

    def __call__(self, _: Program, question: Question, **options: Any) -> Answer:
        self.question, self.options = question, options
        return answer()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr("scenarios.cli.explore.search", asked)
    return asked


QUESTIONS: dict[str, tuple[list[object], dict[str, Any]]] = {
    "nothing": ([], {}),
    "random": (
        ["--strategy", "random", "--sticky", 0.5, "--seed", 3],
        {"strategy": "random", "sticky": 0.5, "seeds": range(3, 10_003)},
    ),
    "pct": (
        ["--strategy", "pct", "--depth", 5, "--seeds", "7:9"],
        {"strategy": "pct", "depth": 5, "seeds": range(7, 9)},
    ),
    "urw": (
        ["--strategy", "urw", "--schedules", 5],
        {"strategy": "urw", "seeds": range(5)},
    ),
    "bounded": (
        ["--strategy", "bounded", "--preemptions", 0, "--maxfail", 3],
        {"strategy": "bounded", "preemptions": 0, "max_fail": 3},
    ),
    "exhaustive": (
        ["--strategy", "exhaustive", "--no-prune", "--max-steps", 9],
        {"strategy": "exhaustive", "prune": False, "max_steps": 9},
    ),
    "time": (["--time-limit", 1.5], {"time_limit": 1.5}),
}


@pytest.mark.parametrize("case", QUESTIONS)
def test_options_are_the_question(cli: Cli, asked: Asked, case: str) -> None:
    options, expected = QUESTIONS[case]
    assert cli("explore", NAME, *options).code == 0
    assert asked.question == Question(**expected)


def test_slots_in_arrays_are_told(cli: Cli, asked: Asked) -> None:
    outcome = cli("explore", "teardown", "--memslots", "array")
    assert outcome.out.startswith("teardown: strategy pos, slots in arrays\n")


@pytest.mark.parametrize(
    ("progress", "told"),
    [
        (Progress(executions=0, steps=0), "0 schedules, 0 a second, 4 s"),
        (
            Progress(executions=9_000, steps=5, orders=8_000),
            "9,000 schedules, 2,250 a second, 4 s, 8,000 distinct orders",
        ),
        (
            Progress(executions=40, steps=5, states=1_674, share=0.25),
            "40 schedules, 10 a second, 25%, about 12 s left, 4 s, 1,674 states",
        ),
        (
            Progress(executions=4, steps=5, level=1, share=0.0),
            "4 schedules, 1 a second, 0%, 4 s, with 1 preemption",
        ),
    ],
)
def test_progress_is_told(
    progress: Progress, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("scenarios.cli.findings.perf_counter", lambda: now[0])
    shown: list[str] = []
    searching = Searching("own", wanted=True)
    monkeypatch.setattr(searching, "show", shown.append)
    now[0] = 104.0
    searching.note(progress)
    assert (shown, searching.last) == ([told], progress)


def test_progress_of_a_resumed_search_is_that_since_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr("scenarios.cli.findings.perf_counter", lambda: now[0])
    shown: list[str] = []
    searching = Searching("own", wanted=True, resumed=True)
    monkeypatch.setattr(searching, "show", shown.append)
    searching.note(Progress(executions=1_000, steps=5, share=0.5))
    now[0] = 110.0
    searching.note(Progress(executions=1_200, steps=5, share=0.6))
    assert shown == [
        "1,000 schedules, 0 a second, 50%, 0 s",
        "1,200 schedules, 20 a second, 60%, about 40 s left, 10 s",
    ]


def test_nothing_is_told_where_nobody_looks(cli: Cli) -> None:
    assert not cli("explore", NAME, "--schedules", 3_000).err


# Ctrl-C, and how to go on.


def interrupting(monkeypatch: pytest.MonkeyPatch, checkpoint: Path | None) -> None:
    """Let the search be interrupted after a while."""

    def search(
        *_: object, on_progress: Callable[[Progress], None], **__: object
    ) -> Any:
        on_progress(Progress(executions=1_234, steps=9))
        if checkpoint is not None:
            checkpoint.write_text("so far")
        raise KeyboardInterrupt

    monkeypatch.setattr("scenarios.cli.explore.search", search)


def test_interrupted_search_says_how_to_go_on(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupting(monkeypatch, Path("my own"))
    outcome = cli("explore", NAME, "--checkpoint", "my own")
    assert (outcome.code, outcome.out) == (130, "")
    assert outcome.line == (
        "memslots: interrupted; 1,234 orders were tried; my own keeps how far it is; go"
        " on with: memslots explore delete-under-srcu --resume 'my own'"
    )


def test_how_to_go_on_names_what_the_scenario_was_made_with(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupting(monkeypatch, Path("c"))
    arguments = ("--checkpoint", "c", "--vcpus", 2, "--memslots", "array")
    assert cli("explore", "fault-during-delete", *arguments).line.endswith(
        "go on with: memslots explore fault-during-delete --resume c --memslots array"
        " --vcpus 2"
    )


def test_interrupted_search_without_a_checkpoint_says_what_would_keep_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupting(monkeypatch, None)
    assert cli("explore", NAME).line == (
        "memslots: interrupted; 1,234 orders were tried; nothing is kept of them;"
        " --checkpoint FILE would keep it"
    )


@pytest.mark.slow
def test_search_that_a_user_interrupts_goes_on_where_it_was(
    cli: Cli, tmp_path: Path
) -> None:
    # A shell that starts tests in the background may have the signal ignored.
    listen = (
        "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from scenarios.explorer import driver\ndriver.SAVED_EVERY = 0.1"
    )
    count = 1_000_000_000
    command = prepared_program(
        listen, "explore", NAME, "--schedules", count, "--checkpoint", "kept"
    )
    kept = tmp_path / "kept"
    with subprocess.Popen(  # noqa: S603 - our own program
        command,
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while process.poll() is None and not kept.exists():
            os.sched_yield()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    outcome = Outcome(process.returncode, out, err)
    assert outcome.code == 130, outcome
    assert not outcome.out
    assert outcome.line.endswith(f"memslots explore {NAME} --resume kept")
    told = cli(
        *("explore", NAME, "--resume", "kept", "--time-limit", 0.5, "--format", "json")
    )
    assert told.code == 3
    assert told.json["verdict"] == Verdict.INCONCLUSIVE.value
    assert told.json["seeds"] == [0, count]
    (tried,) = re.findall(r"; ([\d,]+) orders were tried;", outcome.line)
    assert told.json["executions"] > int(tried.replace(",", ""))
