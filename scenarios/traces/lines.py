"""A file becomes numbered lines, in constant memory whatever the file holds.

A line is at most ``LONGEST`` bytes: what is longer is reported and replaced by a
blank line, so that the numbers stay those that an editor shows.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterator
from typing import BinaryIO, cast

import attrs

LONGEST = 1 << 16
_BLOCK = 1 << 18
_GZIP_MAGIC = b"\x1f\x8b"
_PEEK = 1 << 13
_TEXT_CONTROLS = frozenset(b"\t\n\r\f\x1b")
_MOST_ODD = 0.3


@attrs.define(slots=True)
class Lines:
    """The lines of a stream, each with its number from 1.

    Attributes:
        stream: Where the bytes come from; read once, forwards.
        on_long: Called with number and beginning of each line that is too long.
        count: How many lines were read; the number of the last one.
        half: The last line if no newline ends it. It is not handed out with
            the others: only a parser knows whether it is whole.
    """

    stream: BinaryIO
    on_long: Callable[[int, str], None]
    count: int = attrs.field(default=0, init=False)
    half: str | None = attrs.field(default=None, init=False)

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """Yield number and text, without newline, of every whole line."""
        rest = b""
        while block := self.stream.read(_BLOCK):
            whole, newline, tail = block.rpartition(b"\n")
            if not newline:
                rest = (rest + tail)[: LONGEST + 1]
                continue
            texts = self._split(rest + whole)
            first = self.count + 1
            self.count += len(texts)
            yield from enumerate(texts, first)
            rest = tail[: LONGEST + 1]
        if rest:
            (self.half,) = self._split(rest)
            self.count += 1

    def _split(self, block: bytes) -> list[str]:
        text = block.decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\r")
        texts = text.split("\n")
        # A character may take four bytes.
        if 4 * max(map(len, texts)) > LONGEST:
            for index, line in enumerate(texts):
                if len(line.encode("utf-8", "replace")) > LONGEST:
                    self.on_long(self.count + index + 1, line)
                    texts[index] = ""
        return texts


def unpacked(stream: BinaryIO) -> BinaryIO:
    """Return the stream, unpacked if its first bytes say gzip."""
    peekable = _peekable(stream)
    if peekable.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC):
        return _peekable(cast("BinaryIO", gzip.GzipFile(fileobj=peekable)))
    return cast("BinaryIO", peekable)


def first_bytes(stream: BinaryIO) -> bytes:
    """Return the first bytes of an unpacked stream without consuming them."""
    return cast("io.BufferedReader", stream).peek(_PEEK)[:_PEEK]


def looks_binary(head: bytes) -> bool:
    """Return whether the first bytes of a file are not text.

    Text in an old 8-bit encoding is text: a few odd bytes are let through.
    """
    if b"\0" in head:
        return True
    try:
        head[:-3].decode("utf-8")  # the cut may have split the last character
    except UnicodeDecodeError:
        odd = sum(byte >= 0x80 for byte in head)
    else:
        odd = 0
    odd += sum(byte < 0x20 and byte not in _TEXT_CONTROLS for byte in head)
    return odd > _MOST_ODD * len(head)


def _peekable(stream: BinaryIO) -> io.BufferedReader:
    if isinstance(stream, io.BufferedReader):
        return stream
    return io.BufferedReader(cast("io.RawIOBase", stream), _PEEK)
