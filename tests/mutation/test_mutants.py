"""Which changes of a module are made, and how each is named."""

from __future__ import annotations

import textwrap

import pytest

from tests.mutation.mutants import LEFT_OUT, Mutant, Place, mutants, operators

SOURCE = textwrap.dedent(
    '''\
    """A counter."""


    class Counter:
        """Counts."""

        step: int = 1

        def __init__(self) -> None:
            """Start."""
            self.count = 0

        async def add(self, times: int) -> int:
            for _ in range(
                times
            ):
                self.count += (
                    self.step
                )

            def told() -> str:
                return "told"

            return self.count
    '''
)


@pytest.fixture
def no_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    """cosmic-ray is an extra: without it, only statements are left out."""
    monkeypatch.setattr("tests.mutation.mutants.of_tool", lambda source: ())


def left_out(mutant: Mutant) -> tuple[str, str]:
    assert mutant.operator == LEFT_OUT
    assert mutant.after == "pass"
    return mutant.function, mutant.before


@pytest.mark.usefixtures("no_tool")
def test_every_statement_of_a_function_is_left_out_once() -> None:
    assert [*map(left_out, mutants("counter.py", SOURCE))] == [
        ("Counter.__init__", "self.count = 0"),
        ("Counter.add", "self.count += ("),
        ("Counter.add", "return self.count"),
        ("Counter.add.told", 'return "told"'),
    ]


@pytest.mark.usefixtures("no_tool")
def test_what_stands_behind_a_statement_that_is_left_out_stays_on_its_line() -> None:
    added = list(mutants("counter.py", SOURCE))[1].source
    before, after = SOURCE.splitlines(), added.splitlines()
    assert after[16:20] == ["            pass", "", "", ""]
    assert after[:16] + after[20:] == before[:16] + before[20:]


def test_a_change_of_what_never_runs_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    source = textwrap.dedent(
        """\
        if TYPE_CHECKING:
            LIMIT = 1


        class HasCount(Protocol):
            def count(self) -> int:
                return 1


        def first(numbers: list[1]) -> None | 1:
            number: 1 = 1
        """
    )

    def ones(source: str) -> list[tuple[str, tuple[Place, Place], str]]:
        """Each number 1 becomes 2."""
        lines = source.splitlines(keepends=True)
        found = []
        for at, line in enumerate(lines):
            for column in (c for c, letter in enumerate(line) if letter == "1"):
                changed = f"{line[:column]}2{line[column + 1 :]}"
                text = "".join([*lines[:at], changed, *lines[at + 1 :]])
                found.append(("One", ((at + 1, column), (at + 1, column + 1)), text))
        return found

    monkeypatch.setattr("tests.mutation.mutants.of_tool", ones)
    changes = [(m.function, m.before, m.after) for m in mutants("m.py", source)]
    assert changes == [
        ("first", "number: 1 = 1", "pass"),
        ("first", "number: 1 = 1", "number: 1 = 2"),
    ]


def test_what_cannot_be_compiled_or_was_there_already_is_no_mutant(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = "NUMBER = 1\n"
    place = ((1, 9), (1, 10))
    texts = ["NUMBER = \n", "NUMBER = 2\n", "NUMBER = 1  # one\n", "NUMBER = (2)\n"]
    monkeypatch.setattr(
        "tests.mutation.mutants.of_tool",
        lambda source: [("Number", place, text) for text in texts],
    )
    (mutant,) = mutants("m.py", source)
    assert mutant == Mutant("m.py", "", "Number", "NUMBER = 1", "NUMBER = 2", texts[1])


def test_an_identity_becomes_its_opposite_only() -> None:
    prefix = "core/ReplaceComparisonOperator_"
    names = ["Is_IsNot", "IsNot_Is", "Is_Eq", "IsNot_Lt", "Eq_Is", "Gt_IsNot", "Eq_Lt"]
    assert operators([f"{prefix}{name}" for name in names]) == [
        f"{prefix}Eq_Lt",
        f"{prefix}IsNot_Is",
        f"{prefix}Is_IsNot",
    ]


def test_fractions_powers_and_other_variables_are_not_used() -> None:
    prefix = "core/ReplaceBinaryOperator_Add_"
    names = ["core/VariableInserter", f"{prefix}Pow", f"{prefix}Div", f"{prefix}Sub"]
    assert operators([*names, "core/AddNot"]) == ["core/AddNot", f"{prefix}Sub"]
