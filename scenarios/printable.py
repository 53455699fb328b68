"""Text that somebody else wrote, made fit for one line of a terminal."""

from __future__ import annotations


def printable(text: str, longest: int = 200) -> str:
    r"""Return *text* on one line, without control characters, cut to length.

    >>> printable("a\tb\x1b[31m", longest=5)
    'a�b�…'
    """
    head = text[: longest + 1]
    clean = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in head)
    if len(clean) <= longest:
        return clean
    return clean[: longest - 1] + "\N{HORIZONTAL ELLIPSIS}"
