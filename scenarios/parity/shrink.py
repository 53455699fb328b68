"""From calls that show a difference to the fewest of them that still do.

Calls are left out, ever smaller pieces of them, and both sides are asked again on new
VMs: delta debugging. Any difference counts, also another than the first one. In the end
no single call can be left out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from scenarios.parity.calls import Call
from scenarios.parity.compare import Difference

Try = Callable[[Sequence[Call]], Awaitable[Difference | None]]
"""Asks both sides on new VMs."""


async def shortest(found: Difference, try_calls: Try) -> Difference:
    """The fewest calls.

    Args:
        found: What was found.
        try_calls: Makes calls on new VMs, up to the first difference.

    Cost: For n calls O(n log n) calls if few of them matter, O(n^2) at worst.
    """
    # What was refused has changed nothing, as a rule.
    *before, last = found.exchanges
    calls = [each.call for each in before if each.kernel.result >= 0]
    best = await try_calls([*calls, last.call]) or found
    pieces = 2
    while len(best.calls) > 1:
        size = max(len(best.calls) // pieces, 1)
        smaller = await _without_a_piece(best, size, try_calls)
        if smaller is not None:
            best = smaller
            pieces = max(pieces - 1, 2)
        elif size == 1:
            break
        else:
            pieces *= 2
    return best


async def _without_a_piece(
    best: Difference, size: int, try_calls: Try
) -> Difference | None:
    """Leave out one piece after the other, the latest first."""
    smallest: Difference | None = None
    end = len(best.calls) - 1  # the last call is what the difference is about
    while end > 0:
        calls = (smallest or best).calls
        start = max(end - size, 0)
        shorter = await try_calls((*calls[:start], *calls[end:]))
        if shorter is not None:
            smallest = shorter
            end = min(start, len(shorter.calls) - 1)
        else:
            end = start
    return smallest
