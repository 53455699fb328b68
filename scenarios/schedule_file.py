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
VERSION = 2
MAX_BYTES = 256 << 20

MOST_OPERATIONS = 100_000
"""Steps of a run whose operations are kept; of a longer one only the order is."""

Turn = tuple[int, int | tuple[int, ...]]
"""Index of a task, and the places of its operations in a table, or only how many."""


class Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run has shown that must not be.

    Attributes:
        checker: Id of the rule that was broken.
        seen: What was seen.
    """

    checker: str
    seen: str


class Schedule(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Everything that makes a run happen again.

    Attributes:
        format, version: What this file is.
        tool_version: Which version of memslots made the run.
        source: Name of the scenario, or path of the file it was read from.
        scenario_digest: SHA-256 of what it was read from.
        model_digest: Of the model that was run; see `scenarios.model_digest`.
        vm: Which VM of a trace; empty for the only one.
        vcpus: How many vCPUs there were.
        strategy, seed, mode: Who had decided who goes next.
        memslots: How the VM kept its slots.
        mutant: What was broken on purpose; empty if nothing was.
        verdict: What the run had shown.
        finding: What was broken; None if nothing was.
        whole: Whether the run was over behind the last step.
        tasks: Names of the tasks, by index.
        operations: What steps did, each text once; None if that was not kept.
        steps: Index of a task and which operations it made, in turn, or how many.
    """

    format: str = FORMAT
    version: int = VERSION
    tool_version: str
    source: str
    scenario_digest: str
    model_digest: str
    vm: str
    vcpus: Annotated[int, msgspec.Meta(ge=0, le=1024)]
    strategy: str
    seed: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
    mode: Literal["controlled", "trio"]
    memslots: Literal["tree", "array"] = "tree"
    mutant: str = ""
    verdict: Literal["holds", "violation", "inconclusive"]
    finding: Expected | None = None
    whole: bool = True
    tasks: tuple[str, ...]
    operations: tuple[str, ...] | None = None
    steps: tuple[Turn, ...]

    @property
    def length(self) -> int:
        """How many steps were made."""
        return sum(map(_count, self.steps))

    def order(self) -> list[int]:
        """Index of the task that made each step."""
        return [turn[0] for turn in self.steps for _ in range(_count(turn))]

    def does(self) -> list[str | None]:
        """What each step did; None where that was not kept."""
        table = self.operations or ()
        does: list[str | None] = []
        for _, made in self.steps:
            does += [None] * made if isinstance(made, int) else [table[n] for n in made]
        return does


def _count(turn: Turn) -> int:
    made = turn[1]
    return made if isinstance(made, int) else len(made)


def in_turns(order: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Count how many steps in a row each task made."""
    return tuple(
        (index, sum(1 for _ in steps)) for index, steps in itertools.groupby(order)
    )


def with_operations(
    order: Sequence[int], does: Sequence[object]
) -> tuple[tuple[str, ...] | None, tuple[Turn, ...]]:
    """The table of operations and the turns of a schedule; see `Schedule`.

    Args:
        order: Index of the task that made each step.
        does: What each step did; its text counts.
    """
    if len(order) > MOST_OPERATIONS:
        return None, in_turns(order)
    texts = {each: str(each) for each in does}
    places = {text: place for place, text in enumerate(dict.fromkeys(texts.values()))}
    made = iter([places[texts[each]] for each in does])
    turns = in_turns(order)
    return tuple(places), tuple(
        (index, tuple(itertools.islice(made, count))) for index, count in turns
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
    _check_turns(path, schedule)
    return schedule


class _Kind(msgspec.Struct):
    format: str = ""
    version: int = 0


def _check_turns(path: Path, schedule: Schedule) -> None:
    tasks, operations = len(schedule.tasks), len(schedule.operations or ())
    for place, turn in enumerate(schedule.steps):
        index, made = turn
        if not 0 <= index < tasks or _count(turn) < 1:
            raise InputError(
                f"{path}: steps[{place}]: task {index} makes {_count(turn)} steps;"
                f" there are {tasks} tasks"
            )
        for number in () if isinstance(made, int) else made:
            if not 0 <= number < operations:
                raise InputError(
                    f"{path}: steps[{place}]: operation {number} is made; there are"
                    f" {operations} operations"
                )
