"""Files of 200 MB: read in the memory that a small one takes, or refused early."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scenarios.planner import MAX_CALLS
from tests.scenarios.cli.calling import (
    PAGE,
    VM,
    Outcome,
    environment,
    prepared_program,
    update,
)

SIZE = 200_000_000
BLOCK = 1_000_000
MEMORY_KB = 60_000
"""How much more memory a large file may take than a small one; it has 200,000 kB."""

# Strace options of real life: relative times, decoded descriptors, long arguments.
FOREIGN = (
    f"7  0.000321 ioctl(11<anon_inode:kvm-vcpu:0>, KVM_RUN, 0) = 0 <{'0' * 300}>\n"
)

PEAK = (
    "import atexit, resource\n"
    "atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,"
    " file=open('peak', 'w')))"
)


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Path]:
    """Where the file is made; it is removed at once, as it is large."""
    path = tmp_path / "large.strace"
    yield path
    path.unlink()


def run(folder: Path, *arguments: object) -> tuple[Outcome, int]:
    """Run the program; also says how much memory it took, in kB."""
    done = subprocess.run(  # noqa: S603 - our own program
        prepared_program(PEAK, "run", *arguments),
        cwd=folder,
        env=environment(),
        capture_output=True,
        check=False,
        text=True,
    )
    outcome = Outcome(done.returncode, done.stdout, done.stderr)
    return outcome, int((folder / "peak").read_text())


def fill(path: Path, line: str, *, first: str, last: str = "") -> int:
    """Write a file of the full size that repeats a line; returns how often."""
    lines = BLOCK // len(line)
    blocks = 1 + SIZE // (lines * len(line))
    with path.open("wb") as file:
        file.write(first.encode())
        for _ in range(blocks):
            file.write((line * lines).encode())
        file.write(last.encode())
    return blocks * lines


@pytest.mark.slow
def test_few_updates_among_many_lines_are_run_in_the_memory_of_a_small_file(
    tmp_path: Path, trace: Path
) -> None:
    first, last = VM + update(), update(1, gpa=PAGE)
    trace.write_text(first + FOREIGN + last)
    small, small_peak = run(tmp_path, trace.name, "--vcpus", 1)
    lines = fill(trace, FOREIGN, first=first, last=last)
    assert trace.stat().st_size > SIZE
    large, large_peak = run(tmp_path, trace.name, "--vcpus", 1)
    for outcome in (small, large):
        assert outcome.code == 0
        assert not outcome.err
        assert "  memory-region calls  2\n" in outcome.out
    assert f"(KVM_RUN {lines:,}, KVM_CREATE_VM 1)" in large.out
    assert large_peak < small_peak + MEMORY_KB


@pytest.mark.slow
def test_too_many_updates_are_refused_with_the_line_and_the_way_out(
    tmp_path: Path, trace: Path
) -> None:
    fill(trace, update(), first=VM)
    outcome, _ = run(tmp_path, trace.name)
    assert outcome.error == (
        f"memslots: error: large.strace:{MAX_CALLS + 2}: more than {MAX_CALLS}"
        " memory-region updates; raise the bound with --max-calls N, or cut the file:"
        f" head -n {MAX_CALLS + 1} FILE"
    )
