"""Both sides answer the same calls; the first difference ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from rcu.schedule.pool import TaskPool
from scenarios.parity.calls import Answer, Call
from scenarios.parity.model import MakeUpdate, Model, with_model


@attrs.frozen
class Exchange:
    """A call and what the kernel answered."""

    call: Call
    kernel: Answer


@attrs.frozen
class Difference:
    """Calls on a new VM, the last of which is answered differently.

    Attributes:
        exchanges: The calls with the kernel's answers.
        model: What the model answered to the last of them.
    """

    exchanges: tuple[Exchange, ...]
    model: Answer

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls alone."""
        return tuple(exchange.call for exchange in self.exchanges)


@attrs.define
class Comparison:
    """Calls to one VM of the kernel, and to one of the model.

    Attributes:
        exchanges: Each made when the one before it was found equal.
        on_equal: Called with each that was.
        done: Those that were.
        difference: The first that was not.
    """

    exchanges: Iterable[Exchange]
    on_equal: Callable[[Exchange], object] | None = None
    done: list[Exchange] = attrs.field(factory=list)
    difference: Difference | None = None

    async def __call__(self, model: Model) -> None:
        """Compare until the exchanges are used up, or differ."""
        done = self.done
        for exchange in self.exchanges:
            answer = await model.answer(exchange.call)
            if answer != exchange.kernel:
                self.difference = Difference((*done, exchange), answer)
                return
            done.append(exchange)
            if self.on_equal is not None:
                self.on_equal(exchange)


async def first_difference(
    pool: TaskPool, make: MakeUpdate, exchanges: Iterable[Exchange]
) -> Difference | None:
    """Whether the model answers differently, as far as the kernel's answers go.

    Args:
        pool: Where tasks are borrowed.
        make: Makes the model.
        exchanges: What the kernel answered to the calls on a new VM.
    """
    comparison = Comparison(exchanges)
    await with_model(pool, make, comparison)
    return comparison.difference
