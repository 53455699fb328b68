"""`mutants`: the list, what came of them, and the story of one."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from scenarios.mutants.registry import registered
from tests.scenarios.cli.calling import Cli, Outcome, environment, prepared_program

TITLE = "the generation is not marked before the set is published"

MINE = '''
from memslots.update import Update
from scenarios.machine import Parts
from scenarios.mutants.mutant import Mutant, Provenance
from scenarios.mutants.steps import Step

class Same(Update):
    """Leaves nothing out."""

    async def mark_in_progress(self, slots, generation):
        {body}
        await super().mark_in_progress(slots, generation)

MUTANTS = (
    Mutant(
        id="same",
        title="nothing is left out",
        step=Step.SWAP_MARKS,
        why="It is. It is not.",
        provenance=Provenance(kind="rule", subject="none"),
        scenario="{scenario}",
        checker="{checker}",
        parts=Parts(update=Same),
        preemptions=0,
    ),
)
'''


def mine(
    folder: Path,
    *,
    body: str = "pass",
    scenario: str = "lookup-and-delete",
    checker: str = "generation-unique",
) -> Path:
    """A file with a mutant of somebody's own."""
    path = folder / "mine.py"
    path.write_text(MINE.format(body=body, scenario=scenario, checker=checker))
    return path


# The list.


def test_the_list_has_every_mutant_with_its_checker(cli: Cli) -> None:
    outcome = cli("mutants")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("  ")]
    assert [id_ for id_ in listed if not id_.startswith("L")] == list(registered())
    (line,) = [line for line in lines if line.endswith(TITLE)]
    assert line.split()[:2] == ["14", "generation-unique"]


def test_the_list_as_json_says_all_that_is_said_of_one(cli: Cli) -> None:
    told = cli("mutants", "--format", "json").json
    (one,) = [each for each in told["mutants"] if each["id"] == "14"]
    assert one["title"] == TITLE
    assert one["family"] == "swap"
    assert one["preemptions"] == 0
    assert one["provenance"]["kind"] == "rule"
    assert next(limit["id"] for limit in told["limits"]) == "L1"


# What came of them.


def test_a_mutant_is_killed_and_its_twin_holds(cli: Cli, tmp_path: Path) -> None:
    outcome = cli(
        *("mutants", "run", "#14", "--jobs", 1, "--format", "json"),
        *("--schedules", tmp_path / "kept"),
    )
    assert outcome.code == 0
    told = outcome.json
    assert told["good"] is True
    (one,) = told["mutants"]
    assert (one["id"], one["fate"], one["killed_by"]) == (
        "14",
        "killed",
        "generation-unique",
    )
    assert (one["preemptions"], one["switches"], one["steps"]) == (0, 0, 11)
    (twin,) = told["twins"]
    assert (twin["scenario"], twin["holds"]) == ("lookup-and-delete", True)
    assert outcome.err.splitlines()[0].startswith(
        "1/2  14: killed by generation-unique with 0 preemptions, "
    )
    replayed = cli("replay", tmp_path / "kept" / "14.json", "--format", "json")
    assert replayed.code == 1
    assert replayed.json["mutant"] == "14"


def test_several_processes_come_to_the_same(cli: Cli) -> None:
    arguments = ("mutants", "run", "14", "--quiet", "--format", "json")
    one, two = cli(*arguments, "--jobs", 1).json, cli(*arguments, "--jobs", 2).json
    for told in (one, two):
        for each in (*told["mutants"], *told["twins"]):
            del each["seconds"]
    assert one == two


def test_junit_counts_and_names_what_failed(cli: Cli, tmp_path: Path) -> None:
    outcome = cli(
        "mutants", "run", "14", mine(tmp_path), "--jobs", 1, "--format", "junit"
    )
    assert outcome.code == 1
    mutants, twins = ET.fromstring(outcome.out)  # noqa: S314 - our own
    assert (mutants.get("tests"), mutants.get("failures")) == ("2", "1")
    good, bad = mutants
    assert (good.get("classname"), len(good)) == ("memslots.swap", 0)
    assert bad.get("name") == "same: nothing is left out"
    (failure,) = bad
    message = "survived (all orders with at most 0 preemptions)"
    assert failure.get("message") == message
    assert (twins.get("tests"), twins.get("failures")) == ("1", "0")


def test_without_its_checker_a_mutant_survives(cli: Cli) -> None:
    outcome = cli("mutants", "run", "14", "--without", "generation-unique", "--jobs", 1)
    assert outcome.code == 1
    assert outcome.out.splitlines()[-2:] == [
        (
            "14 survived: generation-unique saw nothing (all orders with at most 0"
            " preemptions)"
        ),
        "0 of 1 mutants killed without generation-unique",
    ]


