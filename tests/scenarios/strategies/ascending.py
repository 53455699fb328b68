"""Pct with the defect of a peer."""

from __future__ import annotations

from scenarios.strategies.pct import Pct


class Ascending(Pct):
    """Of those demoted, the first falls lowest."""

    def demotions(self, count: int) -> dict[int, int]:
        steps = sorted(super().demotions(count))
        return {step: place - count for place, step in enumerate(steps)}
