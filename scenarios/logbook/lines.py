"""The lines of a log as bytes: from a file or standard input, also gzipped."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

STDIN = Path("-")

MAX_LINE_BYTES = 64 << 20

GZIP = b"\x1f\x8b"
"""What a gzipped file begins with."""

PIECE = 1 << 14
"""Bytes that are read at once: its lines are near when they are looked at."""


class DamagedError(Exception):
    """The data is not as whoever compressed it left it."""


class TooLongError(Exception):
    """A line has more bytes than can be a log's."""


def blocks_of(path: Path) -> Iterator[bytes]:
    """Read what a log holds, uncompressed, a block at a time.

    A gzipped file may be cut off as any other.

    Args:
        path: A file, or ``-`` for standard input.

    Raises:
        OSError: It cannot be read.
        DamagedError: It is gzipped, and damaged.
    """
    with _opened(path) as file:
        block = file.read(PIECE)
        if block.startswith(GZIP):
            yield from _unzipped(file, block)
            return
        while block:
            yield block
            block = file.read(PIECE)


def whole_lines(blocks: Iterator[bytes]) -> Iterator[tuple[list[bytes], bool]]:
    r"""Cut blocks into lines.

    Yields:
        Lines without their ends, of which the last may be half a line: whether it is
        one, and nothing follows.

    Raises:
        TooLongError: There is no end of a line in sight.

    >>> list(whole_lines(iter([b"a\nb", b"c\nd"])))
    [([b'a'], False), ([b'bc'], False), ([b'd'], True)]
    """
    rest: list[bytes] = []
    size = 0
    for block in blocks:
        head, newline, tail = block.rpartition(b"\n")
        if newline:
            yield b"".join([*rest, head]).split(b"\n"), False
            rest, size = [], 0
        rest.append(tail)
        size += len(tail)
        if size > MAX_LINE_BYTES:
            raise TooLongError
    if size:
        yield [b"".join(rest)], True


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if path == STDIN:
        yield sys.stdin.buffer
        return
    with path.open("rb", buffering=0) as file:
        yield file


def _unzipped(file: IO[bytes], data: bytes) -> Iterator[bytes]:
    """The contents of one gzipped file behind the other."""
    unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    while data:
        try:
            block = unzip.decompress(data, 4 * PIECE)
        except zlib.error as error:
            raise DamagedError(str(error).partition(": ")[2]) from error
        if block:
            yield block
        data = unzip.unconsumed_tail
        if unzip.eof:
            data = unzip.unused_data.lstrip(b"\0") or file.read(PIECE)
            unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        elif not data:
            data = file.read(PIECE)
