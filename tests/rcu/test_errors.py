"""Findings, and bugs of our own."""

from __future__ import annotations

import pytest

from rcu import errors


def test_every_finding_names_its_checker() -> None:
    rules = [
        rule
        for rule in errors.RuleBroken.__subclasses__()
        if rule.__module__ == errors.__name__
    ]
    assert {rule.__name__: rule.checker for rule in rules} == {
        "DomainBusy": "grace-period",
        "DoubleCallback": "grace-period",
        "DoubleFree": "no-use-after-free",
        "GracePeriodInReader": "deadlock",
        "LockHeld": "deadlock",
        "LockNotHeld": "lock-order",
        "NotProtected": "no-use-after-free",
        "SleepInAtomic": "lock-order",
        "UseAfterFree": "no-use-after-free",
        "WrongUnlock": "grace-period",
    }


@pytest.mark.parametrize(
    ("error", "goes_on"),
    [
        (ValueError(), True),
        (OSError(), True),
        (errors.UseAfterFree(), False),
        (errors.SimulatorBug(), False),
        (KeyboardInterrupt(), False),
        (GeneratorExit(), False),
    ],
)
def test_a_task_goes_on_after_errors_of_the_modelled_program_only(
    error: BaseException, *, goes_on: bool
) -> None:
    assert errors.goes_on(error) is goes_on
