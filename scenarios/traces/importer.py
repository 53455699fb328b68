"""The door: a file comes in, a ``Trace`` or one clear ``TraceError`` goes out.

The file is read once and forwards, so it may also be a pipe, and only the calls
stay in memory. The first line that belongs to one format only decides.
"""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import BinaryIO, Protocol

from scenarios.printable import printable
from scenarios.traces import mtree, qemu_trace, strace, strace_line
from scenarios.traces.call import Trace, TraceError
from scenarios.traces.lines import (
    LONGEST,
    Lines,
    first_bytes,
    looks_binary,
    unpacked,
)
from scenarios.traces.tally import Tally

MAX_CALLS = 100_000

_HOW_TO_RECORD = (
    "record one with: strace -f -e trace=ioctl -o FILE PROGRAM ... "
    "or: qemu-system-x86_64 -trace kvm_set_user_memory -D FILE ..."
)


class _Parser(Protocol):
    def line(self, number: int, text: str) -> None: ...
    def last(self, number: int, text: str) -> None: ...
    def finish(self) -> None: ...


def read_trace(path: str | Path, *, max_calls: int = MAX_CALLS) -> Trace:
    """Read the memory-region calls that a file recorded.

    Args:
        path: strace output, a QEMU trace log, or a layout that QEMU's monitor
            printed, plain or gzipped.
        max_calls: More updates than this are refused.

    Returns:
        The calls with the kernel's answers, and an account of all other lines.

    Raises:
        TraceError: There is no such file, it is no trace, or a line holds a
            value that cannot be.
    """
    source = str(path)
    with _opened(path, source) as stream:
        return read_stream(stream, source=source, max_calls=max_calls)


def read_stream(stream: BinaryIO, *, source: str, max_calls: int = MAX_CALLS) -> Trace:
    """Read a trace from an open binary stream, such as standard input.

    Args:
        stream: The bytes, plain or gzipped; read forwards, to the end.
        source: What messages call the stream.
        max_calls: More updates than this are refused.

    Raises:
        TraceError: The stream holds no trace, or an impossible value.
    """
    tally = Tally(source, max_calls)
    try:
        text = unpacked(stream)
        _refuse_bytes(tally, first_bytes(text))
        lines = Lines(text, lambda number, line: _too_long(tally, number, line))
        format_name = _read_lines(lines, tally)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise tally.error(f"the gzip data are damaged: {error}") from error
    except OSError as error:
        raise tally.error(_reason(error)) from error
    if not tally.has_calls():
        raise tally.error(
            f"no memory-region update in {lines.count} lines ({tally.seen()}); "
            f"{_HOW_TO_RECORD}"
        )
    return tally.finish(format_name, lines.count)


def _opened(path: str | Path, source: str) -> BinaryIO:
    try:
        return Path(path).open("rb")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise TraceError(source, _reason(error)) from error


def _read_lines(lines: Lines, tally: Tally) -> str:
    """Hand every line to the parser that the first telling line asks for."""
    parser: _Parser | None = None
    format_name = ""
    numbered = iter(lines)
    for number, text in numbered:
        parser, format_name = _choose(text, tally)
        if parser is not None:
            parser.line(number, text)
            break
        _undecided(number, text, tally)
    if parser is not None:
        take = parser.line
        for number, text in numbered:
            take(number, text)
    if lines.half is not None:
        if parser is None:
            parser, format_name = _choose(lines.half, tally)
        if parser is None:
            _undecided(lines.count, lines.half, tally)
        else:
            parser.last(lines.count, lines.half)
    if parser is not None:
        parser.finish()
    return format_name


def _choose(text: str, tally: Tally) -> tuple[_Parser | None, str]:
    # strace first: it may show QEMU writing its trace event.
    if strace_line.recognises(text):
        return strace.StraceParser(tally), strace.NAME
    if qemu_trace.recognises(text):
        return qemu_trace.QemuTraceParser(tally), qemu_trace.NAME
    if mtree.recognises(text):
        return mtree.MtreeParser(tally), mtree.NAME
    return None, ""


def _undecided(number: int, text: str, tally: Tally) -> None:
    kind = qemu_trace.other_kind(text)
    if kind is not None:
        tally.add_other(kind)
    elif text.strip():
        tally.add_unknown(number, text, "before the first line of a trace")


def _too_long(tally: Tally, number: int, text: str) -> None:
    tally.add_unknown(number, text, f"longer than {LONGEST >> 10} KiB")


def _refuse_bytes(tally: Tally, head: bytes) -> None:
    if not head:
        raise tally.error(f"the file is empty; {_HOW_TO_RECORD}")
    if looks_binary(head):
        raise tally.error(
            f"binary data, not text (it begins with {head[:8].hex(' ')}); "
            "give the text that strace or QEMU wrote, plain or gzipped"
        )


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file; check the name and the directory"
    if isinstance(error, IsADirectoryError):
        return "this is a directory; give the trace file in it"
    if isinstance(error, PermissionError):
        return "not allowed to read it; strace run by root writes root's files"
    if isinstance(error, OSError) and error.errno is not None:
        return f"cannot be read: {os.strerror(error.errno)}"
    return f"cannot be read: {printable(str(error))}"
