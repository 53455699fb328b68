"""What mail does to a pasted trace line, and how to undo it.

Three things happen on the way: a reply puts ``> `` before each line, an encoding
turns ``=`` into ``=3D`` and breaks long lines with a ``=`` at their end, and the
sender's editor wraps lines at blanks. The first two are undone here, because
they can be told from the text alone. The third needs to know what a complete
line looks like, so the format parsers do it.
"""

from __future__ import annotations

import re

import attrs

# Column 0 only: strace -k begins its stack frames with " > ".
_QUOTE = re.compile(r"(?:>[ \t]?)+")
_LONGEST_JOINED = 4096  # a file of nothing but "=" must not pile up


@attrs.define(slots=True)
class MailDecoder:
    """Gives back the lines as they were before they were mailed.

    Attributes:
        mark: A text that only lines of the trace hold; such a line may end in
            a soft break even if nothing before looked encoded.
    """

    mark: str
    _encoded: bool = attrs.field(default=False, init=False)
    _held: tuple[int, str] | None = attrs.field(default=None, init=False)

    @property
    def holding(self) -> bool:
        """Whether the beginning of a line waits for its rest."""
        return self._held is not None

    def decode(self, number: int, text: str, *, inside: bool) -> tuple[int, str] | None:
        """Return the clean line and its number, or None if its rest is to come.

        Args:
            number: Line number.
            text: The line as it is in the file.
            inside: Whether the line may go on with a call begun before it.
        """
        if self._held is not None:
            number, text = self._held[0], self._held[1] + text
            self._held = None
        self._encoded = self._encoded or "=3D" in text
        if text.endswith("=") and self._is_soft_break(text, inside=inside):
            self._held = number, text[:-1]
            return None
        return number, clean(text)

    def release(self) -> tuple[int, str] | None:
        """Return the line that waits in vain, if any: the file has ended."""
        held, self._held = self._held, None
        return None if held is None else (held[0], clean(held[1]))

    def _is_soft_break(self, text: str, *, inside: bool) -> bool:
        # A "=" at the end of a line that is not encoded must not swallow the
        # next line, which may be a call.
        likely = inside or self._encoded or self.mark in text
        return likely and len(text) <= _LONGEST_JOINED


def clean(text: str) -> str:
    """Return one line without quote marks and encoded equals signs.

    >>> clean("> > size=3D0x1000")
    'size=0x1000'
    """
    if text.startswith(">"):
        text = _QUOTE.sub("", text, count=1)
    return text.replace("=3D", "=")
