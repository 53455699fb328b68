"""What is freed is poisoned: any later touch is a finding.

Python's garbage collector would hide a use after free. `reclaim` therefore changes the
class of the freed object to one that raises whenever an attribute is touched. Live
objects pay nothing for it but one field.
"""

from __future__ import annotations

from typing import Any, NoReturn

from rcu.errors import DoubleFree, UseAfterFree
from rcu.schedule.scheduler import Scheduler


class Reclaimable:
    """Something that can be freed.

    Attributes:
        epitaph: What it was, who freed it and when; unset while it is alive.
    """

    __slots__ = ("epitaph",)
    epitaph: str


class _Poisoned:
    """Mixed in front of the class of a freed object."""

    __slots__ = ()

    def __getattribute__(self, name: str) -> NoReturn:
        raise UseAfterFree(f"{name} of {_epitaph(self)} was read")

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise UseAfterFree(f"{name} of {_epitaph(self)} was written")

    def __repr__(self) -> str:
        return f"<{_epitaph(self)}>"


_poisoned_classes: dict[type, type[Any]] = {}


def reclaim(scheduler: Scheduler, victim: Reclaimable, name: str) -> None:
    """Free ``victim``.

    Args:
        scheduler: Whose current task frees it, in the current step.
        victim: What nobody may touch from now on.
        name: What findings call it.

    Raises:
        DoubleFree: It has been freed before.
    """
    who = scheduler.current.name
    if is_reclaimed(victim):
        raise DoubleFree(f"{who} frees {_epitaph(victim)}, a second time")
    victim.epitaph = f"{name} (freed by {who} in step {scheduler.steps})"
    kind = type(victim)
    if kind not in _poisoned_classes:
        _poisoned_classes[kind] = type(
            f"Freed{kind.__name__}", (_Poisoned, kind), {"__slots__": ()}
        )
    victim.__class__ = _poisoned_classes[kind]


def is_reclaimed(thing: object) -> bool:
    """Whether ``thing`` has been freed."""
    return issubclass(type(thing), _Poisoned)


def _epitaph(thing: object) -> str:
    text: str = object.__getattribute__(thing, "epitaph")
    return text
