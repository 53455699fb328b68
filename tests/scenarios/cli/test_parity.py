"""`memslots parity`: what it says, what it keeps, what it refuses."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from memslots.region import Region
from memslots.slot_set import Memslots
from memslots.update import Update
from scenarios.cli import parity as command
from scenarios.parity import kernel as kernel_module
from scenarios.parity import parity as parity_module
from scenarios.parity.calls import DONE, Call
from scenarios.parity.kernel import OutOfMemoryError
from tests.scenarios.cli.calling import Cli
from tests.scenarios.cli.test_terminal import on_terminal
from tests.scenarios.parity.plain_kernel import PlainKernel, PlainVm

Ask = Callable[[Callable[[Call], object]], None]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Let a plain kernel be asked, and something happen at each call."""

    def ask(on_call: Callable[[Call], object]) -> None:
        monkeypatch.setattr(command, "Kernel", lambda: PlainKernel(on_call))

    ask(lambda call: None)
    return ask


class NoOverlapCheck(Update):
    def check_overlap(self, active: Memslots, region: Region) -> None:
        pass


def at_call(number: int, error: BaseException) -> Callable[[Call], None]:
    """Raise something when so many calls have been made."""
    numbers: Iterator[int] = iter(range(1, 1 << 30))

    def on_call(call: Call) -> None:
        if next(numbers) == number:
            raise error

    return on_call


@pytest.mark.usefixtures("asked")
def test_agreement_is_told(cli: Cli) -> None:
    outcome = cli("parity", "--ops", "700", "--seed", "1")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == "parity: the model against x86-64, Linux 6.18, seed 1"
    assert lines[2] == "  calls that agreed     700 on 1 VM"
    assert lines[-1] == "holds: the kernel and the model gave the same answers"
    assert cli("parity", "--ops", "200", "--quiet").out == ""


@pytest.mark.usefixtures("asked")
def test_agreement_as_json(cli: Cli) -> None:
    told = cli("parity", "--ops", "2600", "--format", "json", "--slots", "8").json
    assert told["verdict"] == "holds"
    assert (told["agreed"], told["vms"], told["ended_by"]) == (2600, 3, "calls")
    assert told["succeeded"] + sum(told["refused"].values()) == 2600
    assert told["most_slots"] == 8
    assert told["difference"] is None


@pytest.mark.usefixtures("asked")
def test_a_difference_is_shrunk_told_and_kept(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity_module, "Update", NoOverlapCheck)
    outcome = cli("parity", "--seed", "3")
    assert outcome.code == 1
    lines = outcome.out.splitlines()
    place = lines.index("difference, shown by 2 calls to a new VM:")
    first, second, kernel, model = lines[place + 1 : place + 5]
    assert first.endswith(") = 0")
    assert second.endswith(") = -1 EEXIST (File exists)")
    assert kernel == "    the kernel: -1 EEXIST (File exists)"
    assert model.startswith("    the model: ")
    assert "EEXIST" not in model
    assert lines[-2] == "violation: the kernel and the model answer differently"
    kept = ".memslots/runs/parity-3/difference.strace"
    assert lines[-1] == f"Run it: memslots run {kept}"
    # The unbroken model answers as the kernel did.
    again = cli("run", kept, "--vcpus", "0", "--format", "json").json
    assert (again["verdict"], again["calls"]) == ("holds", 2)


@pytest.mark.usefixtures("asked")
def test_a_difference_as_json(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity_module, "Update", NoOverlapCheck)
    outcome = cli("parity", "--format", "json", "--quiet")
    assert outcome.code == 1
    difference = outcome.json["difference"]
    assert difference["kernel"] == "-1 EEXIST (File exists)"
    assert "EEXIST" not in difference["model"]
    assert len(difference["calls"]) == 2
    assert difference["found_in"] > 2
    assert Path(difference["kept"]).is_file()


