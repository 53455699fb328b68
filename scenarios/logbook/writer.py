"""Writes a log while the run goes on, through structlog.

Lines are collected and written in blocks; after every batch of records what has been
collected reaches the file, so an interrupted run leaves a log that can be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import attrs
import msgspec
import structlog

from rcu.trace import Event, Record
from scenarios.errors import InputError
from scenarios.logbook.schema import FIRST, LAST, SCHEMA, field_names


@attrs.frozen(kw_only=True)
class Header:
    """What a run is a run of; the first line of its log.

    Attributes:
        tool_version: Version of memslots.
        scenario: Name of the scenario.
        scenario_digest: SHA-256 of what it was read from.
        strategy: Who decided who goes next.
        seed: Where the strategy's generator started.
        mode: ``controlled`` or ``trio``.
        vcpus: How many vCPUs there were.
        memslots: How the VM kept its slots: ``tree`` or ``array``.
        tasks: Names of all tasks, by index.
        must_exercise: Checkers without which the run means nothing.
    """

    tool_version: str
    scenario: str
    scenario_digest: str
    strategy: str
    seed: int
    mode: str
    vcpus: int
    tasks: tuple[str, ...]
    must_exercise: tuple[str, ...]
    memslots: str = "tree"


class LogError(InputError):
    """The log cannot be written."""


class _Sink:
    """What structlog writes to: collects lines, writes them when told to."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._lines: list[bytes] = []
        self.info = self._lines.append

    def flush(self) -> None:
        self._file.write(b"".join(self._lines))
        self._lines.clear()
        self._file.flush()


def _render(encode: Any) -> structlog.typing.Processor:
    def render(logger: Any, method: str, line: Any) -> bytes:
        event = line.pop("event")
        seq, step, actor = line.pop("seq"), line.pop("step"), line.pop("actor")
        head = {"seq": seq, "step": step, "actor": actor, "event": event}
        encoded: bytes = encode(head | line)
        return encoded + b"\n"

    return render


class LogWriter:
    """Writes the log of one run.

    Its method `write` is a sink of a trace.

    Args:
        path: Where; an existing file is overwritten.

    Raises:
        LogError: The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: IO[bytes] = path.open("wb")
        except OSError as error:
            raise LogError(f"cannot write the log {path}: {error.strerror}") from error
        self._sink = _Sink(self._file)
        self._log = structlog.wrap_logger(
            self._sink,
            processors=[_render(msgspec.json.Encoder().encode)],
            wrapper_class=structlog.make_filtering_bound_logger(0),
            cache_logger_on_first_use=True,
        ).bind()
        self._seq = 0
        self._fields: dict[type[Event], tuple[str, ...]] = {}

    def begin(self, header: Header) -> None:
        """Write the first line.

        Raises:
            LogError: The disk is full, or the like.
        """
        fields = attrs.asdict(header, recurse=False)
        self._line(0, "", FIRST, {"schema": SCHEMA} | fields)
        self._flush()

    def write(self, records: Sequence[Record]) -> None:
        """Write a batch.

        Raises:
            LogError: The disk is full, or the like.
        """
        info = self._log.info
        known = self._fields
        seq = self._seq
        for step, actor, event in records:
            kind = type(event)
            names = known.get(kind)
            if names is None:
                names = known[kind] = field_names(kind)
            fields = {name: getattr(event, name) for name in names}
            info(event.name, seq=seq, step=step, actor=actor, **fields)
            seq += 1
        self._seq = seq
        self._flush()

    def end(self, step: int, ending: str) -> None:
        """Write the last line and close the file.

        Raises:
            LogError: The disk is full, or the like.
        """
        self._line(step, "", LAST, {"ending": ending})
        self.close()

    def close(self) -> None:
        """Write what is left and close the file.

        Raises:
            LogError: The disk is full, or the like.
        """
        try:
            self._flush()
        finally:
            self._abandon()

    def _line(self, step: int, actor: str, event: str, fields: dict[str, Any]) -> None:
        self._log.info(event, seq=self._seq, step=step, actor=actor, **fields)
        self._seq += 1

    def _flush(self) -> None:
        if self._file.closed:
            return  # a LogError is on its way already
        try:
            self._sink.flush()
        except OSError as error:
            self._abandon()
            raise LogError(
                f"cannot write the log {self.path}: {error.strerror}; what was written"
                " before is kept"
            ) from error

    def _abandon(self) -> None:
        """Close the file, whatever it says: there is nothing left to be written."""
        try:
            self._file.close()
        except OSError:
            return
