"""All VMs of a trace are run, each for itself, and the worst verdict counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scenarios.cli.calling import PAGE, TWO_VMS, VM, Cli, update

SECOND = VM.replace("9", "10")


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A trace of two VMs that hold."""
    path = tmp_path / "two.strace"
    path.write_text(TWO_VMS)
    return path


def blocks(out: str) -> list[str]:
    """The outputs of the VMs, each from its title to its verdict."""
    parts = out.split("\n\ntwo.")
    return [parts[0], *(f"two.{part}" for part in parts[1:])]


def test_each_vm_has_its_own_block(cli: Cli, two: Path) -> None:
    outcome = cli("run", two, "--vcpus", 1)
    assert outcome.code == 0
    first, second = blocks(outcome.out)
    for block, vm, calls in ((first, "fd9", 1), (second, "fd10", 2)):
        assert block.startswith(
            f"two.{vm}: 1 vCPUs, 4 tasks, strategy random, seed 0\n"
        )
        assert f"  memory-region calls  {calls}\n" in block
        assert "\nholds: every exercised rule held" in block
    (note,) = outcome.notes
    assert note == (
        "2 VMs (fd9, fd10) were run one after the other: in the kernel, too, the slots"
        " of one have nothing to do with another's; --vm chooses one"
    )


def test_one_vm_is_told_as_if_it_were_alone(cli: Cli, two: Path) -> None:
    both = cli("run", two, "--vcpus", 1, "--seed", 3).out
    steps = [line for line in both.splitlines() if line.startswith("  steps ")]
    for vm, told in zip(("fd9", "fd10"), steps, strict=True):
        alone = cli("run", two, "--vm", vm, "--vcpus", 1, "--seed", 3)
        assert not alone.err
        assert told.split(" in ")[0] in alone.out


def test_json_is_one_object_with_all_vms(cli: Cli, two: Path) -> None:
    outcome = cli("run", two, "--vcpus", 0, "--format", "json")
    told = outcome.json
    assert list(told) == ["verdict", "vms"]
    assert told["verdict"] == "holds"
    assert [(each["vm"], each["calls"]) for each in told["vms"]] == [
        ("fd9", 1),
        ("fd10", 2),
    ]
    alone = cli("run", two, "--vm", "fd9", "--vcpus", 0, "--format", "json").json
    timed = {"vm", "seconds"}
    first = told["vms"][0]
    assert {key: first[key] for key in first.keys() - timed} == {
        key: alone[key] for key in alone.keys() - timed
    }


WRONG = update(3, gpa=0)
"""It overlaps what slot 0 has, so that no kernel can have said yes."""

LATE = update(7, gpa=0x100000, size=0)
"""It deletes a slot that nobody has made: the recording began late."""


@pytest.mark.parametrize(
    ("first", "second", "code", "worst"),
    [
        ("", WRONG, 1, "violation"),
        (WRONG, "", 1, "violation"),
        (WRONG, LATE, 1, "violation"),
        ("", LATE, 3, "inconclusive"),
        ("", "", 0, "holds"),
    ],
)
def test_worst_verdict_is_the_exit_code(
    cli: Cli, two: Path, first: str, second: str, code: int, worst: str
) -> None:
    two.write_text(TWO_VMS + first + second.replace("ioctl(9", "ioctl(10"))
    outcome = cli("run", two, "--vcpus", 0, "--format", "json")
    assert (outcome.code, outcome.json["verdict"]) == (code, worst)
    assert cli("run", two, "--vcpus", 0, "--exit-zero", "-q").code == 0


def test_quiet_prints_only_what_does_not_hold(cli: Cli, two: Path) -> None:
    outcome = cli("run", two, "--vcpus", 0, "--quiet")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
    two.write_text(TWO_VMS + WRONG.replace("ioctl(9", "ioctl(10"))
    outcome = cli("run", two, "--vcpus", 0, "--quiet")
    assert outcome.out.startswith("two.fd10: 0 vCPUs")
    assert "fd9:" not in outcome.out


