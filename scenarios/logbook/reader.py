"""Reads a log back, whoever wrote it."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import msgspec

from rcu.trace import Event, Record
from scenarios.errors import InputError
from scenarios.logbook.lines import (
    STDIN,
    DamagedError,
    TooLongError,
    blocks_of,
    whole_lines,
)
from scenarios.logbook.operations import Operations, Turn, turn_of
from scenarios.logbook.schema import (
    CHECKSUM,
    FIRST,
    LAST,
    PLACE,
    SCHEMA,
    WITHOUT_OP,
    Head,
    kind_of,
)

HOW_TO_LOG = "give what 'memslots run --log' wrote"

KEPT_EVENTS = 16_384
"""So many different events are remembered."""

LONGEST_KEPT = 512
"""Bytes of an event that is remembered."""

_EVENT = b',"event":'
_OBJECT = b'{"event":'
_LAST_KEYS = {*PLACE, "op", "ending", "crc32"}

_new = tuple.__new__


@attrs.define
class LogReader:
    """Reads the records of one log, in order.

    Attributes:
        path: The file, also gzipped; ``-`` is standard input.
        on_progress: Is told now and then how many lines have been read.
        header: The first line, once it has been read.
        ending: How the run ended, once the last line has been read; empty if the log
            has no last line.
        lines: How many whole lines have been read.
    """

    path: Path
    on_progress: Callable[[int], None] | None = None
    header: dict[str, Any] = attrs.field(factory=dict, init=False)
    ending: str = attrs.field(default="", init=False)
    lines: int = attrs.field(default=0, init=False)

    @property
    def name(self) -> str:
        """What to call the log."""
        return "standard input" if self.path == STDIN else str(self.path)

    def records(self) -> Iterator[Record]:
        """Yield the records.

        Most lines differ from some line before in their heads only, so the rest of it
        need not be decoded again.

        Raises:
            InputError: The log cannot be read, is none, is one of another version, or
                is not as it was written; the text names the line.
        """
        known: dict[bytes, _Known] = {}
        operations = Operations()
        innermost = operations.innermost
        step: float = math.inf  # no line fits before the first, nor after the last
        crc, with_op = 0, False
        for lines in self._blocks():
            before = self.lines
            for number, text in enumerate(lines, before + 1):
                self.lines = number
                start, _, rest = text.partition(_EVENT)
                try:
                    head = _decode_head(start + b"}")
                    event, turn = known.get(rest) or _learn(rest, known)
                except (LookupError, ValueError, msgspec.MsgspecError):
                    line = self._look_at(number, text)
                    if line is None:
                        step, with_op = 0, "op" in self.header
                        if self.ending:
                            step = math.inf
                            crc = _crc(lines[: number - before - 1], crc)
                            self._compare(number, text, crc)
                        continue
                    head, event = line
                    turn = turn_of(event)
                actor, op = head.actor, head.op
                if turn is None:
                    expected = innermost.get(actor, 0)
                else:
                    expected = operations.of(actor, turn)
                if (
                    head.seq != number - 1
                    or head.step < step
                    or (op != expected and (with_op or op != WITHOUT_OP))
                ):
                    raise self._misplaced(number, head, step, expected)
                step = head.step
                yield _new(Record, (step, actor, event))
            crc = _crc(lines, crc)
            if self.on_progress is not None:
                self.on_progress(self.lines)

    def _look_at(self, number: int, text: bytes) -> tuple[Head, Event] | None:
        """Read a line of any kind; None if it is the first or the last."""
        line = self._object(number, text)
        if number == 1:
            self._read_header(line)
            return None
        for key in PLACE:
            if key not in line:
                raise self._error(number, f"key '{key}' is missing")
        seq, step, actor, name = (line[key] for key in PLACE)
        op = line.get("op", WITHOUT_OP)
        if type(seq) is not int or seq != number - 1:
            raise self._error(number, f"seq must be {number - 1}, got {seq!r}")
        if type(step) is not int or not isinstance(actor, str) or type(op) is not int:
            raise self._error(number, "step and op must be numbers, actor a name")
        head = Head(seq, step, actor, op)
        if name == LAST:
            self._read_ending(number, line)
            return None
        try:
            return head, kind_of(name).convert(line)
        except (LookupError, TypeError) as error:
            raise self._error(number, f"unknown event {name!r}") from error
        except ValueError as error:
            raise self._error(number, str(error)) from error

    def _object(self, number: int, text: bytes) -> dict[str, Any]:
        if self.ending:
            raise self._error(number, f"there is something after {LAST}")
        try:
            return _decode(text)
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            what = "an event" if number > 1 else f"a log; {HOW_TO_LOG}"
            raise self._error(number, f"not {what}: {error}") from error

    def _misplaced(self, number: int, head: Head, step: float, op: int) -> InputError:
        """What is wrong with a line that is not where it must be."""
        if not self.header:
            return self._error(1, f"a log begins with {FIRST}; {HOW_TO_LOG}")
        if self.ending:
            return self._error(number, f"there is something after {LAST}")
        if head.seq != number - 1:
            return self._error(number, f"seq must be {number - 1}, got {head.seq}")
        if head.step < step:
            return self._error(number, f"step must be {step} or more, got {head.step}")
        told = "none" if head.op == WITHOUT_OP else head.op
        return self._error(number, f"op must be {op}, got {told}")

    def _blocks(self) -> Iterator[list[bytes]]:
        """Whole lines; a half one at the end is left out."""
        begun = False
        try:
            for lines, half in whole_lines(blocks_of(self.path)):
                begun = True
                if not half:
                    yield lines
                elif not self.lines:
                    raise self._error(1, f"not a whole line, no log; {HOW_TO_LOG}")
        except OSError as error:
            raise InputError(f"{self.name}: {error.strerror}") from error
        except DamagedError as error:
            raise InputError(
                f"{self.name}: the gzipped data is damaged, behind line {self.lines}:"
                f" {error}"
            ) from error
        except TooLongError as error:
            raise self._error(self.lines + 1, "the line is too long") from error
        if not begun:
            raise InputError(f"{self.name}: the log is empty; {HOW_TO_LOG}")

    def _read_header(self, line: dict[str, Any]) -> None:
        if line.get("event") != FIRST:
            raise self._error(1, f"a log begins with {FIRST}; {HOW_TO_LOG}")
        if line.get("schema") != SCHEMA:
            raise InputError(
                f"{self.name}: the log has schema {line.get('schema')!r}, this version"
                f" reads {SCHEMA}; check it with the version that wrote it"
                f" ({line.get('tool_version', 'unknown')})"
            )
        if line.get("seq") != 0:
            raise self._error(1, f"seq must be 0, got {line.get('seq')!r}")
        self.header = line

    def _read_ending(self, number: int, line: dict[str, Any]) -> None:
        extra = sorted(line.keys() - _LAST_KEYS)
        if extra:
            raise self._error(number, f"{LAST} has no {', '.join(extra)}")
        self.ending = str(line.get("ending", "")) or "of unknown ending"

    def _compare(self, number: int, text: bytes, crc: int) -> None:
        """Compare the log with its checksum; logs of older writers have none."""
        head, found, told = text.rpartition(CHECKSUM)
        if not found and b'"crc32"' not in text:
            return
        crc = zlib.crc32(head, crc)
        if told != b"%d}" % crc:
            now = f"its CRC-32 is {crc} now"
            raise self._error(number, f"the log is not as it was written: {now}")

    def _error(self, number: int, text: str) -> InputError:
        return InputError(f"{self.name}:{number}: {text}")


_decode = msgspec.json.Decoder(dict[str, Any]).decode
_decode_head = msgspec.json.Decoder(Head).decode


_Known = tuple[Event, Turn | None]


def _learn(rest: bytes, known: dict[bytes, _Known]) -> _Known:
    """The event whose name and fields are all that is left of a line; remember it."""
    name = rest[1 : rest.find(b'"', 1)].decode()
    event = kind_of(name).decode(_OBJECT + rest)
    learnt = event, turn_of(event)
    if len(rest) <= LONGEST_KEPT:
        if len(known) >= KEPT_EVENTS:
            known.clear()
        known[rest] = learnt
    return learnt


def _crc(lines: list[bytes], crc: int) -> int:
    return zlib.crc32(b"\n".join([*lines, b""]), crc)
