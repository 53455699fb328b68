"""`explain`: a log, a rule or a mutant in words."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

from scenarios.checkers.invariants import INVARIANTS
from scenarios.mutants.mutant import MUST_NOTICE
from scenarios.mutants.registry import registered
from scenarios.mutants.schedules import path_of
from scenarios.report.rules import RULES
from tests.scenarios.cli.calling import HOLDS, Cli

TOLD = """\
bad.log: a run of lookup-and-create

violation of retired-set-quiet in step 19 by vmm

  let   kvm enters a read section, rank 0 (step 2, seq 8);
  then  kvm gets hold of set 0 (step 3, seq 9);
  then  vmm publishes set 1 of address space 0 as generation 1, update in progress\
 (step 15, seq 17);
  but   vmm edits set 0: slot 1 #2 [0x1, 0x2) enters (step 19, seq 21);
  so    set 0 is edited while kvm, who got hold of it, is in the section that began in\
 step 2.
  rule  a set is edited only while it is inactive and no section is open in which a\
 reader got hold of it.

The records
  seq 8  step 2  kvm  section_began {"domain":"kvm->srcu","srcu_idx":0}
  seq 9  step 3  kvm  set_dereferenced {"as_id":0,"set":0}
  seq 17  step 15  vmm  sets_swapped {"as_id":0,"set":1,\
"generation":9223372036854775809}
  seq 21  step 19  vmm  slot_replaced {"as_id":0,"set":0,"old":null,"new":\
{"base_gfn":1,"flags":0,"id":1,"npages":1,"serial":2,"userspace_addr":139637976731648}}

The sets before step 2 -> after step 19
  set 0     active, generation 1 -> inactive, generation 1
    slot 0  #1 [0x0, 0x1) (unchanged)
    slot 1  no slot -> #2 [0x1, 0x2)
  set 1     inactive, generation 0 -> active, generation 2
    slot 0  #1 [0x0, 0x1) (unchanged)
    slot 1  no slot -> #2 [0x1, 0x2)

