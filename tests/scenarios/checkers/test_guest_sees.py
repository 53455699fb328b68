"""The guest sees nothing that its scenario rules out."""

from __future__ import annotations

from rcu.trace import Event
from rcu.tracepoints import RuleWasBroken
from scenarios.checkers.guest_sees import GuestSees
from scenarios.tracepoints import GuestExpected
from tests.scenarios.checkers.story import outcome, story
from vcpus.tracepoints import GuestAccessed, PageFaulted

ZERO_OR_ONE = ("setup", GuestExpected(0, (0, 1), mmio=True))
MEMORY_ONLY = ("setup", GuestExpected(0, (), mmio=False))


def read(value: int, vcpu: int = 0) -> tuple[str, Event]:
    return f"vcpu{vcpu}", accessed(vcpu, value, write=False)


def wrote(value: int) -> tuple[str, Event]:
    return "vcpu0", accessed(0, value, write=True)


def accessed(vcpu: int, value: int, *, write: bool) -> Event:
    hva = 0x7F00_0000_0000
    return GuestAccessed(vcpu, 0, 0x1000, write=write, slot=7, hva=hva, value=value)


def faulted(outcome: str, vcpu: int = 0) -> tuple[str, Event]:
    return f"vcpu{vcpu}", PageFaulted(vcpu, 0, 0x1000, write=False, outcome=outcome)


def test_a_guest_may_read_what_the_scenario_says() -> None:
    lines = story(ZERO_OR_ONE, read(0), read(1), faulted("mmio"))
    assert outcome(GuestSees, lines) == (2, [])


def test_another_value_is_refused() -> None:
    seen = "vcpu0 read 2 at 0x1000 through slot #7, where only 0, 1 may be"
    lines = story(ZERO_OR_ONE, read(2))
    assert outcome(GuestSees, lines) == (1, [(2, "vcpu0", seen)])


def test_a_guest_may_write_what_it_must_not_read() -> None:
    assert outcome(GuestSees, story(ZERO_OR_ONE, wrote(2))) == (0, [])


def test_a_device_is_refused_where_there_must_be_memory() -> None:
    seen = "an access of vcpu0 to 0x1000 went to a device, where it must find memory"
    lines = story(MEMORY_ONLY, faulted("retry"), faulted("fixed"), faulted("mmio"))
    assert outcome(GuestSees, lines) == (3, [(4, "vcpu0", seen)])


def test_of_a_vcpu_about_which_nothing_is_said_nothing_is_asked() -> None:
    lines = story(ZERO_OR_ONE, MEMORY_ONLY, read(2, vcpu=1), faulted("mmio", vcpu=1))
    assert outcome(GuestSees, lines) == (0, [])
    assert outcome(GuestSees, story(read(2), faulted("mmio"))) == (0, [])


def test_a_finding_of_the_model_is_taken_over() -> None:
    lines = story(("vcpu0", RuleWasBroken("guest-sees", "Busy", "x")))
    assert outcome(GuestSees, lines) == (1, [(1, "vcpu0", "Busy: x")])
