"""A ledger knows what a dict would, however much it has packed."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

import scenarios.checkers.ledger
from rcu.trace import Event, Record
from scenarios.checkers.ledger import PairLedger, RecordLedger

numbers = st.one_of(st.integers(-3, 300), st.integers(-(1 << 70), 1 << 70))
keys = st.one_of(numbers, st.tuples(st.sampled_from(["slot", "rmap"]), numbers))
pairs = st.tuples(st.integers(0, 1 << 60), st.integers(-5, 1 << 60))


@pytest.fixture(autouse=True, scope="module")
def keeps_little() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenarios.checkers.ledger, "KEPT", 3)
        yield


@given(st.lists(st.tuples(st.sampled_from(["put", "put", "forget"]), keys, pairs)))
def test_ledger_of_pairs_is_a_dict(
    made: list[tuple[str, object, tuple[int, int]]],
) -> None:
    ledger, plain = PairLedger[object](), dict[object, tuple[int, int]]()
    for what, key, pair in made:
        if what == "put":
            ledger[key] = plain[key] = pair
        else:
            ledger.forget(key)
            plain.pop(key, None)
        for _, each, _ in made:
            assert (each in ledger) is (each in plain)
            assert ledger.recall(each) == plain.get(each)


@given(st.lists(st.tuples(keys, st.integers(0, 1 << 60), st.text(max_size=2))))
def test_ledger_of_records_knows_who_and_when(
    made: list[tuple[object, int, str]],
) -> None:
    ledger = RecordLedger[object]()
    plain = {}
    for key, step, actor in made:
        ledger[key] = Record(step, actor, Event())
        plain[key] = step, actor
        for each, expected in plain.items():
            found = ledger[each]
            assert (found.step, found.actor) == expected


def test_what_was_never_there_is_a_key_error() -> None:
    ledger = PairLedger[int]()
    for number in range(10):
        ledger[number] = number, number
    with pytest.raises(KeyError, match="77"):
        ledger[77]


def test_packed_entries_take_few_bytes() -> None:
    ledger = PairLedger[tuple[str, int]]()
    for number in range(6_400):
        ledger["slot", number] = number, 1
    blocks: list[array[int]] = [*ledger._older.values()]
    assert sum(len(block) * block.itemsize for block in blocks) <= 17 * 6_400
    assert len(ledger) <= 3


def test_what_is_forgotten_is_nowhere() -> None:
    ledger = PairLedger[int]()
    for number in range(10):
        ledger[number] = number, number
    for number in range(10):
        ledger.forget(number)
        assert number not in ledger
        assert ledger.recall(number) is None
        assert [each in ledger for each in range(number + 1, 10)] == [True] * (
            9 - number
        )
    ledger.forget(77)
    assert 77 not in ledger
