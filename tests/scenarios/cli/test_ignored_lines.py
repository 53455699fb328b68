"""Lines of a trace that made no call: told, and where."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.trace_account import SHOWN
from tests.scenarios.cli.calling import VM, Cli, update

VCPU = "7  ioctl(9, KVM_CREATE_VCPU, 0) = 11\n"
STRANGE = "strange line\n"
UNANSWERED = update(3, thread=8).replace(") = 0", " <unfinished ...>")


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A trace with a line of every kind."""
    path = tmp_path / "own.strace"
    path.write_text(VM + VCPU + STRANGE + update() + VCPU + UNANSWERED + STRANGE)
    return path


NOTES = [
    "2 lines were not understood: no system call 2",
    "line 3: no system call: strange line",
    "line 7: no system call: strange line",
    "1 update has no answer in the trace and is left out: line 6",
]


def test_text_counts_other_lines_and_notes_what_was_not_understood(
    cli: Cli, trace: Path
) -> None:
    outcome = cli("run", trace)
    assert outcome.code == 0
    assert "\n  other lines          3 (KVM_CREATE_VCPU 2, KVM_CREATE_VM 1)\n" in (
        outcome.out
    )
    assert outcome.notes == NOTES


def test_json_holds_the_same_and_nothing_else(cli: Cli, trace: Path) -> None:
    outcome = cli("run", trace, "--format", "json", "--seed", "random")
    seed, *notes = outcome.err.splitlines()
    assert seed == f"memslots: seed {outcome.json['seed']}"
    assert notes == [f"memslots: note: {note}" for note in NOTES]
    strange = {"text": "strange line", "why": "no system call"}
    assert outcome.json["ignored_lines"] == {
        "other": {"KVM_CREATE_VM": 1, "KVM_CREATE_VCPU": 2},
        "unknown": {
            "count": 2,
            "by_why": {"no system call": 2},
            "first": [{"line": 3, **strange}, {"line": 7, **strange}],
        },
        "unreturned": {"count": 1, "first": [6]},
    }


@pytest.mark.slow
def test_description_and_replay_tell_the_same(cli: Cli, trace: Path) -> None:
    expected = cli("run", trace, "--schedule", "own.json", "--format", "json")
    assert expected.notes == NOTES
    for arguments in (("describe", trace), ("replay", "own.json")):
        text = cli(*arguments)
        told = cli(*arguments, "--format", "json")
        assert "3 (KVM_CREATE_VCPU 2, KVM_CREATE_VM 1)" in text.out
        assert text.notes == told.notes == NOTES
        assert told.json["ignored_lines"] == expected.json["ignored_lines"]


def test_file_of_a_trace_is_described_without_changes(cli: Cli, trace: Path) -> None:
    assert cli("describe", trace, "--format", "file").out == trace.read_text()


def test_only_the_first_few_are_named(cli: Cli, trace: Path) -> None:
    unanswered = "".join(
        UNANSWERED.replace("8", str(thread), 1) for thread in range(100, 120)
    )
    trace.write_text(VM + update() + STRANGE * 1_000 + unanswered)
    outcome = cli("run", trace)
    count, *first, updates = outcome.notes
    assert count == "1,000 lines were not understood: no system call 1,000"
    assert len(first) == SHOWN
    assert updates == (
        "20 updates have no answer in the trace and are left out:"
        " line 1003, line 1004, line 1005, line 1006, line 1007 and 15 more"
    )
    told = cli("run", trace, "--format", "json").json["ignored_lines"]
    assert told["unknown"]["count"] == 1_000
    assert told["unreturned"] == {"count": 20, "first": [*range(1003, 1008)]}


def test_only_the_most_frequent_kinds_are_named(cli: Cli, trace: Path) -> None:
    others = [f"7  ioctl(9, KVM_{kind}, 0) = 0\n" for kind in "ABCDEFG"]
    trace.write_text(update() + "".join(others) + others[-1])
    assert "  8 (KVM_G 2, KVM_A 1, KVM_B 1, KVM_C 1, KVM_D 1, ...)\n" in (
        cli("run", trace, "--vcpus", 0).out
    )


def test_whole_trace_has_nothing_to_note(cli: Cli, trace: Path) -> None:
    trace.write_text(update())
    outcome = cli("run", trace)
    assert not outcome.notes
    assert "other lines" not in outcome.out


def test_scenario_has_no_other_lines(cli: Cli) -> None:
    outcome = cli("run", "dual-set-swap", "--format", "json")
    assert not outcome.err
    assert outcome.json["ignored_lines"] is None


def test_catalogue_leaves_nothing_to_note(cli: Cli) -> None:
    outcome = cli("run", "q35-boot")
    assert not outcome.notes
    assert "  other lines          3 (KVM_CHECK_EXTENSION 1, " in outcome.out


COLOURS = "\x1b[31mred\x1b[0m [red]marked[/red] :smile: \\"


def test_what_stands_in_a_trace_is_shown_harmlessly(cli: Cli, tmp_path: Path) -> None:
    name = "[red]\x1b[31mboot:smile:.strace"
    (tmp_path / name).write_text(VM + update() + f"{COLOURS}\n")
    outcome = cli("run", name, "--log", f"[b]\x1b[1m{name}.log", "-v")
    assert outcome.code == 0
    assert "\x1b" not in outcome.out + outcome.err
    shown = "[red]\N{REPLACEMENT CHARACTER}[31mboot:smile:"
    assert outcome.out.startswith(f"{shown}: 4 vCPUs")
    assert f"  [b]\N{REPLACEMENT CHARACTER}[1m{shown}.strace.log\n" in outcome.out
    assert " [red]marked[/red] :smile: \\" in outcome.notes[-1]
    for command in ("describe", "check"):
        path = name if command == "describe" else f"[b]\x1b[1m{name}.log"
        outcome = cli(command, path)
        assert outcome.code == 0
        assert "\x1b" not in outcome.out + outcome.err
        assert shown in outcome.out


def test_names_of_a_scenario_are_shown_harmlessly(cli: Cli, tmp_path: Path) -> None:
    text = (
        'schema = 1\nname = "[red]\\u001b[31m\\n/../x"\nfamily = "[b]\\u001b[1m"\n'
        'description = "\\u001b[31m[blue]\\\\"\n[[readers]]\nname = "[i]\\u001b[3m"\n'
        "accesses = [{ gpa = 0 }]\n"
    )
    (tmp_path / "own.toml").write_text(text)
    for arguments in (["run", "own.toml", "-v"], ["describe", "own.toml"]):
        outcome = cli(*arguments)
        assert outcome.code == 0
        assert "\x1b" not in outcome.out
        assert outcome.out.startswith("[red]\N{REPLACEMENT CHARACTER}[31m")
        assert "[31m[blue]\\" in outcome.out
