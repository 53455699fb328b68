"""A generation names one content of one address space, and only ever grows."""

from __future__ import annotations

import pytest

from memslots.generation import UPDATE_IN_PROGRESS as IN_PROGRESS
from memslots.tracepoints import GenerationAdvanced, SetsSwapped, SlotReplaced
from rcu.trace import Event
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.generation_unique import GenerationUnique
from tests.scenarios.checkers.story import X, Y, look, outcome, space, story


def edit(index: int) -> tuple[str, Event]:
    return "writer", SlotReplaced(0, index, None, Y)


def swap(index: int, generation: int, as_id: int = 0) -> tuple[str, Event]:
    return "writer", SetsSwapped(as_id, index, generation)


def advance(index: int, generation: int, as_id: int = 0) -> tuple[str, Event]:
    return "writer", GenerationAdvanced(as_id, index, generation)


def test_two_updates_that_count_up_are_accepted() -> None:
    lines = story(
        look("vcpu0", 0, 0x10, X, generation=0),
        edit(1),
        swap(1, IN_PROGRESS),
        look("vcpu0", 1, 0x10, X, generation=IN_PROGRESS),
        look("vcpu1", 0, 0x10, X, generation=0),
        advance(1, 1),
        look("vcpu0", 1, 0x10, X, generation=1),
        edit(0),
        edit(0),
        swap(0, 1 | IN_PROGRESS),
        advance(0, 2),
        look("vcpu0", 0, 0x10, X, generation=2),
    )
    assert outcome(GenerationUnique, space(X) + lines) == (9, [])


def test_who_does_not_look_at_the_generation_exercises_nothing() -> None:
    lines = story(look("reader", 0, 0x10, X), edit(1))
    assert outcome(GenerationUnique, space(X) + lines) == (0, [])


@pytest.mark.parametrize("generation", [0, 6])
def test_a_set_must_be_published_with_the_mark(generation: int) -> None:
    lines = story(edit(1), swap(1, generation))
    seen = (
        f"set 1 was published as generation {generation}, without the mark that an"
        " update is in progress"
    )
    assert outcome(GenerationUnique, space(X) + lines) == (1, [(2, "writer", seen)])


def test_a_generation_must_grow() -> None:
    lines = story(edit(1), swap(1, IN_PROGRESS), advance(1, 0))
    seen = "generation 0 was followed by 0"
    assert outcome(GenerationUnique, space(X) + lines) == (2, [(3, "writer", seen)])


def test_a_generation_must_grow_beyond_the_last() -> None:
    lines = story(
        swap(1, IN_PROGRESS),
        advance(1, 5),
        swap(0, 5 | IN_PROGRESS),
        advance(0, 3),
        swap(1, 3 | IN_PROGRESS),
        advance(1, 5),
    )
    exercised, found = outcome(GenerationUnique, space(X) + lines)
    assert exercised == 6
    assert [each.seen for each in found if "followed" in each.seen] == [
        "generation 5 was followed by 3",
        "generation 5 was followed by 5",
    ]


def test_the_mark_must_go() -> None:
    lines = story(edit(1), swap(1, IN_PROGRESS), advance(1, 1 | IN_PROGRESS))
    seen = f"generation 0 was followed by {1 | IN_PROGRESS}"
    assert outcome(GenerationUnique, space(X) + lines) == (2, [(3, "writer", seen)])


def test_a_generation_belongs_to_its_address_space() -> None:
    records = space(X, of=2) + space(X, as_id=1, of=2)
    good = story(swap(1, 1 | IN_PROGRESS, as_id=1), advance(1, 3, as_id=1))
    assert outcome(GenerationUnique, records + good) == (2, [])
    bad = story(swap(1, 1 | IN_PROGRESS, as_id=1), advance(1, 4, as_id=1))
    seen = "generation 4 does not belong to address space 1"
    assert outcome(GenerationUnique, records + bad) == (2, [(2, "writer", seen)])
    bad = story(swap(1, IN_PROGRESS), advance(1, 3))
    seen = "generation 3 does not belong to address space 0"
    assert outcome(GenerationUnique, records + bad) == (2, [(2, "writer", seen)])


def test_a_vm_makes_one_swap_at_a_time() -> None:
    records = space(X, of=2) + space(X, as_id=1, of=2)
    good = story(swap(1, IN_PROGRESS), advance(1, 2), swap(1, 1 | IN_PROGRESS, as_id=1))
    assert outcome(GenerationUnique, records + good) == (3, [])
    bad = story(swap(1, IN_PROGRESS), swap(1, 1 | IN_PROGRESS, as_id=1))
    seen = (
        "set 1 of address space 1 was published while set 1 of address space 0,"
        " published by writer in step 1, is still marked"
    )
    assert outcome(GenerationUnique, records + bad) == (2, [(2, "writer", seen)])


@pytest.mark.parametrize(("first", "second"), [(0, 1), (1, 0)])
def test_the_same_number_for_another_content_is_refused(
    first: int, second: int
) -> None:
    lines = story(
        look("vcpu0", first, 0x10, X, generation=5),
        edit(second),
        look("vcpu0", second, 0x10, X, generation=5),
    )
    seen = (
        f"generation 0x5 stood for set {first} after 1 edits, and stands for set"
        f" {second} after 2 edits now"
    )
    assert outcome(GenerationUnique, space(X) + lines) == (2, [(3, "vcpu0", seen)])


def test_a_number_that_is_given_again_is_refused_at_once() -> None:
    stood = f"generation {IN_PROGRESS:#x} stood for set 0 after 1 edits"
    lines = (look("vcpu0", 0, 0x10, X, generation=IN_PROGRESS), swap(1, IN_PROGRESS))
    exercised, found = outcome(GenerationUnique, space(X) + story(*lines))
    assert (exercised, [(each.step, each.seen[: len(stood)]) for each in found]) == (
        2,
        [(2, stood)],
    )
    stood = "generation 0x1 stood for set 0 after 1 edits"
    lines = (look("vcpu0", 0, 0x10, X, generation=1), advance(1, 1))
    exercised, found = outcome(GenerationUnique, space(X) + story(*lines))
    assert (exercised, [(each.step, each.seen[: len(stood)]) for each in found]) == (
        2,
        [(2, stood)],
    )


def test_the_same_number_for_an_edited_set_is_refused() -> None:
    lines = story(
        look("vcpu0", 0, 0x10, X, generation=5),
        edit(0),
        look("vcpu0", 0, 0x10, X, generation=5),
    )
    exercised, found = outcome(GenerationUnique, space(X) + lines)
    assert (exercised, [step for step, *_ in found]) == (2, [3])


def test_address_spaces_number_their_contents_apart() -> None:
    records = space(X, of=2) + space(X, Y, as_id=1, of=2)
    lines = story(
        look("vcpu0", 0, 0x10, X, generation=5),
        look("vcpu0", 0, 0x10, X, generation=5, as_id=1),
    )
    assert outcome(GenerationUnique, records + lines) == (2, [])


def test_a_finding_of_the_model_is_taken_over() -> None:
    lines = story(("writer", RuleWasBroken("generation-unique", "Wrapped", "x")))
    assert outcome(GenerationUnique, lines) == (1, [(1, "writer", "Wrapped: x")])
