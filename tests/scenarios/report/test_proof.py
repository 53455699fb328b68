"""A violation is told by its records: every one of them exists, and says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from rcu.trace import Record
from rcu.tracepoints import RuleWasBroken, SectionBegan
from scenarios.catalogue.entries import entries
from scenarios.errors import InputError
from scenarios.logbook.reader import LogReader
from scenarios.logbook.writer import LogWriter
from scenarios.mutants.mutant import MUST_NOTICE, OF_THE_SEARCH
from scenarios.mutants.registry import Registered, registered
from scenarios.mutants.schedules import kept, kept_orders
from scenarios.mutants.trying import plan_of
from scenarios.report.proof import Account, account_of
from scenarios.report.rules import RULES
from scenarios.report.sentences import sentence
from scenarios.report.writer import picture_of
from scenarios.runner import run
from scenarios.schedule_file import Schedule
from scenarios.strategies.replay import Replay
from tests.architecture.pages import DOCS

ORDERS = kept_orders()

ALL_BY_HIMSELF = {"37a", "66"}
"""Mutants in which somebody breaks a rule at once, without any step before."""


def log_of(mutant: Registered, schedule: Schedule, folder: Path) -> Path:
    """The log of the shortest order that shows a mutant."""
    path = folder / "bad.jsonl"
    order = Replay(schedule.order(), schedule.does(), whole=schedule.whole)
    log = LogWriter(path)
    run(plan_of(mutant), log=log, order=order)
    log.close()
    return path


def account(id_: str, folder: Path) -> Account:
    """What is said of the shortest order of a mutant of the package."""
    mutant = registered()[id_]
    schedule = kept(mutant)
    assert schedule is not None
    return account_of(LogReader(log_of(mutant, schedule, folder)))


def proof_of(id_: str, folder: Path) -> list[str]:
    """Its proof, line by line."""
    proof = account(id_, folder).proof
    assert proof is not None
    return [f"{line.head} {line.text}" for line in proof.lines]


# Every mutant that a checker notices.


@pytest.mark.parametrize(
    ("mutant", "schedule"), ORDERS, ids=[each.mutant.id for each, _ in ORDERS]
)
def test_whatever_a_mutant_shows_is_told_by_records_of_its_log(
    tmp_path: Path, mutant: Registered, schedule: Schedule
) -> None:
    path = log_of(mutant, schedule, tmp_path)
    log = LogReader(path)
    records = list(log.records())
    told = account_of(LogReader(path))
    if mutant.mutant.checker in OF_THE_SEARCH and told.proof is None:
        assert told.judgement.verdict.value == "inconclusive"
        return
    proof, violation = told.proof, told.judgement.violations[0]
    assert proof is not None
    assert proof.violation == violation
    if mutant.mutant.checker not in OF_THE_SEARCH:
        assert violation.checker == mutant.mutant.checker
    assert violation.causes or mutant.mutant.id in ALL_BY_HIMSELF
    for each in proof.records:
        assert repr(records[each.seq - 1]) == repr(each.record)
    assert [line.head for line in proof.lines][-2:] in (["but", "so"], ["until", "so"])
    assert {each.record.step for each in proof.records} <= {
        *violation.causes,
        violation.step,
        proof.after_step,
    }
    assert max(violation.causes, default=0) <= records[-1].step
    assert len(violation.causes) <= 3
    assert proof.before_step == min((*violation.causes, violation.step))
    # The picture flags the same steps.
    flag = picture_of(LogReader(path)).flags[0]
    assert (flag.step, flag.causes) == (violation.step, violation.causes)


# What is said.


def test_a_set_that_is_edited_under_a_reader(tmp_path: Path) -> None:
    told = account("62a", tmp_path)
    assert told.proof is not None
    assert proof_of("62a", tmp_path) == [
        "let kvm enters a read section, rank 0",
        "then kvm gets hold of set 0",
        (
            "then vmm publishes set 1 of address space 0 as generation 1, update in"
            " progress"
        ),
        "but vmm edits set 0: slot 1 #2 [0x1, 0x2) enters",
        (
            "so set 0 is edited while kvm, who got hold of it, is in the section that"
            " began in step 2"
        ),
    ]
    before = [(s.set, s.active, len(s.slots)) for s in told.proof.before]
    after = [(s.set, s.active, len(s.slots)) for s in told.proof.after]
    assert before == [(0, True, 1), (1, False, 1)]
    assert after == [(0, False, 2), (1, True, 2)]


def test_a_task_that_is_stuck(tmp_path: Path) -> None:
    assert proof_of("9", tmp_path) == [
        "let host takes mmu_notifier_slots_lock (shared)",
        "then vmm takes slots_lock",
        "then vmm takes slots_arch_lock",
        (
            "but vmm waits for ever to acquire mmu_notifier_slots_lock, which host"
            " holds; it holds slots_lock, slots_arch_lock itself"
        ),
        "so nobody is left who could let it go on, and the run ends",
    ]


def test_a_write_of_which_it_turns_out_later_that_it_is_lost(tmp_path: Path) -> None:
    assert proof_of("58", tmp_path) == [
        "let before anybody runs, every set has slot 0 #1 [0x0, 0x1) logged",
        (
            "but vcpu0 itself writes guest memory at gpa 0x0, at hva 0x7f0000000000,"
            " found through a slot"
        ),
        "until vcpu0 leaves its read section, rank 0, and it is too late",
        (
            "so vcpu0 wrote page 0 of slot 0 of address space 0 in step 17, but it had"
            " no mark, and whoever could have marked it since has not"
        ),
    ]


def test_of_two_records_of_a_step_the_one_that_matters_is_told(tmp_path: Path) -> None:
    """In one step vmm points to the reverse maps, and then to none."""
    assert proof_of("4c", tmp_path)[:2] == [
        "let nested allocates the rmap of slot #1",
        "then vmm lets slot #2 point to the dirty bitmap of #2, the lpage info of #1",
    ]


def test_the_words_that_are_used_are_told(tmp_path: Path) -> None:
    proof = account("62a", tmp_path).proof
    assert proof is not None
    assert list(proof.terms) == ["#", "read section", "rank", "generation", "publishes"]


def test_there_is_no_other_violation_than_there_is(tmp_path: Path) -> None:
    mutant, schedule = ORDERS[0]
    path = log_of(mutant, schedule, tmp_path)
    with pytest.raises(InputError, match=r"there is no violation 9; there are \d+ to"):
        account_of(LogReader(path), 9)


def test_every_event_makes_a_sentence() -> None:
    record = Record(1, "vcpu0\x1b[31m", SectionBegan("a\nb", 0))
    assert sentence(record) == "vcpu0�[31m enters a read section, rank 0"
    broken = RuleWasBroken("x", "Rule", "text\u202e")
    assert sentence(Record(1, "", broken)) == "nobody: breaks a rule: Rule: text�"


# Rules.


def test_every_rule_has_its_text() -> None:
    assert {*RULES} == {*MUST_NOTICE}
    page = (DOCS / "kernel-map.md").read_text()
    for id_, rule in RULES.items():
        assert rule.why.endswith("."), id_
        assert rule.reading, id_
        assert {*rule.lessons} <= {*entries()}, id_
        for function in rule.functions:
            assert f"`{function}`" in page, (id_, function)
