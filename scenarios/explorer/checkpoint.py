"""How far an exploration is, in a file: it goes on from there after any end.

The file is replaced as a whole, so whoever is killed leaves the one before.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs
import msgspec

from scenarios.errors import InputError
from scenarios.explorer.exploration import Question
from scenarios.explorer.program import Program
from scenarios.explorer.state_parts import Plain
from scenarios.explorer.works import Sizes
from scenarios.version import VERSION as TOOL_VERSION

FORMAT = "memslots-checkpoint"
VERSION = 1


class _Kind(msgspec.Struct):
    format: str = ""
    version: int = 0


class Checkpoint(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How far an exploration is.

    Attributes:
        format, version: What this file is.
        tool_version: Which version of memslots has written it.
        program, digest: What is explored.
        question, sizes: What is asked, and how it is cut.
        seconds: How long it has taken so far.
        state: Where it stands.
    """

    format: str = FORMAT
    version: int = VERSION
    tool_version: str = TOOL_VERSION
    program: str
    digest: str
    question: dict[str, Any]
    sizes: dict[str, int]
    seconds: float
    state: dict[str, Any]

    def asked(self, time_limit: float | None = None) -> Question:
        """The question, with another limit of time."""
        told = self.question | {"seeds": range(*self.question["seeds"])}
        return Question(**told, time_limit=time_limit)

    def cut(self) -> Sizes:
        """How it is cut."""
        return Sizes(**self.sizes)


def _plain(question: Question) -> Plain:
    """A question as plain values, without what may be another the next time."""
    told = attrs.asdict(question)
    seeds = question.seeds
    told["seeds"] = [seeds.start, seeds.stop, seeds.step]
    del told["time_limit"]
    return told


def write_checkpoint(
    path: Path,
    program: Program,
    question: Question,
    sizes: Sizes,
    *,
    seconds: float,
    state: Plain,
) -> None:
    """Write a checkpoint in place of the one before.

    Raises:
        InputError: It cannot be written.
    """
    checkpoint = Checkpoint(
        program=program.name,
        digest=program.digest,
        question=_plain(question),
        sizes=attrs.asdict(sizes),
        seconds=seconds,
        state=state,
    )
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(msgspec.msgpack.encode(checkpoint))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {error.strerror}") from error


def read_checkpoint(
    path: Path, program: Program, question: Question | None = None
) -> Checkpoint:
    """Read how far an exploration is.

    Args:
        path: Of the file.
        program: What is explored.
        question: What must have been asked, but for the limit of time; anything if
            None.

    Raises:
        InputError: The file cannot be read, or is of something else.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    try:
        kind = msgspec.msgpack.decode(data, type=_Kind)
        if kind.format != FORMAT:
            raise InputError(
                f"{path}: not a checkpoint; give what 'memslots explore --checkpoint'"
                " wrote"
            )
        if kind.version != VERSION:
            raise InputError(
                f"{path}: a checkpoint of version {kind.version}, this program reads"
                f" {VERSION}; begin anew without --resume"
            )
        checkpoint = msgspec.msgpack.decode(data, type=Checkpoint)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InputError(
            f"{path}: not a checkpoint, or only a part of one ({error}); begin anew"
            " without --resume"
        ) from error
    _check(path, checkpoint, program, question)
    return checkpoint


def _check(
    path: Path, checkpoint: Checkpoint, program: Program, question: Question | None
) -> None:
    """Refuse a checkpoint of something else."""
    written_by, asked = checkpoint.tool_version, checkpoint.question
    wanted = asked if question is None else _plain(question)
    reason = ""
    if written_by != TOOL_VERSION:
        reason = f"was written by memslots {written_by}, not {TOOL_VERSION}"
    elif checkpoint.program != program.name:
        reason = f"is of {checkpoint.program!r}, not of {program.name!r}"
    elif checkpoint.digest != program.digest:
        reason = f"is of another version of {program.name!r}, or of the model"
    elif wanted != asked:
        name = next(name for name in wanted if wanted[name] != asked.get(name))
        reason = f"asks for {name}={asked.get(name)!r}, not {name}={wanted[name]!r}"
    if reason:
        raise InputError(
            f"{path}: the checkpoint {reason}; begin anew without --resume"
        )
