"""Writes a log while the run goes on, through structlog.

Lines are collected and written in blocks; after every batch of records what has been
collected reaches the file, so an interrupted run leaves a log that can be read.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import IO, Any

import attrs
import msgspec
import structlog

from rcu.trace import Event, Record
from scenarios.errors import InputError
from scenarios.logbook.operations import Operations, turn_of
from scenarios.logbook.schema import CHECKSUM, FIRST, LAST, SCHEMA, field_names


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
        vm: Which VM of a trace; empty for the only one.
        mutant: What was broken on purpose; empty if nothing was.
        schedule: SHA-256 of the schedule that was replayed, if strategy and seed do not
            say the order; empty if they do.
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
    vm: str = ""
    mutant: str = ""
    schedule: str = ""


class LogError(InputError):
    """The log cannot be written."""


class _Sink:
    """What structlog writes to: collects lines, writes them when told to."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._lines: list[bytes] = []
        self.info = self._lines.append
        self.crc = 0

    def flush(self) -> None:
        block = b"".join(self._lines)
        self.crc = zlib.crc32(block, self.crc)
        self._file.write(block)
        self._lines.clear()
        self._file.flush()

    def seal(self) -> None:
        """Add a checksum to the last line, of all that is before it."""
        head = self._lines.pop().removesuffix(b"}\n")
        crc = zlib.crc32(head, self.crc)
        self._lines.append(b"%b%b%d}\n" % (head, CHECKSUM, crc))


def _render(encode: Any) -> structlog.typing.Processor:
    def render(logger: Any, method: str, line: Any) -> bytes:
        line.update(line.pop("fields"))  # behind the event, which structlog puts last
        encoded: bytes = encode(line)
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
        self._operations = Operations()
        self._fields: dict[type[Event], tuple[tuple[str, ...], Any]] = {}

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
        info, op_of, known = self._log.info, self._operations.of, self._fields
        seq = self._seq
        for step, actor, event in records:
            if type(event) not in known:
                names = field_names(type(event))
                # With one more it gives a tuple, however few they are.
                known[type(event)] = names, attrgetter(*names, "name", "name")
            names, values = known[type(event)]
            info(
                event.name,
                seq=seq,
                step=step,
                actor=actor,
                op=op_of(actor, turn_of(event)),
                fields=dict(zip(names, values(event), strict=False)),
            )
            seq += 1
        self._seq = seq
        self._flush()

    def end(self, step: int, ending: str) -> None:
        """Write the last line and close the file.

        Raises:
            LogError: The disk is full, or the like.
        """
        self._flush()
        if not self._file.closed:
            self._line(step, "", LAST, {"ending": ending})
            self._sink.seal()
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
        self._log.info(
            event, seq=self._seq, step=step, actor=actor, op=0, fields=fields
        )
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
