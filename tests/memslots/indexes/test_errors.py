"""What a broken rule shows of the keys around it."""

from __future__ import annotations

import pytest

from memslots.indexes.errors import DUMP_LIMIT, StructureBroken


def test_a_short_index_is_shown_whole() -> None:
    broken = StructureBroken("this is wrong", [3, 1, 2])
    assert str(broken) == "this is wrong; keys in order: [3, 1, 2]"
    assert broken.rule == "this is wrong"


def test_no_keys_leave_the_rule_alone() -> None:
    assert str(StructureBroken("this is wrong")) == "this is wrong"


@pytest.mark.parametrize(
    ("near", "first"), [(0, 0), (500, 500 - DUMP_LIMIT // 2), (999, 1000 - DUMP_LIMIT)]
)
def test_a_long_index_is_shown_around_the_damage(near: int, first: int) -> None:
    text = str(StructureBroken("wrong", range(1000), near))
    shown = ", ".join(map(str, range(first, first + DUMP_LIMIT)))
    assert f"[{shown}] (from position {first}; {1000 - DUMP_LIMIT} more" in text


def test_more_than_64_keys_are_long() -> None:
    assert "not shown" not in str(StructureBroken("wrong", range(64)))
    assert str(StructureBroken("wrong", range(65))).endswith(
        "62, 63] (from position 0; 1 more not shown)"
    )
    assert str(StructureBroken("wrong", range(130), 129)).endswith(
        "128, 129] (from position 66; 66 more not shown)"
    )
