"""Reads a log back, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import cattrs
import msgspec

from rcu.trace import Record
from scenarios.errors import InputError
from scenarios.logbook.schema import FIRST, LAST, SCHEMA, event_of

MAX_LINE_BYTES = 64 << 20

HOW_TO_LOG = "give what 'memslots run --log' wrote"


@attrs.define
class LogReader:
    """Reads the records of one log, in order, a line at a time.

    Attributes:
        path: The file.
        header: The first line, once it has been read.
        ending: How the run ended, once the last line has been read; empty if the log
            has no last line.
        lines: How many whole lines have been read.
    """

    path: Path
    header: dict[str, Any] = attrs.field(factory=dict, init=False)
    ending: str = attrs.field(default="", init=False)
    lines: int = attrs.field(default=0, init=False)

    def records(self) -> Iterator[Record]:
        """Yield the records.

        Raises:
            InputError: The file cannot be read, is no log, or is one of another
                version; the text names the line.
        """
        decode = msgspec.json.Decoder(dict[str, Any]).decode
        for number, text in self._lines():
            if self.ending:
                raise self._error(number, f"there is something after {LAST}")
            try:
                line = decode(text)
            except (msgspec.DecodeError, RecursionError) as error:
                what = "an event" if number > 1 else f"a log; {HOW_TO_LOG}"
                raise self._error(number, f"not {what}: {error}") from error
            if number == 1:
                self._read_header(line)
                continue
            try:
                seq, step, actor = line["seq"], line["step"], line["actor"]
                kind = line["event"]
            except KeyError as error:
                raise self._error(number, f"key {error} is missing") from error
            if seq != number - 1:
                raise self._error(number, f"seq must be {number - 1}, got {seq!r}")
            if not (isinstance(step, int) and isinstance(actor, str)):
                raise self._error(number, "step must be a number, actor a name")
            if kind == LAST:
                self.ending = str(line.get("ending", "")) or "of unknown ending"
                continue
            yield Record(step, actor, self._event(number, line))

    def _event(self, number: int, line: dict[str, Any]) -> Any:
        try:
            return event_of(line)
        except KeyError as error:
            raise self._error(number, f"unknown event {error}") from error
        except cattrs.BaseValidationError as error:
            problems = "; ".join(cattrs.transform_error(error, path=""))
            raise self._error(number, problems) from error
        except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise self._error(number, str(error)) from error

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Whole lines with their numbers; a half one at the end is left out."""
        try:
            with self.path.open("rb") as file:
                number = 0
                while text := file.readline(MAX_LINE_BYTES):
                    number += 1
                    if not text.endswith(b"\n"):
                        if len(text) >= MAX_LINE_BYTES:
                            raise self._error(number, "the line is too long")
                        break
                    self.lines = number
                    yield number, text
                if not number:
                    raise InputError(f"{self.path}: the log is empty; {HOW_TO_LOG}")
                if not self.lines:
                    raise self._error(1, f"not a whole line, no log; {HOW_TO_LOG}")
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}") from error

    def _read_header(self, line: dict[str, Any]) -> None:
        if line.get("event") != FIRST:
            raise self._error(1, f"a log begins with {FIRST}; {HOW_TO_LOG}")
        if line.get("schema") != SCHEMA:
            raise InputError(
                f"{self.path}: the log has schema {line.get('schema')!r}, this version"
                f" reads {SCHEMA}; check it with the version that wrote it"
                f" ({line.get('tool_version', 'unknown')})"
            )
        self.header = line

    def _error(self, number: int, text: str) -> InputError:
        return InputError(f"{self.path}:{number}: {text}")
