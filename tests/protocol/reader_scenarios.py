"""Scenarios in which a broken reader, or who serves readers, shows soon."""

from __future__ import annotations

from scenarios.scenario import Scenario
from scenarios.scenario_file import parse_scenario

MOVED = """
# A slot in use is moved, then deleted; another is there all the time.
[[slots]]
slot = 0
guest_phys_addr = 0x0
memory_size = 0x1000
userspace_addr = 0x7f0000000000
[[writers]]
name = "hotplug"
repeat = 2
calls = [
  { slot = 1, guest_phys_addr = 0x10000, memory_size = 0x1000, \
userspace_addr = 0x7f0000100000, expect = "ok" },
  { slot = 1, guest_phys_addr = 0x11000, memory_size = 0x1000, \
userspace_addr = 0x7f0000100000, expect = "ok" },
  { slot = 1, guest_phys_addr = 0x11000, memory_size = 0x0, \
userspace_addr = 0x7f0000100000, expect = "ok" },
]
[[vcpus]]
count = 2
times = 8
until_writers_return = true
accesses = [
  { kind = "write", gpa = 0x10000 },
  { kind = "write", gpa = 0x0 },
  { kind = "read", gpa = 0x11000 },
]
"""

ZAPPED_BY_SLOT = f"""
[mmu]
zap = "slot"
{MOVED}
"""

UNMAPPED = f"""
# The host takes pages away meanwhile.
{MOVED}
[[notifiers]]
name = "ksm"
repeat = 3
changes = [
  {{ action = "unmap", hva = 0x7f0000100000 }},
  {{ action = "replace", hva = 0x7f0000000000 }},
]
"""

LOGGED_AND_MOVED = """
# The flags of a slot change, so that it becomes another object, before it is moved.
[mmu]
zap = "slot"
[[slots]]
slot = 0
guest_phys_addr = 0x0
memory_size = 0x1000
userspace_addr = 0x7f0000000000
[[writers]]
name = "hotplug"
repeat = 2
calls = [
  { slot = 0, guest_phys_addr = 0x0, memory_size = 0x1000, \
userspace_addr = 0x7f0000000000, flags = ["log-dirty-pages"], expect = "ok" },
  { slot = 0, guest_phys_addr = 0x1000, memory_size = 0x1000, \
userspace_addr = 0x7f0000000000, expect = "ok" },
  { slot = 0, guest_phys_addr = 0x0, memory_size = 0x1000, \
userspace_addr = 0x7f0000000000, expect = "ok" },
]
[[vcpus]]
times = 8
until_writers_return = true
accesses = [{ kind = "read", gpa = 0x0 }, { kind = "read", gpa = 0x1000 }]
"""

UNMAPPED_BESIDE = """
# The host takes away a page of one slot while another slot comes and goes: whoever
# faults on the first may meet the flush of the second.
[[slots]]
slot = 0
guest_phys_addr = 0x0
memory_size = 0x1000
userspace_addr = 0x7f0000000000
[[writers]]
name = "hotplug"
repeat = 4
calls = [
  { slot = 1, guest_phys_addr = 0x10000, memory_size = 0x1000, \
userspace_addr = 0x7f0000100000, expect = "ok" },
  { slot = 1, guest_phys_addr = 0x10000, memory_size = 0x0, \
userspace_addr = 0x7f0000100000, expect = "ok" },
]
[[vcpus]]
count = 2
times = 8
until_writers_return = true
accesses = [{ kind = "write", gpa = 0x0 }]
[[notifiers]]
name = "ksm"
repeat = 12
changes = [{ action = "replace", hva = 0x7f0000000000 }]
"""

NESTED = """
# Page tables of a nested guest may take so little that every other fault reclaims some.
# When the guest has stopped its memory is taken away.
[mmu]
max_pages = 2
[[slots]]
slot = 0
guest_phys_addr = 0x0
memory_size = 0x4000
userspace_addr = 0x7f0000000000
[[writers]]
name = "vmm"
calls = [
  { call = "stop-vcpus" },
  { slot = 0, guest_phys_addr = 0x0, memory_size = 0x0, \
userspace_addr = 0x7f0000000000, expect = "ok" },
]
[[vcpus]]
nested = true
times = 8
until_writers_return = true
accesses = [{ kind = "write", gpa = 0x0, pages = 4 }]
"""

ZAPPED_RANGE = """
# KVM itself zaps a range; two slots make it pause in between.
[[slots]]
slot = 0
guest_phys_addr = 0x0
memory_size = 0x1000
userspace_addr = 0x7f0000000000
[[slots]]
slot = 1
guest_phys_addr = 0x1000
memory_size = 0x1000
userspace_addr = 0x7f0000100000
[[writers]]
name = "mtrr"
repeat = 4
calls = [{ call = "zap-gfn-range", start = 0x0, end = 0x2000, expect = "ok" }]
[[vcpus]]
count = 2
times = 8
until_writers_return = true
accesses = [{ kind = "read", gpa = 0x0, pages = 2 }]
"""

HOLE = """
# A slot comes into a hole that the guest takes for a device, and goes.
[[writers]]
name = "hotplug"
repeat = 3
calls = [
  { slot = 1, guest_phys_addr = 0x10000, memory_size = 0x1000, \
userspace_addr = 0x7f0000100000, expect = "ok" },
  { slot = 1, guest_phys_addr = 0x10000, memory_size = 0x0, \
userspace_addr = 0x7f0000100000, expect = "ok" },
]
[[vcpus]]
count = 2
times = 8
until_writers_return = true
accesses = [{ kind = "read", gpa = 0x10000 }]
"""

