"""The order of a run, kept as JSON so that it can be replayed."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from scenarios.errors import InputError

FORMAT = "memslots-schedule"
VERSION = 1
MAX_BYTES = 256 << 20


class Schedule(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything that makes a run happen again.

    Attributes:
        format, version: What this file is.
        tool_version: Which version of memslots made the run.
        source: Name of the scenario, or path of the file it was read from.
        scenario_digest: SHA-256 of what it was read from.
        vm: Which VM of a trace; empty for the only one.
        vcpus: How many vCPUs there were.
        strategy, seed, mode: Who had decided who goes next.
        memslots: How the VM kept its slots.
        verdict: What the run had shown.
        tasks: Names of the tasks, by index.
        steps: Index of a task and how many steps it made, in turn.
    """

    format: str = FORMAT
    version: int = VERSION
    tool_version: str
    source: str
    scenario_digest: str
    vm: str
    vcpus: Annotated[int, msgspec.Meta(ge=0, le=1024)]
    strategy: str
    seed: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    mode: Literal["controlled", "trio"]
    memslots: Literal["tree", "array"] = "tree"
    verdict: Literal["holds", "violation", "inconclusive"]
    tasks: tuple[str, ...]
    steps: tuple[tuple[int, int], ...]

    @property
    def length(self) -> int:
        """How many steps were made."""
        return sum(count for _, count in self.steps)

    def order(self) -> list[int]:
        """Index of the task that made each step."""
        return [index for index, count in self.steps for _ in range(count)]


def in_turns(order: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Count how many steps in a row each task made."""
    return tuple(
        (index, sum(1 for _ in steps)) for index, steps in itertools.groupby(order)
    )


def write_schedule(path: Path, schedule: Schedule) -> None:
    """Write a schedule, one key a line; the folder is made if need be.

    Raises:
        InputError: The file cannot be written.
    """
    lines = [
        b"  %b: %b" % (msgspec.json.encode(key), msgspec.json.encode(value))
        for key, value in msgspec.structs.asdict(schedule).items()
    ]
    try:
        with suppress(FileExistsError):  # it may be a file, which is told below
            path.parent.mkdir(parents=True)
        path.write_bytes(b"{\n%b\n}\n" % b",\n".join(lines))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def read_schedule(path: Path) -> Schedule:
    """Read a schedule.

    Raises:
        InputError: The file cannot be read or holds no schedule of this version.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: a schedule has at most {MAX_BYTES >> 20} MiB")
    try:
        seen = msgspec.json.decode(data, type=_Kind)
        if seen.format != FORMAT:
            raise InputError(
                f"{path}: not a schedule; give what 'memslots run --schedule' wrote"
            )
        if seen.version != VERSION:
            raise InputError(
                f"{path}: a schedule of version {seen.version}, this program reads"
                f" {VERSION}; replay it with the version of memslots that wrote it"
            )
        schedule = msgspec.json.decode(data, type=Schedule)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(
            f"{path}: not a schedule, or only a part of one: {error}"
        ) from error
    _check_turns(path, schedule.steps, len(schedule.tasks))
    return schedule


class _Kind(msgspec.Struct):
    format: str = ""
    version: int = 0


def _check_turns(path: Path, steps: Sequence[tuple[int, int]], tasks: int) -> None:
    for place, (index, count) in enumerate(steps):
        if not 0 <= index < tasks or count < 1:
            raise InputError(
                f"{path}: steps[{place}]: task {index} makes {count} steps; there are"
                f" {tasks} tasks"
            )
