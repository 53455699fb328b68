"""Call the command line, in this process or as a program, and what to give it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from scenarios.cli.main import main

PROGRAM = (sys.executable, "-m", "scenarios.cli.main")


@attrs.frozen
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on standard output, which holds nothing else."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line that says why nothing was done."""
        assert self.code == 2, self
        assert not self.out
        return self.line

    @property
    def line(self) -> str:
        """The one line on standard error."""
        assert self.err.endswith("\n"), self
        line = self.err.removesuffix("\n")
        assert line.isprintable(), self.err
        assert line.startswith("memslots: ")
        return line

    @property
    def notes(self) -> list[str]:
        """The notes on standard error, which holds nothing else."""
        head = "memslots: note: "
        lines = self.err.splitlines()
        assert all(line.startswith(head) for line in lines), self.err
        return [line.removeprefix(head) for line in lines]


Cli = Callable[..., Outcome]
"""Calls a command in this process."""


def called(arguments: tuple[object, ...], read: Callable[[], Any]) -> Outcome:
    """What a command left behind; ``read`` gives what was written since."""
    read()
    code = main([str(argument) for argument in arguments])
    out, err = read()
    return Outcome(code, out, err)


def environment(**changes: str) -> dict[str, str]:
    """A plain environment: what a terminal or a user may have set is left out."""
    left_out = {"NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM", "COLORTERM"}
    kept = {name: text for name, text in os.environ.items() if name not in left_out}
    root = str(Path(__file__).parents[3])
    return kept | {"PYTHONPATH": root, "TERM": "xterm"} | changes


def program(*arguments: object, cwd: Path, **options: Any) -> Outcome:
    """Run a command as a program of its own."""
    done = subprocess.run(  # noqa: S603 - our own program
        [*PROGRAM, *map(str, arguments)],
        cwd=cwd,
        env=options.pop("env", environment()),
        capture_output=True,
        check=False,
        text=True,
        **options,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def prepared_program(preparation: str, *arguments: object) -> list[str]:
    """The command line of a program that runs some Python before its own."""
    code = (
        f"import sys\n{preparation}\n"
        "from scenarios.cli.main import main\nsys.exit(main())\n"
    )
    return [sys.executable, "-c", code, *map(str, arguments)]


# Traces.

VM = "7  ioctl(3, KVM_CREATE_VM, 0) = 9\n"
PAGE = 4096


def update(
    slot: int = 0,
    *,
    gpa: int | str = 0,
    size: int | str = PAGE,
    result: str = "0",
    thread: int = 7,
    fd: int = 9,
) -> str:
    return (
        f"{thread}  ioctl({fd}, KVM_SET_USER_MEMORY_REGION, {{slot={slot}, flags=0,"
        f" guest_phys_addr={gpa}, memory_size={size}, userspace_addr=0x7f0000000000}})"
        f" = {result}\n"
    )


TWO_VMS = (
    (VM + update() + VM.replace("9", "10")) + update(fd=10) + update(1, gpa=PAGE, fd=10)
)
"""A VM with one update and a VM with two."""

# Scenarios.

HEADER = 'schema = 1\nname = "tiny"\n'
SLOT = """
[[slots]]
slot = 0
guest_phys_addr = 0x0
memory_size = 0x4000
userspace_addr = 0x7f0000000000
"""
VCPUS = """
[[vcpus]]
count = 2
times = 3
accesses = [{ kind = "read", gpa = 0x1000 }, { kind = "write", gpa = 0x2000 }]
"""


def writer(expect: str = "ok", repeat: int = 1, name: str = "vmm") -> str:
    """A writer that makes a slot; the call succeeds, whatever is expected."""
    return f"""
[[writers]]
name = "{name}"
repeat = {repeat}

[[writers.calls]]
slot = 1
guest_phys_addr = 0x8000
memory_size = 0x2000
userspace_addr = 0x7f0000100000
expect = "{expect}"
"""


HOLDS = HEADER + SLOT + VCPUS + writer()
VIOLATES = HEADER + SLOT + VCPUS + writer("EEXIST")
INCONCLUSIVE = HEADER + 'must_exercise = ["consistent-set"]\n' + SLOT + writer()
ENDLESS = (
    'schema = 1\nname = "endless"\nbudget = 5_000_000\n'
    + SLOT
    + VCPUS.replace("times = 3", "times = 1_000_000")
)
