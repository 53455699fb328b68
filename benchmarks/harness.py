"""Measures several things in turn, so that a slow moment of the machine hits all."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable
from time import perf_counter


def in_turn(
    measures: dict[str, Callable[[], float]], rounds: int
) -> dict[str, list[float]]:
    """Run every measure once a round.

    Args:
        measures: Each returns seconds for one unit of its work.
        rounds: How often each is run.

    Returns:
        All results, by name.
    """
    results: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            gc.collect()
            results[name].append(measure())
    return results


def per_unit(work: Callable[[], object], units: int) -> float:
    """Seconds for one unit of ``work``."""
    started = perf_counter()
    work()
    return (perf_counter() - started) / units


def middle(results: list[float]) -> float:
    """The median: what is quoted."""
    return statistics.median(results)


def show(
    what: str, value: str, ratio: str = "", target: str = "", spread: str = ""
) -> None:
    """Print one row."""
    print(f"  {what:<46} {value:>14} {ratio:>22}  {target:<24} {spread}".rstrip())


def spread(results: list[float], scale: float, unit: str) -> str:
    """Smallest and largest result."""
    return f"[{min(results) * scale:,.2f} .. {max(results) * scale:,.2f} {unit}]"
