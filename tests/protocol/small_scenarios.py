"""Scenarios that a broken protocol shows more readily than in the catalogue's."""

from __future__ import annotations

from scenarios.scenario import Scenario
from scenarios.scenario_file import parse_scenario

_SLOT = """
[[slots]]
slot = 0
guest_phys_addr = 0x0
memory_size = 0x1000
userspace_addr = 0x7f0000000000
"""

_CALLS = """
calls = [
  { slot = 1, guest_phys_addr = 0x10000, memory_size = 0x1000, \
userspace_addr = 0x7f0000100000, expect = "ok" },
  { slot = 1, guest_phys_addr = 0x10000, memory_size = 0x0, \
userspace_addr = 0x7f0000100000, expect = "ok" },
]
"""

FIRST_SHADOW_ROOT = f"""
# An allocator, and a writer; nobody else, so that a deadlock of the two is one.
schema = 1
name = "first-shadow-root"
{_SLOT}
[[allocators]]
name = "nested"
[[writers]]
name = "hotplug"
{_CALLS}
"""

LATE_READER = f"""
# Grace periods one after the other, on the only processor, and a reader that may stall
# between reading the index and counting itself.
schema = 1
name = "late-reader"
cpus = 1
{_SLOT}
[[readers]]
name = "reader"
accesses = [{{ gpa = 0x0 }}]
repeat = 40
[[writers]]
name = "hotplug"
repeat = 8
{_CALLS}
"""

LONG_AND_SHORT_READER = f"""
# Many processors make the sums slow: the short reader comes and goes between them, in a
# section that finds no slot and is over at once; the long one stays.
schema = 1
name = "long-and-short-reader"
cpus = 8
{_SLOT}
[[readers]]
name = "short"
accesses = [{{ gpa = 0x500000 }}]
repeat = 240
[[readers]]
name = "long"
accesses = [{{ gpa = 0x0 }}]
repeat = 40
[[writers]]
name = "hotplug"
repeat = 6
{_CALLS}
"""

NAMES = ("first-shadow-root", "late-reader", "long-and-short-reader")


def small_scenarios() -> dict[str, Scenario]:
    """All of them, by name."""
    texts = (FIRST_SHADOW_ROOT, LATE_READER, LONG_AND_SHORT_READER)
    return {
        name: parse_scenario(text, name)
        for name, text in zip(NAMES, texts, strict=True)
    }