def test_another_checker_than_is_named_misjudges(cli: Cli, tmp_path: Path) -> None:
    path = mine(tmp_path, body="return", checker="grace-period")
    outcome = cli("mutants", "run", path, "--jobs", 1, "--quiet")
    assert outcome.code == 1
    assert not outcome.err
    complaint = outcome.out.splitlines()[-2]
    assert complaint.startswith(
        "same is misjudged by generation-unique with 0 preemptions, not by grace-period"
        " with 0 preemptions: set 1 was published as generation 0"
    )


def test_a_mutant_that_crashes_is_told_in_one_line(cli: Cli, tmp_path: Path) -> None:
    path = mine(tmp_path, body="raise KeyError('nobody')")
    for jobs in (1, 2):
        line = cli("mutants", "run", path, "--jobs", jobs, "--quiet").error
        assert line == (
            f"memslots: error: mutant {path}:same: raises KeyError: 'nobody' (in"
            " mine.py, line 11)"
        )


@pytest.mark.slow
def test_interrupted_run_says_how_far_it_came(tmp_path: Path) -> None:
    listen = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)"
    arguments = ("mutants", "run", *["14"], mine(tmp_path), "--jobs", 2)
    with subprocess.Popen(  # noqa: S603 - our own program
        prepared_program(listen, *arguments),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    outcome = Outcome(process.returncode, out, first + err)
    assert outcome.code == 130, outcome
    assert not outcome.out
    last = outcome.err.splitlines()[-1]
    assert last.startswith("memslots: interrupted; ")
    assert re.search(r" \d of 2 mutants and \d of 1 twins were tried$", last)


# The story of one.


def test_a_story_goes_as_far_as_the_right_protocol_parts(cli: Cli) -> None:
    outcome = cli("mutants", "show", "14")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert lines[0] == f"14: {TITLE}"
    assert lines[-2] == (
        "the protocol as it is: makes the same first 6 of 11 steps; then vmm does not"
        " 'acquire mn_invalidate_lock' but 'write generation of set 1 of address space"
        " 0'"
    )
    assert lines[-1].startswith("Replay: memslots replay ")


def test_a_story_as_json_has_every_step(cli: Cli) -> None:
    told = cli("mutants", "show", "14", "--format", "json").json
    assert told["checker"] == "generation-unique"
    assert len(told["steps"]) == 11
    assert told["steps"][-1] == ["vmm", "write memslots[0]"]
    assert told["alike"] == 6


def test_a_mutant_of_ones_own_is_searched_for(cli: Cli, tmp_path: Path) -> None:
    path = mine(tmp_path, body="return")
    outcome = cli("mutants", "show", f"{path}:same")
    assert outcome.code == 0
    assert "violation of generation-unique: " in outcome.out
    assert "Replay: " not in outcome.out


# What cannot be tried.


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (
            ["141"],
            (
                "unknown mutant '141': did you mean 14? 'memslots mutants' lists them;"
                " a file of your own ends in .py"
            ),
        ),
        (["nobody.py"], "nobody.py: there is no such file"),
        (["nobody.py:1"], "nobody.py: there is no such file"),
        (
            ["empty.py"],
            (
                "empty.py: has no MUTANTS; it has to be a tuple of"
                " scenarios.mutants.mutant.Mutant"
            ),
        ),
        (["broken.py"], "broken.py: ZeroDivisionError: division by zero"),
        (["mine.py:other"], "mine.py: has no mutant 'other'"),
    ],
)
def test_a_name_that_means_nothing_is_told(
    cli: Cli, tmp_path: Path, names: list[str], text: str
) -> None:
    (tmp_path / "empty.py").write_text("MUTANTS = ()\n")
    (tmp_path / "broken.py").write_text("1 / 0\n")
    mine(tmp_path)
    assert cli("mutants", "run", *names).error == f"memslots: error: {text}"
    assert cli("mutants", "show", *names).error == f"memslots: error: {text}"


def test_nobody_to_show_is_told(cli: Cli, tmp_path: Path) -> None:
    path = mine(tmp_path)
    assert cli("mutants", "show", path).error == (
        f"memslots: error: mutant {path}:same: no order shows it (all orders with at"
        " most 0 preemptions); is it another protocol at all?"
    )


def test_a_scenario_that_is_not_there_is_told(cli: Cli, tmp_path: Path) -> None:
    path = mine(tmp_path, scenario="nowhere")
    line = cli("mutants", "run", path, "--jobs", 1).error
    assert "unknown scenario 'nowhere'" in line


def test_a_checker_that_is_not_there_is_told(cli: Cli) -> None:
    line = cli("mutants", "run", "--without", "grace").error
    assert line.startswith(
        "memslots: error: --without grace: there is no such checker; there are"
        " consistent-set, "
    )
    assert cli("mutants", "run", "14", "--jobs", 0).code == 2


def test_a_story_can_be_drawn(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "story.html"
    assert cli("mutants", "show", "14", "--report", path, "--format", "json").code == 0
    assert "generation-unique" in path.read_text()
    assert cli("mutants", "show", "14", "--report", tmp_path / "story.doc").error