HOLES_OF_TWO_SPACES = """
# The same in both address spaces, each with a hole of its own.
address_spaces = 2
[[writers]]
name = "hotplug"
repeat = 3
calls = [
  { slot = 0x10001, guest_phys_addr = 0x10000, memory_size = 0x1000, \
userspace_addr = 0x7f0000100000, expect = "ok" },
  { slot = 0x10001, guest_phys_addr = 0x10000, memory_size = 0x0, \
userspace_addr = 0x7f0000100000, expect = "ok" },
]
[[vcpus]]
address_space = 1
times = 8
until_writers_return = true
accesses = [{ kind = "read", gpa = 0x10000 }]
"""

WRAPPED = """
# A page table entry keeps so few bits of the generation that every fourth number looks
# the same. What is in the hole then is not what was there before, and the guest has not
# been there meanwhile.
{spaces}
[mmu]
zap = "slot"
mmio_gen_bits = {bits}
[[slots]]
slot = {other_slot}
guest_phys_addr = 0x0
memory_size = 0x1000
userspace_addr = 0x7f0000000000
[[writers]]
name = "hotplug"
repeat = 8
calls = [
  {{ slot = {slot}, guest_phys_addr = 0x10000, memory_size = 0x1000, \
userspace_addr = 0x7f0000100000, expect = "ok" }},
  {{ slot = {slot}, guest_phys_addr = 0x10000, memory_size = 0x0, \
userspace_addr = 0x7f0000100000, expect = "ok" }},
]
[[vcpus]]
times = 8
{space}
until_writers_return = true
accesses = [{{ kind = "read", gpa = 0x10000 }}{then_elsewhere}]
"""

_ELSEWHERE = ', { kind = "read", gpa = 0x0 }'

RENOTIFIED = """
# Invalidations of a page whose slot comes and goes.
[[writers]]
name = "hotplug"
repeat = 2
calls = [
  { slot = 1, guest_phys_addr = 0x10000, memory_size = 0x1000, \
userspace_addr = 0x7f0000100000, expect = "ok" },
  { slot = 1, guest_phys_addr = 0x10000, memory_size = 0x0, \
userspace_addr = 0x7f0000100000, expect = "ok" },
]
[[notifiers]]
name = "ksm"
repeat = 6
changes = [{ action = "unmap", hva = 0x7f0000100000 }]
"""

_LOGGED = """
[mmu]
dirty_mode = "{mode}"
[[slots]]
slot = 0
guest_phys_addr = 0x0
memory_size = 0x2000
userspace_addr = 0x7f0000000000
flags = ["log-dirty-pages"]
[[writers]]
name = "migration"
repeat = 4
calls = [{calls}]
[[vcpus]]
count = 2
times = 12
until_writers_return = true
accesses = [
  {{ kind = "write", gpa = 0x0, pages = 2 }},
  {{ kind = "emulated-write", gpa = 0x1000 }},
]
"""

_GET = '{ call = "get-dirty-log", slot = 0, expect = "ok" }'
_CLEAR = '{ call = "clear-dirty-log", slot = 0, expect = "ok" }'
_RESET = '{ call = "reset-dirty-rings" }'

SWITCHED_ON = """
# Logging is switched on while the guest writes.
[[slots]]
slot = 0
guest_phys_addr = 0x0
memory_size = 0x2000
userspace_addr = 0x7f0000000000
[[writers]]
name = "migration"
repeat = 2
calls = [
  { slot = 0, guest_phys_addr = 0x0, memory_size = 0x2000, \
userspace_addr = 0x7f0000000000, flags = ["log-dirty-pages"], expect = "ok" },
  { call = "get-dirty-log", slot = 0, expect = "ok" },
  { slot = 0, guest_phys_addr = 0x0, memory_size = 0x2000, \
userspace_addr = 0x7f0000000000, expect = "ok" },
]
[[vcpus]]
count = 2
times = 8
until_writers_return = true
accesses = [{ kind = "write", gpa = 0x0, pages = 2 }]
"""

TEXTS = {
    "moved": MOVED,
    "zapped-by-slot": ZAPPED_BY_SLOT,
    "unmapped": UNMAPPED,
    "logged-and-moved": LOGGED_AND_MOVED,
    "unmapped-beside": UNMAPPED_BESIDE,
    "nested": NESTED,
    "zapped-range": ZAPPED_RANGE,
    "hole": HOLE,
    "holes-of-two-spaces": HOLES_OF_TWO_SPACES,
    "wrapped": WRAPPED.format(
        spaces="",
        bits=2,
        other_slot=0,
        slot=1,
        space="",
        then_elsewhere=_ELSEWHERE * 50,
    ),
    "wrapped-in-space-1": WRAPPED.format(
        spaces="address_spaces = 2",
        bits=3,
        other_slot=0x10000,
        slot=0x10001,
        space="address_space = 1",
        then_elsewhere=_ELSEWHERE * 50,
    ),
    "renotified": RENOTIFIED,
    "switched-on": SWITCHED_ON,
    "got": _LOGGED.format(mode="bitmap", calls=_GET),
    "got-and-cleared": _LOGGED.format(mode="manual-protect", calls=f"{_GET}, {_CLEAR}"),
    "set-and-cleared": _LOGGED.format(mode="initially-set", calls=f"{_GET}, {_CLEAR}"),
    "reset": _LOGGED.format(mode="ring", calls=_RESET),
}
"""What they are, by name."""


def reader_scenarios() -> dict[str, Scenario]:
    """All of them, by name."""
    return {
        name: parse_scenario(f'schema = 1\nname = "{name}"\n{text}', name)
        for name, text in TEXTS.items()
    }
