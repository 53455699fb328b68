"""Every counter has a location of its own, and a failed scan notices each of them."""

from __future__ import annotations

import pytest

from rcu.operation import Location, Operation
from rcu.srcu.counters import Callback, CountersChanged, Cpu


def test_each_operation_names_its_own_counter() -> None:
    cpu = Cpu.of("srcu", 1)
    assert [*map(str, (*cpu.lock, *cpu.read_lock))] == [
        "write srcu lock_count[0] of CPU 1",
        "write srcu lock_count[1] of CPU 1",
        "read srcu lock_count[0] of CPU 1",
        "read srcu lock_count[1] of CPU 1",
    ]
    assert [*map(str, (*cpu.unlock, *cpu.read_unlock))] == [
        "write srcu unlock_count[0] of CPU 1",
        "write srcu unlock_count[1] of CPU 1",
        "read srcu unlock_count[0] of CPU 1",
        "read srcu unlock_count[1] of CPU 1",
    ]
    assert cpu.queue.name == "srcu callbacks of CPU 1"
    for writes, reads in ((cpu.lock, cpu.read_lock), (cpu.unlock, cpu.read_unlock)):
        for write, read in zip(writes, reads, strict=True):
            assert write.writes == read.reads


def test_a_processor_starts_with_nobody_inside_and_nothing_queued() -> None:
    cpu = Cpu.of("srcu", 0)
    assert (cpu.lock_count, cpu.unlock_count, cpu.callbacks) == ([0, 0], [0, 0], [])


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("kind", ["lock_count", "unlock_count"])
@pytest.mark.parametrize("by", [1, -1])
def test_a_scan_that_failed_notices_any_other_number_of_its_rank(
    rank: int, place: int, kind: str, by: int
) -> None:
    cpus = (Cpu.of("srcu", 0), Cpu.of("srcu", 1))
    for cpu in cpus:
        cpu.lock_count = [5, 6]
        cpu.unlock_count = [3, 4]
    of_rank, of_other = (
        CountersChanged(cpus, r, (3 + r, 3 + r), (5 + r, 5 + r))
        for r in (rank, 1 - rank)
    )
    assert not of_rank()
    getattr(cpus[place], kind)[rank] += by
    assert of_rank()
    assert not of_other()


def test_a_callback_is_itself_whatever_it_says() -> None:
    def nothing() -> None:
        pass

    assert Callback("free", nothing) != Callback("free", nothing)
    assert len({Cpu.of("srcu", 0), Cpu.of("srcu", 0)}) == 2


def test_a_callback_has_one_operation_for_each_queue() -> None:
    freed, first, second = (Location(name) for name in ("freed", "first", "second"))
    callback = Callback("free", lambda: None, (freed,))
    invoke = callback.invoke_from(first)
    assert isinstance(invoke, Operation)
    assert (str(invoke), invoke.writes) == ("invoke first, freed", (first, freed))
    assert callback.invoke_from(first) is invoke
    assert callback.invoke_from(second).writes == (second, freed)