@pytest.mark.usefixtures("asked")
def test_a_model_that_fails_is_a_difference(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(Update):
        def check_overlap(self, active: Memslots, region: Region) -> None:
            raise IndexError("no such\nindex")

    monkeypatch.setattr(parity_module, "Update", Failing)
    outcome = cli("parity")
    assert outcome.code == 1
    assert "    the model: ? (IndexError: no such)" in outcome.out.splitlines()


@pytest.mark.usefixtures("asked")
def test_what_was_recorded_can_be_run(cli: Cli) -> None:
    recorded = cli("parity", "--ops", "900", "--record", "calls.strace")
    assert recorded.code == 0
    assert "  record                calls.strace" in recorded.out.splitlines()
    outcome = cli("run", "calls.strace", "--vcpus", "0", "--format", "json")
    assert (outcome.code, outcome.err) == (0, "")
    told = outcome.json
    assert told["calls"] > 650
    assert told["mismatches"] == []


@pytest.mark.usefixtures("asked")
def test_threads_are_recorded_and_explained(cli: Cli) -> None:
    arguments = ["--ops", "600", "--threads", "3", "--slots", "8"]
    outcome = cli("parity", *arguments, "--record", "threads.strace")
    assert outcome.code == 0
    assert re.search(
        r"^  overlapping +[\d,]+, of 3 threads$", outcome.out, re.MULTILINE
    )
    told = cli("run", "threads.strace", "--vcpus", "0", "--format", "json").json
    assert (told["calls"], told["mismatches"]) == (600, [])


@pytest.mark.usefixtures("asked")
def test_answers_to_threads_that_no_order_explains_are_kept(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PlainVm, "answer", lambda vm, call: DONE)
    outcome = cli("parity", "--threads", "2", "--format", "json")
    assert outcome.code == 1
    difference = outcome.json["difference"]
    assert difference["unexplained"].startswith("no order explains the answers")
    assert Path(difference["kept"]).is_file()
    lines = cli("parity", "--threads", "2").out.splitlines()
    assert lines[-4].startswith("difference: no order explains the answers")


def test_the_kernel_may_run_out_of_memory(cli: Cli, asked: Ask) -> None:
    asked(at_call(51, OutOfMemoryError("call")))
    outcome = cli("parity")
    assert outcome.code == 3
    assert outcome.out.splitlines()[-1] == (
        "inconclusive: the kernel has no memory for more slots; ask with fewer --slots"
    )


def test_an_interruption_says_how_far_it_came(cli: Cli, asked: Ask) -> None:
    asked(at_call(401, KeyboardInterrupt()))
    outcome = cli("parity", "--record", "calls.strace")
    assert outcome.code == 130
    assert outcome.line == (
        "memslots: interrupted; 400 calls agreed; they are recorded in calls.strace"
    )
    lines = Path("calls.strace").read_text().splitlines()
    assert len(lines) == 402  # the limit, the VM, and the calls
    assert cli("run", "calls.strace", "--vcpus", "0").code == 0


@pytest.mark.usefixtures("asked")
def test_time_may_be_up(cli: Cli) -> None:
    outcome = cli("parity", "--ops", "1000000", "--time-limit", "0.001")
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == (
        "holds: the same answers until the time was up"
    )


@pytest.mark.usefixtures("asked")
def test_a_drawn_seed_is_told(cli: Cli) -> None:
    outcome = cli("parity", "--ops", "10", "--seed", "random")
    seed = outcome.line.removeprefix("memslots: seed ")
    assert f"seed {seed}" in outcome.out.splitlines()[0]


@pytest.mark.slow
def test_a_terminal_is_told_how_far_it_is(tmp_path: Path) -> None:
    arguments = ["run", "q35-boot", "--vcpus", "8"]
    code, printed = on_terminal(*arguments, folder=tmp_path)
    assert code == 0
    assert re.search(r"q35-boot: [\d,]+ steps", printed)


# What cannot be asked.


def a_machine(name: str) -> SimpleNamespace:
    return SimpleNamespace(machine=lambda: name)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (FileNotFoundError(errno.ENOENT, ""), "there is no /dev/kvm: load the module"),
        (PermissionError(errno.EACCES, ""), "not allowed to open /dev/kvm: become a"),
        (
            OSError(errno.EBUSY, "Device or resource busy"),
            "cannot open /dev/kvm: Device or resource busy",
        ),
    ],
)
def test_without_a_kernel_it_says_why(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, error: OSError, told: str
) -> None:
    def refuse(path: object, flags: int) -> int:
        raise error

    own_os = SimpleNamespace(open=refuse, O_RDWR=2, O_CLOEXEC=0)
    monkeypatch.setattr(kernel_module, "os", own_os)
    monkeypatch.setattr(kernel_module, "platform", a_machine("x86_64"))
    outcome = cli("parity")
    assert (outcome.code, outcome.out) == (5, "")
    assert outcome.line.startswith(f"memslots: error: {told}")


def test_other_machines_are_not_modelled(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_module, "platform", a_machine("aarch64"))
    outcome = cli("parity")
    assert outcome.code == 5
    assert outcome.line.endswith("knows KVM on x86-64 only, and this is aarch64")


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--ops", "0"], "0"),
        (["--ops", "-1"], "-1"),
        (["--ops", "many"], "many"),
        (["--slots", "0"], "0"),
        (["--slots", "32765"], "this kernel has 32764 slot ids a VM; ask for fewer"),
        (["--seed", "-1"], "-1"),
        (["--seed", "x"], "x"),
        (["--time-limit", "0"], "0"),
        (["--time-limit", "nan"], "nan"),
        (["--threads", "0"], "0"),
        (["--format", "xml"], "xml"),
        (["--record", "."], "cannot write .: Is a directory; name another file"),
        (["--record", "/dev/full"], "cannot write /dev/full: No space left on device"),
        (["--opps", "1"], "--opps"),
        (["7"], "7"),
    ],
)
def test_bad_input_is_refused_in_a_line(
    cli: Cli, arguments: list[str], told: str
) -> None:
    assert told in cli("parity", *arguments).error
