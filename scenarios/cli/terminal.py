"""Standard output and standard error, whatever is at their other end.

Whoever reads a pipe may stop reading; that is no error, and the exit code stays the
verdict's. What came from a file or an argument is shown on one line, harmlessly.
"""

from __future__ import annotations

import io
import os
import sys
import textwrap
from collections.abc import Callable
from typing import IO, Literal, TextIO, cast

from rich.console import Console

from scenarios.errors import InputError
from scenarios.printable import printable

LONGEST = 4_096
"""Characters of a line of talk; what is longer is cut."""

NARROWEST = 24
"""Columns that wrapped text gets at least."""


class OutputError(InputError):
    """Standard output cannot be written: the disk is full, or the like."""


def prepare() -> None:
    """Make both streams usable: closed ones swallow, none fails on a character."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Output:
    """A standard stream, as long as somebody reads it.

    Args:
        name: ``stdout`` or ``stderr``; looked up in `sys` each time.
        talk: Whether it does not matter if nothing can be written.
    """

    encoding = "utf-8"

    def __init__(self, name: str, *, talk: bool = False) -> None:
        self._name = name
        self._talk = talk

    @property
    def _stream(self) -> TextIO:
        stream: TextIO = getattr(sys, self._name)
        return stream

    def isatty(self) -> bool:
        return self._stream.isatty()

    def write(self, text: str) -> None:
        self._attempt(self._stream.write, text)

    def write_bytes(self, data: bytes) -> None:
        self._attempt(self._stream.buffer.write, data)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, action: Callable[..., object], *arguments: object) -> None:
        try:
            action(*arguments)
        except BrokenPipeError:
            self._lose()
        except OSError as error:
            self._lose()
            if not self._talk:
                raise OutputError(
                    f"cannot write the output: {error.strerror}"
                ) from error

    def _lose(self) -> None:
        """From now on nothing is written, not even what is still buffered."""
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, self._stream.fileno())
        os.close(devnull)


_output = _Output("stdout")
_talk = _Output("stderr", talk=True)


def write(text: str) -> None:
    """Write data as it is.

    Raises:
        OutputError: It cannot be written.
    """
    _output.write(text)
    _output.flush()


def write_bytes(data: bytes) -> None:
    """Write the contents of a file as they are.

    Raises:
        OutputError: They cannot be written.
    """
    _output.flush()
    _output.write_bytes(data)
    _output.flush()


def stdout(*, wrapped: bool = False) -> Console:
    """Where data goes; ``wrapped`` is for help, whose frames fit the width."""
    return _console(_output, soft_wrap=not wrapped)


def stderr() -> Console:
    """Where talk goes."""
    return _console(_talk, soft_wrap=True)


def _console(output: _Output, *, soft_wrap: bool) -> Console:
    # rich keeps bold without colours; who asks for none wants no codes at all.
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    colours: Literal["auto"] | None = None if plain else "auto"
    return Console(
        file=cast("IO[str]", output),
        soft_wrap=soft_wrap,
        color_system=colours,
        highlight=False,
        markup=False,
        emoji=False,
    )


def one_line(text: object) -> str:
    r"""Text on one line, without control characters.

    >>> one_line("a\nb")
    'a�b'
    """
    return printable(str(text), longest=LONGEST)


def hang(console: Console, head: str, text: str) -> str:
    """Text behind its label; on a terminal it is broken at blanks only.

    A path or a number stays whole even if it is wider than the terminal.
    """
    if not console.is_terminal:
        return head + text
    room = max(console.width, NARROWEST)
    indent = " " * min(len(head), room // 2)
    return "\n".join(
        textwrap.wrap(
            head + text,
            room,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
            replace_whitespace=False,
        )
    )


def say(text: object) -> None:
    """Tell the user something in one line, on standard error."""
    _talk.write(f"memslots: {one_line(text)}\n")
    _talk.flush()
