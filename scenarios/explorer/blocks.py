"""An order of steps: as a short text that can be typed, and as blocks to be read."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from textwrap import TextWrapper

import attrs

from scenarios.schedule_file import in_turns

LONGEST_ORDER = 10_000_000
"""Steps of an order that is read."""

SHOWN = 12
"""Operations of one block that are told."""

_TURN = re.compile(r"(\d{1,9})x(\d{1,9})")


@attrs.frozen
class Step:
    """A step that was made.

    Attributes:
        task: Index of the task.
        name: Its name.
        does: The operation.
        preempts: Whether it interrupts a task that could have gone on.
    """

    task: int
    name: str
    does: str
    preempts: bool


def write_order(order: Iterable[int]) -> str:
    """An order as text: who makes how many steps, in turn.

    >>> write_order([0, 1, 1, 0])
    '0x1,1x2,0x1'
    """
    return ",".join(f"{index}x{count}" for index, count in in_turns(order))


def read_order(text: str) -> tuple[int, ...]:
    """The order that a text tells.

    >>> read_order("0x1,1x2")
    (0, 1, 1)

    Raises:
        ValueError: It tells none.
    """
    order: list[int] = []
    for number, turn in enumerate(text.split(","), start=1):
        match = _TURN.fullmatch(turn.strip())
        if match is None or not int(match[2]):
            raise ValueError(
                f"{turn.strip()!r}, number {number} in the order, is not TASKxSTEPS,"
                " as in 0x3,1x5"
            )
        if len(order) + int(match[2]) > LONGEST_ORDER:
            raise ValueError(f"an order has at most {LONGEST_ORDER:,} steps")
        order += itertools.repeat(int(match[1]), int(match[2]))
    return tuple(order)


def preemptions(steps: Iterable[Step]) -> int:
    """How often a task was interrupted that could have gone on."""
    return sum(step.preempts for step in steps)


def tell_blocks(steps: Sequence[Step], width: int = 88) -> Iterator[str]:
    """Tell who makes which steps in a row, one block after the other.

    Args:
        steps: All of them.
        width: Columns.
    """
    names = max((len(step.name) for step in steps), default=0)
    digits = len(str(len(steps)))
    first = 1
    for _, block in itertools.groupby(steps, key=lambda step: step.task):
        made = list(block)
        last = first + len(made) - 1
        who = f"{made[0].name:<{names}}"
        numbers = f"{first}" if first == last else f"{first}-{last}"
        head = (
            f"  {'!' if made[0].preempts else ' '} {who}  {numbers:<{2 * digits + 1}}"
        )
        wrapper = TextWrapper(
            width=max(width, len(head) + 40),
            initial_indent=f"{head}  ",
            subsequent_indent=" " * (len(head) + 2),
            break_on_hyphens=False,
        )
        yield from wrapper.wrap("; ".join(_shortened([step.does for step in made])))
        first = last + 1


def _shortened(operations: list[str]) -> list[str]:
    left_out = len(operations) - SHOWN
    if left_out <= 1:
        return operations
    head = SHOWN - 4
    return [*operations[:head], f"... {left_out} more ...", *operations[-4:]]