"""


@pytest.fixture
def bad(cli: Cli) -> Path:
    """The log of a run in which nobody waits for readers."""
    path = Path("bad.log")
    schedule = path_of(registered()["62a"])
    assert cli("replay", str(schedule), "--log", str(path), "--quiet").code == 1
    return path


# Logs.


def test_a_violation_is_told_as_a_proof(cli: Cli, bad: Path) -> None:
    told = cli("explain", str(bad))
    assert told.code == 1
    assert told.out.startswith(TOLD)
    assert "Why it matters\n  Trees and hash tables" in told.out
    assert (
        "  source       KVM: kvm_swap_active_memslots, virt/kvm/kvm_main.c\n"
        in told.out
    )
    assert "https://lwn.net/Articles/262464/" in told.out
    assert "  memslots timeline bad.log           to see it\n" in told.out
    assert not told.err


def test_everybody_tells_of_the_same_steps(cli: Cli, bad: Path) -> None:
    (violation,) = cli("check", str(bad), "--format", "json").json["violations"]
    assert violation["causes"] == [2, 3, 15]
    assert "  after   steps 2, 3, 15\n" in cli("check", str(bad)).out
    proof = cli("explain", str(bad), "--format", "json").json["proof"]
    assert proof["causes"] == violation["causes"]
    text = cli("timeline", str(bad), "--format", "text").out
    lines = [line for line in text.splitlines() if "a cause of it" in line]
    assert [int(line.split()[0]) for line in lines] == violation["causes"]


def test_json_holds_records_as_the_log_does(cli: Cli, bad: Path) -> None:
    told = cli("explain", str(bad), "--format", "json")
    assert told.code == 1
    assert (told.json["verdict"], told.json["explained"]) == ("violation", 1)
    proof = told.json["proof"]
    assert [line["head"] for line in proof["lines"]] == [
        "let",
        "then",
        "then",
        "but",
        "so",
    ]
    assert [each["seq"] for each in proof["records"]] == [8, 9, 17, 21]
    assert proof["records"][1]["fields"] == {"as_id": 0, "set": 0}
    assert proof["before"]["step"] == 2
    (active,) = (each for each in proof["after"]["sets"] if each["active"])
    assert (active["set"], active["generation"]) == (1, 2)
    assert [slot["invalid"] for slot in active["slots"]] == [False, False]


def test_standard_input_is_a_log_like_any(
    cli: Cli, bad: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_file = cli("explain", str(bad)).out
    data = io.TextIOWrapper(io.BytesIO(bad.read_bytes()))
    monkeypatch.setattr(sys, "stdin", data)
    told = cli("explain", "-")
    assert told.code == 1
    assert told.out.splitlines()[1:-2] == from_file.splitlines()[1:-2]
    assert told.out.startswith("standard input: a run of lookup-and-create\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{}\n")))
    assert cli("explain", "-").error.startswith("memslots: error: standard input:1: ")


def test_of_a_log_that_holds_it_says_what_was_put_to_the_test(cli: Cli) -> None:
    Path("own.toml").write_text(HOLDS)
    assert cli("run", "own.toml", "--log", "good.log").code == 0
    told = cli("explain", "good.log")
    assert told.code == 0
    assert "holds: Each rule below was put to the test" in told.out
    assert "calls whose result was known" in told.out
    assert "Never put to the test: " in told.out
    counts = cli("explain", "good.log", "--format", "json").json
    checked = cli("check", "good.log", "--format", "json").json["checkers"]
    assert {id_: each["count"] for id_, each in counts["exercised"].items()} == {
        id_: each["exercised"] for id_, each in checked.items()
    }
    assert (counts["proof"], counts["explained"]) == (None, None)


def test_of_a_log_that_is_cut_off_it_says_what_is_missing(cli: Cli) -> None:
    Path("own.toml").write_text(HOLDS)
    assert cli("run", "own.toml", "--log", "good.log").code == 0
    lines = Path("good.log").read_bytes().splitlines(keepends=True)
    Path("cut.log").write_bytes(b"".join(lines[:-1]))
    told = cli("explain", "cut.log")
    assert told.code == 3
    assert "inconclusive: No rule was broken as far as this log goes" in told.out
    assert f"  - the log is cut off after line {len(lines) - 1}\n" in told.out


def test_one_violation_of_several_can_be_chosen(cli: Cli, bad: Path) -> None:
    told = cli("explain", str(bad), "--violation", "2")
    assert told.error == (
        "memslots: error: bad.log: there is no violation 2; there are 1 to choose from"
    )
    schedule = path_of(registered()["25b"])
    cli("replay", str(schedule), "--log", "two.log", "--quiet")
    count = len(cli("check", "two.log", "--format", "json").json["violations"])
    last = cli("explain", "two.log", "--violation", str(count), "--format", "json").json
    assert last["explained"] == count
    assert last["proof"]["seen"] == last["violations"][-1]["seen"]


def test_nothing_of_a_log_steers_the_terminal(cli: Cli, bad: Path) -> None:
    text = bad.read_text().replace('"kvm"', '"<b>\\u001b[31m\\u202e\\n"')
    Path("evil.log").write_text(_without_checksum(text))
    told = cli("explain", "evil.log")
    assert told.code == 1
    assert "let   <b>�[31m�� enters a read section" in told.out
    assert all(line.isprintable() for line in told.out.splitlines())
    as_json = cli("explain", "evil.log", "--format", "json").out
    assert all(line.isprintable() for line in as_json.splitlines())


def _without_checksum(text: str) -> str:
    """The log as an older version would have written it."""
    return re.sub(r',"crc32":\d+', "", text)


# Rules and mutants.


@pytest.mark.parametrize("id_", MUST_NOTICE)
def test_every_rule_is_explained(cli: Cli, id_: str) -> None:
    told = cli("explain", id_)
    assert told.code == 0
    assert told.out.startswith(f"{id_}: ")
    as_json = cli("explain", id_, "--format", "json").json
    noticed = {each["id"] for each in as_json["mutants"]}
    assert noticed == {
        each.mutant.id for each in registered().values() if each.mutant.checker == id_
    }
    assert as_json["why"] in told.out
    assert all(each in told.out for each in as_json["reading"])


@pytest.mark.parametrize("number", INVARIANTS)
def test_every_invariant_is_explained(cli: Cli, number: str) -> None:
    told = cli("explain", number)
    assert told.code == 0
    assert told.out.startswith(f"{number}: {INVARIANTS[number]}\n")
    checkers = cli("explain", number, "--format", "json").json["checkers"]
    assert checkers
    assert all(f"  {id_}: " in told.out for id_ in checkers)


def test_a_mutant_is_explained_with_the_rule_that_it_breaks(cli: Cli) -> None:
    told = cli("explain", "14")
    assert told.code == 0
    title = registered()["14"].mutant.title
    assert told.out.startswith(f"mutant 14: {title}\n")
    assert "  noticed by  generation-unique\n" in told.out
    (as_json,) = cli("explain", "#14", "--format", "json").json["mutants"]
    assert (as_json["id"], as_json["checker"]) == ("14", "generation-unique")
    assert cli("explain", "62").out.count("\nmutant 62") == 1


def test_a_log_may_be_called_like_a_mutant(cli: Cli, bad: Path) -> None:
    bad.rename("14.log")
    Path("14.log").rename("14")
    assert cli("explain", "14").code == 0
    assert cli("explain", "./14").code == 1


@pytest.mark.parametrize(
    ("what", "error"),
    [
        (
            "retired",
            "unknown rule or mutant 'retired' (did you mean retired-set-quiet?)",
        ),
        ("14.jsonl", "unknown rule or mutant '14.jsonl', nor is there such a file"),
        ("", "unknown rule or mutant '', nor is there such a file"),
        (".", ".: Is a directory"),
    ],
)
def test_what_cannot_be_explained_is_told(cli: Cli, what: str, error: str) -> None:
    assert cli("explain", what).error.startswith(f"memslots: error: {error}")


def test_a_checker_of_somebody_else_is_told_of_as_far_as_it_is_known(
    cli: Cli, bad: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("own.toml").write_text(HOLDS)
    assert cli("run", "own.toml", "--log", "good.log").code == 0
    for id_ in [*RULES]:
        monkeypatch.delitem(RULES, id_)
    assert "tests of a rule of its own" in cli("explain", "good.log").out
    told = cli("explain", str(bad))
    assert told.code == 1
    assert "violation of retired-set-quiet" in told.out
    assert "Why it matters" not in told.out
    assert cli("explain", str(bad), "--format", "json").json["proof"]["why"] is None
