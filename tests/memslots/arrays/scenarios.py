"""A scenario in which arrays are copied while readers are inside them."""

from __future__ import annotations

from scenarios.scenario import Scenario
from scenarios.scenario_file import parse_scenario

_TEXT = """
schema = 1
name = "copied-arrays"
budget = 20000
must_exercise = ["consistent-set", "no-use-after-free", "sets-converge"]
[[slots]]
slot = 0
guest_phys_addr = 0x0
memory_size = 0x1000
userspace_addr = 0x7f0000000000
[[slots]]
slot = 1
guest_phys_addr = 0x10000
memory_size = 0x1000
userspace_addr = 0x7f0000100000
[[readers]]
name = "reader"
accesses = [{ gpa = 0x0 }, { gpa = 0x10000 }]
repeat = REPEAT
[[allocators]]
name = "nested"
[[writers]]
name = "vmm"
calls = [
  { slot = 1, guest_phys_addr = 0x10000, memory_size = 0x1000, \
userspace_addr = 0x7f0000100000, flags = ["log-dirty-pages"], expect = "ok" },
  { slot = 1, guest_phys_addr = 0x20000, memory_size = 0x1000, \
userspace_addr = 0x7f0000100000, expect = "ok" },
  { slot = 1, guest_phys_addr = 0x20000, memory_size = 0x0, \
userspace_addr = 0x7f0000100000, expect = "ok" },
]
"""


def copied_arrays(repeat: int = 16) -> Scenario:
    """A reader, somebody who needs the first shadow root, and three changes."""
    return parse_scenario(_TEXT.replace("REPEAT", str(repeat)), "copied-arrays")
