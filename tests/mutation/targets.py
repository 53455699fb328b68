"""Which modules are mutated, and which tests judge them."""

from __future__ import annotations

import attrs

from tests.architecture.pages import ROOT


@attrs.frozen
class Target:
    """A module, and the tests that must notice whatever changes in it.

    Attributes:
        module: Its path.
        judges: Files and folders of tests, those that notice most first.
    """

    module: str
    judges: tuple[str, ...]


_INDEXES = "tests/memslots/indexes"
_CHECKERS = "tests/scenarios/checkers"
_SRCU = tuple(
    f"tests/rcu/{name}.py"
    for name in (
        "srcu/test_counters",
        "srcu/test_sections",
        "srcu/test_callbacks",
        "srcu/test_polling",
        "srcu/test_cleanup",
        "srcu/test_grace_period",
        "schedule/test_circles",
        "test_locks",
    )
)
_UPDATE = tuple(
    f"tests/memslots/test_update{name}.py"
    for name in ("", "_effects", "_failures", "_races", "_readers", "_model")
)

_OTHERS = {
    f"{_INDEXES}/test_rbtree.py": ("rb_balance", "rb_rules"),
    f"{_CHECKERS}/test_copied_sets.py": (
        "arch_data_kept",
        "consistent_set",
        "history",
        "no_use_after_free",
        "retired_set_quiet",
        "sets_converge",
    ),
}
"""Tests of another name that judge modules, too."""

_ALL_CHECKERS = (f"{_CHECKERS}/test_checker.py", f"{_CHECKERS}/test_causes.py")


def _modules(folder: str) -> list[str]:
    """The paths of the modules of a package that hold code."""
    paths = sorted((ROOT / folder).glob("*.py"))
    return [f"{folder}/{p.name}" for p in paths if p.name != "__init__.py"]


def _judged_by_its_own(module: str, tests: str) -> Target:
    """Judged by the tests of its own name, and of others that are about it."""
    name = module.rpartition("/")[2].removesuffix(".py")
    own = f"{tests}/test_{name}.py"
    others = [test for test, names in _OTHERS.items() if name in names]
    mine = [own] if (ROOT / own).exists() else []
    return Target(module, (*mine, *(each for each in others if each.startswith(tests))))


def _and_by(target: Target, *judges: str) -> Target:
    return Target(target.module, (*dict.fromkeys([*target.judges, *judges]),))


TARGETS = (
    *(Target(module, _SRCU) for module in _modules("rcu/srcu")),
    Target("rcu/locks.py", ("tests/rcu/test_locks.py",)),
    Target("memslots/update.py", _UPDATE),
    *(
        _and_by(_judged_by_its_own(module, _INDEXES), module)  # its doctests
        for module in _modules("memslots/indexes")
    ),
    *(
        _and_by(_judged_by_its_own(module, _CHECKERS), *_ALL_CHECKERS)
        for module in _modules("scenarios/checkers")
    ),
)
"""Where a mistake would be believed: the protocol, the structures, the judges."""


def chosen(names: list[str]) -> list[Target]:
    """The targets that are one of ``names``, or lie in a folder of that name.

    Args:
        names: Paths; none for all targets.

    Raises:
        ValueError: Nothing is mutated there.
    """
    wanted = [name.rstrip("/") for name in names]
    for name in wanted:
        if not any(_is_in(target, name) for target in TARGETS):
            folders = sorted({target.module.rpartition("/")[0] for target in TARGETS})
            where = ", ".join(folders)
            raise ValueError(f"nothing is mutated in {name!r}; modules are in {where}")
    return [
        target
        for target in TARGETS
        if not wanted or any(_is_in(target, name) for name in wanted)
    ]


def _is_in(target: Target, name: str) -> bool:
    return target.module == name or target.module.startswith(f"{name}/")
