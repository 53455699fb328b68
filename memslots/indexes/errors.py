"""What an index raises when it is misused or found damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# A dump of a large index shows this many keys around the damage.
DUMP_LIMIT = 64


class StructureBroken(Exception):  # noqa: N818  a broken rule, named as one
    """An index is not what it promises to be, or would stop being it.

    The kernel answers the same situations with ``BUG_ON`` and ``WARN_ON``.

    Attributes:
        rule: The broken rule, with the values that break it.
    """

    def __init__(self, rule: str, keys: Sequence[object] = (), near: int = 0) -> None:
        """Tell the rule and the keys it was broken among.

        Args:
            rule: The broken rule, with the values that break it.
            keys: The keys of the whole index, in its own order.
            near: Position in ``keys`` around which a long dump is cut.
        """
        dump = f"; keys in order: {_dump(keys, near)}" if keys else ""
        super().__init__(rule + dump)
        self.rule = rule


def _dump(keys: Sequence[object], near: int) -> str:
    begin = max(0, min(near - DUMP_LIMIT // 2, len(keys) - DUMP_LIMIT))
    shown = keys[begin : begin + DUMP_LIMIT]
    left_out = len(keys) - len(shown)
    text = "[" + ", ".join(map(str, shown)) + "]"
    if left_out:
        text += f" (from position {begin}; {left_out} more not shown)"
    return text
