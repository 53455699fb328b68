"""Files that cannot be run: one line with the value and the way out, exit code 2."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.scenarios.cli.calling import (
    HEADER,
    HOLDS,
    SLOT,
    VCPUS,
    VM,
    Cli,
    update,
    writer,
)

FOREIGN = "7  ioctl(9, KVM_CREATE_VCPU, 0) = 11\n"
HOW = "strace -f -e trace=ioctl"

TRACES: dict[str, tuple[str | bytes, list[str]]] = {
    "empty": ("", ["the file is empty", HOW]),
    "blank": ("\n\n\n", ["no memory-region update in 3 lines", HOW]),
    "binary": (bytes(range(256)) * 20, ["binary data", "00 01 02"]),
    "sparse": (bytes(5_000_000), ["binary data", "00 00 00"]),
    "truncated gzip": (gzip.compress(update().encode())[:-9], ["gzip", "damaged"]),
    "without update": (
        VM + FOREIGN,
        ["no memory-region update in 2 lines", "KVM_CREATE_VM 1", HOW],
    ),
    "half a line only": (
        update()[:60],
        ["no memory-region update in 1 line", "cut off", HOW],
    ),
    "updates without answers only": (
        update().replace(") = 0", " <unfinished ...>"),
        ["update without an answer 1", HOW],
    ),
    "address out of range": (
        VM + update(gpa="0x1ffffffffffffffff"),
        [":2: ", "guest_phys_addr", "0x1ffffffffffffffff", "correct or delete"],
    ),
    "slot out of range": (
        update(slot=1 << 32),
        [":1: ", "slot", str(1 << 32), "correct or delete"],
    ),
    "size out of range": (update(size=1 << 64), [":1: ", "memory_size", str(1 << 64)]),
    "answer out of range": (update(result=str(1 << 70)), [str(1 << 70)]),
    "success that cannot be": (
        update(gpa="0xfffffffffffff000", size=1 << 40),
        ["cannot be run", "gpa"],
    ),
    "other text": ("To be,\nor not to be.\n", ["no memory-region update", "To be,"]),
}


@pytest.mark.parametrize("case", TRACES)
@pytest.mark.parametrize("command", ["run", "describe"])
def test_bad_trace_is_refused(
    cli: Cli, tmp_path: Path, command: str, case: str
) -> None:
    content, expected = TRACES[case]
    path = tmp_path / "own.strace"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    error = cli(command, "own.strace").error
    assert error.startswith("memslots: error: own.strace:")
    for text in expected:
        assert text in error


def test_missing_trace_is_refused(cli: Cli) -> None:
    assert "none.strace: there is no such file" in cli("run", "none.strace").error
    assert "no/ne: there is no such file" in cli("run", "no/ne").error


def test_folder_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "traces").mkdir()
    assert "traces: this is a directory" in cli("run", "traces").error


@pytest.mark.parametrize("kept", range(1, len(update()) - 1, 7))
def test_half_a_line_at_the_end_is_told_and_the_rest_is_run(
    cli: Cli, tmp_path: Path, kept: int
) -> None:
    (tmp_path / "own.strace").write_text(VM + update() + update(1)[:kept])
    outcome = cli("run", "own.strace", "--vcpus", 1)
    assert outcome.code == 0
    assert "  memory-region calls  1\n" in outcome.out
    head, line = outcome.notes
    assert head == "1 line was not understood: cut off 1"
    assert line.startswith("line 3: cut off: 7")


def test_trace_cut_after_its_last_answer_is_whole(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "own.strace").write_text((VM + update()).rstrip("\n"))
    outcome = cli("run", "own.strace")
    assert outcome.code == 0
    assert not outcome.notes


def test_answer_that_the_kernel_would_not_give_is_a_violation(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "own.strace").write_text(VM + update(result="-1 EEXIST (File exists)"))
    outcome = cli("run", "own.strace")
    assert outcome.code == 1
    assert "returned 0, but EEXIST is recorded" in outcome.out


CALL = writer()
SCENARIOS: dict[str, tuple[str | bytes, list[str]]] = {
    "empty": ("", ["'schema' is missing"]),
    "not TOML": (HEADER + "slots == 3", ["not TOML", "line 3"]),
    "binary": (b"\xff\xfe\0\0", ["not UTF-8 at byte 0"]),
    "nested deeply": ("x = " + "[" * 100_000, ["nested too deeply"]),
    "other version": (HEADER.replace("1", "2", 1), ["schema", "2"]),
    "unknown key": (HEADER + "vcpu = 3\n", ["unknown key 'vcpu'", "vcpus"]),
    "unknown key of a slot": (
        HEADER + SLOT + "size = 3\n",
        ["slots[0]", "unknown key 'size'", "memory_size"],
    ),
    "overlapping slots": (
        HEADER + SLOT + SLOT.replace("slot = 0", "slot = 1"),
        ["slots[1]: guest range 0x0..0x4000 overlaps slots[0]"],
    ),
    "same slot twice": (
        HEADER + SLOT + SLOT.replace("phys_addr = 0x0", "phys_addr = 0x8000"),
        ["slots[1].slot: 0 is slots[0], too"],
    ),
    "negative size": (
        HEADER + SLOT.replace("0x4000", "-4096"),
        ["slots[0]: 'memory_size' must be >= 0", "-4096"],
    ),
    "size of no page": (HEADER + SLOT.replace("0x4000", "0"), ["slots[0].memory_size"]),
    "odd size": (HEADER + SLOT.replace("0x4000", "0x4001"), ["slots[0]", "0x4001"]),
    "huge size": (
        HEADER + SLOT.replace("0x4000", str(1 << 64)),
        ["slots[0]: 'memory_size' must be <=", str(1 << 64)],
    ),
    "negative size of a call": (
        HEADER + CALL.replace("0x2000", "-1"),
        ["writers[0].calls[0]: 'memory_size' must be >= 0", "-1"],
    ),
    "unknown errno": (
        HEADER + writer("EFOO"),
        ["writers[0].calls[0]: 'expect'", "EFOO"],
    ),
    "text for a number": (
        HEADER + SLOT.replace("0x4000", '"big"'),
        ["slots[0].memory_size", "big"],
    ),
    "unknown access": (HEADER + VCPUS.replace('"read"', '"jump"'), ["kind", "jump"]),
    "unknown checker": (
        HEADER + 'must_exercise = ["deadlocks"]\n',
        ["must_exercise[0]", "deadlocks", "deadlock"],
    ),
    "two of one name": (HEADER + CALL + CALL, ["writers[1].name", "'vmm'"]),
    "too many vcpus": (
        HEADER + VCPUS.replace("count = 2", "count = 100_000_000"),
        ["100000000 vCPUs", "1024"],
    ),
    "too many calls": (
        HEADER + writer(repeat=10_000_000_000),
        ["10000000000 calls", "repeat"],
    ),
    "too many reads": (
        HEADER
        + '[[readers]]\nname = "r"\naccesses = [{ gpa = 0 }]\n'
        + "repeat = 10_000_000_000\n",
        ["10000000000 reads", "repeat"],
    ),
    "too many calls for several slots": (
        HEADER + CALL.replace("slot = 1", "count = 32764\nrepeat = 100\nslot = 1"),
        ["3276400 calls", "repeat or count"],
    ),
    "too many accesses": (
        HEADER + VCPUS.replace('kind = "read"', 'kind = "read", pages = 1_000_000'),
        ["2000002 different accesses of guests", "pages or count"],
    ),
    "too many changes": (
        HEADER
        + '[[notifiers]]\nname = "n"\nrepeat = 1000\n'
        + 'changes = [{ action = "unmap", hva = 0, size = 0x1000000 }]\n',
        ["4096000 changes of host pages", "repeat or size"],
    ),
    "too many writes": (
        HEADER
        + '[[writers]]\nname = "w"\nrepeat = 1000\ncalls = [{ call = "write-memory",'
        + " hva = 0, value = 1, pages = 1_000_000 }]\n",
        ["1000000000 writes to host pages", "repeat or pages"],
    ),
    "too many threads": (
        HEADER + "".join(f'[[allocators]]\nname = "a{n}"\n' for n in range(1025)),
        ["1025 threads", "1024"],
    ),
    "more accesses than steps": (
        HEADER + VCPUS.replace("times = 3", f"times = {10**20}"),
        ["vcpus[0].times", str(10**20), "budget"],
    ),
    "endless budget": (f"{HEADER}budget = {1 << 64}\n", ["budget", str(1 << 64)]),
    "colourful key": (HEADER + '"\\u001b[31m" = 1\n', ["unknown key"]),
}


@pytest.mark.parametrize("case", SCENARIOS)
def test_bad_scenario_is_refused(cli: Cli, tmp_path: Path, case: str) -> None:
    content, expected = SCENARIOS[case]
    path = tmp_path / "own.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    error = cli("run", "own.toml").error
    assert error.startswith("memslots: error: own.toml:")
    for text in expected:
        assert text in error


def test_every_problem_of_a_scenario_is_told_at_once(cli: Cli, tmp_path: Path) -> None:
    text = HEADER + "x = 1\n" + SLOT.replace("0x4000", "-1") + writer("EFOO")
    (tmp_path / "own.toml").write_text(text)
    error = cli("run", "own.toml").error
    assert "'x'" in error
    assert "-1" in error
    assert "EFOO" in error


def test_missing_scenario_is_refused(cli: Cli, tmp_path: Path) -> None:
    assert "none.toml: No such file" in cli("run", "none.toml").error
    (tmp_path / "folder.toml").mkdir()
    assert "folder.toml: Is a directory" in cli("run", "folder.toml").error


def test_scenario_of_a_trace_s_size_is_refused(cli: Cli, tmp_path: Path) -> None:
    with (tmp_path / "own.toml").open("wb") as file:
        file.truncate(17 << 20)
    assert "at most 16 MiB" in cli("run", "own.toml").error


def test_good_scenario_is_not_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text(HOLDS)
    assert cli("run", "own.toml").code == 0
