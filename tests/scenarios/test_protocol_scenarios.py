"""A scenario may name a protocol in place of the model."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from scenarios.catalogue.entries import entries
from scenarios.checkers.judge import Verdict
from scenarios.errors import InputError
from scenarios.explorer.delete_under_srcu import DeleteUnderSrcu
from scenarios.explorer.machine_program import MachineProgram
from scenarios.explorer.programs import identity, program_of
from scenarios.kinds import with_memslots
from scenarios.logbook.check import check_log
from scenarios.logbook.writer import LogWriter
from scenarios.planner import plan_for
from scenarios.runner import run
from scenarios.scenario_file import parse_scenario
from scenarios.strategies.by_name import STRATEGIES

NAME = "delete-under-srcu"
HEAD = 'schema = 1\nname = "own"\n'
PROTOCOL = f'\n[protocol]\nname = "{NAME}"\n'


def refused(text: str) -> str:
    with pytest.raises(InputError) as raised:
        parse_scenario(HEAD + text, "own.toml")
    return str(raised.value)


def test_plan_of_a_protocol_is_its_program() -> None:
    program = program_of(plan_for(NAME))
    assert isinstance(program, DeleteUnderSrcu)
    assert (program.name, program.readers) == (NAME, 2)
    assert isinstance(program_of(plan_for("teardown")), MachineProgram)


def test_number_of_readers_and_budget_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(f"{HEAD}budget = 7\n{PROTOCOL}readers = 5\n")
    result = run(plan_for(str(path)))
    assert result.tasks == (*(f"reader{index}" for index in range(5)), "writer")
    assert result.report.steps == 7
    assert program_of(plan_for(str(path))).name == "own"


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("mode", ["controlled", "trio"])
def test_protocol_holds_and_so_says_its_log(
    strategy: str, mode: str, tmp_path: Path
) -> None:
    plan = attrs.evolve(plan_for(NAME), strategy=strategy, mode=mode)
    log = tmp_path / "run.jsonl"
    result = run(plan, log=LogWriter(log))
    assert result.judgement.verdict is Verdict.HOLDS
    assert (result.report.steps, result.finding) == (27, None)
    exercised = {
        id_: each.exercised
        for id_, each in result.judgement.checkers.items()
        if each.exercised
    }
    assert exercised.pop("no-use-after-free", 0) <= 2
    assert exercised == {"retired-set-quiet": 2, "no-stale-translation": 1}
    assert check_log(log) == result.judgement


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            PROTOCOL + '[[readers]]\nname = "r"\naccesses = [{ gpa = 0 }]\n',
            (
                "own.toml: readers: the protocol delete-under-srcu runs in place of the"
                " model, with tasks of its own; delete readers or [protocol]"
            ),
        ),
        ("cpus = 3\n" + PROTOCOL, "own.toml: cpus: the protocol delete-under-srcu"),
        ("[mmu]\nzap = 'slot'\n" + PROTOCOL, "own.toml: mmu: the protocol delete-"),
        (PROTOCOL + "readers = 0\n", "own.toml: protocol: 'readers' must be >= 1: 0"),
        (PROTOCOL + "readers = 65\n", "own.toml: protocol: 'readers' must be <= 64: 6"),
        (
            PROTOCOL + "writers = 2\n",
            "own.toml: protocol: unknown key 'writers'; known are name, readers",
        ),
        ("[protocol]\n", "own.toml: protocol.name: key 'name' is missing"),
        (
            '[protocol]\nname = "dekker"\n',
            (
                "own.toml: protocol.name: 'dekker' is not a valid ProtocolName; known"
                " are delete-under-srcu"
            ),
        ),
        ("protocol = 3\n", "own.toml: protocol: must be a table, got 3"),
    ],
)
def test_what_a_protocol_cannot_be_is_refused(text: str, said: str) -> None:
    assert refused(text).startswith(said)


def test_protocol_has_neither_vcpus_nor_kinds_of_memslots() -> None:
    with pytest.raises(InputError, match="--vcpus 3 cannot be; copy its file"):
        plan_for(NAME, vcpus=3)
    assert plan_for(NAME, vcpus=0) == plan_for(NAME)
    with pytest.raises(InputError, match="--memslots array: delete-under-srcu is a p"):
        with_memslots(plan_for(NAME), "array")


def test_identity_changes_with_whatever_changes_a_run(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    text = entries()["lookup-during-delete"].read_text()
    path.write_text(text)
    plan = plan_for(str(path))
    path.write_text(f"{text}# changed\n")
    others = [
        plan_for(str(path)),
        plan_for("fault-during-delete"),
        plan_for("fault-during-delete", vcpus=4),
        with_memslots(plan, "array"),
    ]
    assert len({identity(each) for each in (plan, *others)}) == 5
    assert identity(plan) == identity(attrs.evolve(plan, seed=4, strategy="pos"))
