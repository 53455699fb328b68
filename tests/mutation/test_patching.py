"""A function that has been imported does what a mutant does, if only that changes."""

from __future__ import annotations

import types

from tests.mutation.patching import Functions, changed_functions, code_of

PATH = "/nowhere/counter.py"
SOURCE = """\
LIMIT = 3


class Counter:
    step = 1

    def __init__(self, count=0):
        self.count = count

    @property
    def next(self):
        return min(self.count + self.step, LIMIT)


def count(counter):
    return [counter.next for _ in range(2)]
"""


def imported() -> types.SimpleNamespace:
    namespace: dict[str, object] = {}
    exec(code_of(SOURCE, PATH), namespace)  # noqa: S102 - the text above
    return types.SimpleNamespace(**namespace)


def changed(before: str, after: str) -> tuple[str, ...] | None:
    """Names of the functions that change with a text."""
    assert before in SOURCE
    new = code_of(SOURCE.replace(before, after), PATH)
    changes = changed_functions(code_of(SOURCE, PATH), new)
    return None if changes is None else tuple(old.co_qualname for old, _ in changes)


def test_the_function_that_differs_is_found_whatever_it_is_in() -> None:
    assert changed("+ self.step", "- self.step") == ("Counter.next",)
    assert changed("range(2)", "range(3)") == ("count",)
    assert changed("self.count = count", "pass") == ("Counter.__init__",)
    assert changed("return min(self.count + self.step, LIMIT)", "pass") == (
        "Counter.next",
    )
    assert changed("LIMIT = 3", "LIMIT = 3") == ()


def test_what_differs_outside_of_functions_is_more() -> None:
    assert changed("LIMIT = 3", "LIMIT = 4") is None
    assert changed("step = 1", "step = 2") is None
    assert changed("count=0", "count=1") is None
    assert changed("    @property\n", "\n") is None


def test_what_changes_is_changed_for_all_who_have_it() -> None:
    module = imported()
    counter = module.Counter(1)
    assert counter.next == 2
    new = code_of(SOURCE.replace("self.count +", "self.count -"), PATH)
    changes = changed_functions(code_of(SOURCE, PATH), new)
    assert changes is not None
    functions = Functions(PATH)
    assert functions.have(changes)
    functions.change(changes)
    assert (counter.next, module.count(counter)) == (0, [0, 0])


def test_a_function_that_is_not_there_or_closes_over_less_cannot_be_changed() -> None:
    path = "/nowhere/closes.py"
    source = "def outer(x):\n    def inner():\n        return x\n    return inner\n"
    namespace: dict[str, object] = {}
    old = code_of(source, path)
    new = code_of(source.replace("return x", "return 1"), path)
    changes = changed_functions(old, new)
    assert changes is not None
    assert not Functions(path).have(changes)
    exec(old, namespace)  # noqa: S102 - the text above
    assert Functions(path).have(changes)
    (outer,) = changes
    inner = [tuple(c.co_consts[1] for c in outer)]
    assert not Functions(path).have(inner)