def test_each_vm_has_a_log_and_a_schedule_of_its_own(
    cli: Cli, two: Path, tmp_path: Path
) -> None:
    options = ("--log", "run.jsonl", "--schedule", "order.json", "--vcpus", 1)
    outcome = cli("run", two, *options, "--format", "json")
    files = {path.name for path in tmp_path.iterdir()}
    assert files == {
        "two.strace",
        "run.fd9.jsonl",
        "run.fd10.jsonl",
        "order.fd9.json",
        "order.fd10.json",
    }
    for each in outcome.json["vms"]:
        assert each["log"] == f"run.{each['vm']}.jsonl"
        assert each["schedule"] == f"order.{each['vm']}.json"
    assert cli("check", "run.fd9.jsonl", "run.fd10.jsonl").code == 0
    replayed = cli("replay", "order.fd10.json", "--log", "again.jsonl")
    assert replayed.code == 0
    again = (tmp_path / "again.jsonl").read_bytes()
    assert again == (tmp_path / "run.fd10.jsonl").read_bytes()
    cli("run", two, "--vm", "fd10", "--log", "alone.jsonl", "--vcpus", 1)
    assert (tmp_path / "alone.jsonl").read_bytes() == again


@pytest.mark.parametrize("option", ["--log", "--schedule"])
def test_nothing_is_overwritten_by_the_name_of_a_vm(
    cli: Cli, two: Path, tmp_path: Path, option: str
) -> None:
    trace = two.rename(tmp_path / "two.fd10.strace")
    outcome = cli("run", trace, option, tmp_path / "two.strace")
    assert "will not overwrite" in outcome.error
    assert trace.read_text() == TWO_VMS


def test_a_device_takes_what_all_vms_write(cli: Cli, two: Path) -> None:
    assert cli("run", two, "--log", "/dev/null", "--vcpus", 0).code == 0


def test_schedules_of_violations_have_folders_of_their_own(
    cli: Cli, two: Path, tmp_path: Path
) -> None:
    two.write_text(TWO_VMS + WRONG + WRONG.replace("ioctl(9", "ioctl(10"))
    outcome = cli("run", two, "--vcpus", 0, "--format", "json")
    kept = [each["schedule"] for each in outcome.json["vms"]]
    assert kept == [
        f".memslots/runs/two.{vm}-random-0/schedule.json" for vm in ("fd9", "fd10")
    ]
    for vm, path in zip(("fd9", "fd10"), kept, strict=True):
        assert json.loads((tmp_path / path).read_text())["vm"] == vm
        assert cli("replay", path).code == 1


def test_vms_are_told_apart_line_by_line_and_on_one_thread(
    cli: Cli, tmp_path: Path
) -> None:
    # One thread serves both; slot 0 is elsewhere in each.
    lines = [VM, SECOND]
    lines += [
        update(slot, gpa=(slot + fd) * PAGE, fd=fd)
        for slot in range(20)
        for fd in (9, 10)
    ]
    lines += [
        update(0, size=0, fd=9),
        update(30, gpa=10 * PAGE, fd=10, result="-1 EEXIST (File exists)"),
        update(30, gpa=9 * PAGE, fd=9),
    ]
    path = tmp_path / "turns.strace"
    path.write_text("".join(lines))
    outcome = cli("run", path, "--vcpus", 1, "--format", "json")
    assert outcome.code == 0
    assert [each["calls"] for each in outcome.json["vms"]] == [22, 21]


def test_descriptor_that_is_used_again_names_another_vm(
    cli: Cli, tmp_path: Path
) -> None:
    path = tmp_path / "again.strace"
    path.write_text((VM + update() + update(1, gpa=PAGE)) * 2)
    outcome = cli("run", path, "--vcpus", 0, "--log", "log.jsonl", "--format", "json")
    assert outcome.code == 0
    assert [each["vm"] for each in outcome.json["vms"]] == ["fd9", "fd9#2"]
    assert (tmp_path / "log.fd9#2.jsonl").exists()
    assert cli("run", path, "--vm", "fd9#2", "--vcpus", 0).code == 0
