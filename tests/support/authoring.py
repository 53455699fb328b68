"""Scenario files: how a table is written as TOML, and tables that chance makes up."""

from __future__ import annotations

import random
from typing import Any

Table = dict[str, Any]


def toml(value: Any) -> str:
    """One value as TOML; nested tables are written in line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        pairs = (f"{toml(key)} = {toml(each)}" for key, each in value.items())
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(letter):08x}" for letter in value) + '"'
    return str(value)


def document(table: Table) -> str:
    """A whole file."""
    return "".join(f"{toml(key)} = {toml(value)}\n" for key, value in table.items())


PAGE = 0x1000
HOST = 0x7F00_0000_0000
ALLOCATIONS = (
    "slot",
    "invalid-slot",
    "dirty-bitmap",
    "rmap",
    "lpage-info",
    "gfn-track",
)
GUEST_KINDS = (
    "read",
    "read",
    "write",
    "write",
    "emulated-read",
    "emulated-write",
    "prefault",
    "migrate",
)
READ_KINDS = ("read", "hva-cache-read", "pfn-cache-read")
WRITE_KINDS = ("write", "clear", "hva-cache-write", "pfn-cache-write")


class Author:
    """Makes up a scenario; each can be run, and none breaks a rule of KVM.

    Args:
        seed: Where chance starts.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - nothing is kept secret
        self._choose = self._random.choice
        self._slots: list[Table] = []

    def write(self) -> Table:
        """The scenario as a table."""
        modes = ("bitmap", "bitmap", "manual-protect", "initially-set", "ring")
        self._spaces = self._choose((1, 1, 2))
        self._mode = self._choose(modes)
        self._slots = self._several(0, 3, self._slot)
        table: Table = {
            "schema": 1,
            "name": "made up",
            "budget": 40_000,
            "address_spaces": self._spaces,
            "cpus": self._choose((1, 2)),
            "granularity": self._choose(("operation", "node")),
            "internal_slots": self._perhaps(0.2),
            "mmu": {
                "zap": self._choose(("all", "slot")),
                "mmio_gen_bits": self._choose((3, 4, 19)),
                "dirty_mode": self._mode,
                "max_pages": self._choose((2, 3, 64)),
            },
            "slots": self._slots,
            "writers": self._several(0, 2, self._writer),
            "vcpus": self._several(0, 3, self._vcpu),
            "readers": self._several(0, 2, self._reader),
            "notifiers": self._several(0, 2, self._notifier),
            "allocators": [{"name": "a"}] if self._perhaps(0.3) else [],
        }
        self._end(table["writers"])
        return {key: value for key, value in table.items() if value != []}

    # Chance.

    def _perhaps(self, chance: float) -> bool:
        return self._random.random() < chance

    def _several(self, least: int, most: int, make: Any) -> list[Table]:
        return [make(n) for n in range(self._random.randint(least, most))]

    def _gpa(self) -> int:
        return self._random.randrange(10) * PAGE

    def _hva(self) -> int:
        return HOST + self._random.randrange(8) * PAGE

    def _id(self) -> int:
        return self._random.randrange(4) + self._space()

    def _space(self) -> int:
        return 0x10000 if self._spaces == 2 and self._perhaps(0.4) else 0

    # What there is.

    def _slot(self, number: int) -> Table:
        return {
            "slot": number + self._space(),
            "guest_phys_addr": 4 * number * PAGE,
            "memory_size": self._random.randint(1, 4) * PAGE,
            "userspace_addr": self._hva(),
            "flags": self._choose(([], ["log-dirty-pages"], ["readonly"])),
        }

    def _writer(self, number: int) -> Table:
        calls = self._several(1, 4, self._call)
        return {"name": f"w{number}", "repeat": self._choose((1, 2)), "calls": calls}

    def _call(self, number: int) -> Table:
        if self._perhaps(0.6):
            return self._region_call()
        start = self._gpa()
        return self._choose(
            (
                {"call": "get-dirty-log", "slot": self._id()},
                {"call": "clear-dirty-log", "slot": self._id()},
                {"call": "clear-dirty-log", "slot": 5 << 16, "num_pages": number},
                {"call": "reset-dirty-rings"},
                {"call": "zap-gfn-range", "start": start, "end": self._gpa()},
                {"call": "register-device", "expedited": self._perhaps(0.5)},
                {"call": "write-memory", "hva": self._hva(), "value": 3, "pages": 2},
            )
        )

    def _region_call(self) -> Table:
        known = bool(self._slots) and self._perhaps(0.6)
        call = dict(self._choose(self._slots)) if known else self._slot(self._id())
        change = self._choose(("delete", "move", "log"))
        if change == "delete":
            call["memory_size"] = 0
        elif change == "move":
            call["guest_phys_addr"] = self._gpa()
        else:
            call["flags"] = self._choose(([], ["log-dirty-pages"]))
        if self._perhaps(0.15):
            call["fail"] = self._choose(ALLOCATIONS)
        return call

    def _vcpu(self, number: int) -> Table:
        persistent = self._perhaps(0.5)
        # Who is not told to leave in the end may sleep for ever.
        kinds = (*GUEST_KINDS, "halt") if persistent else GUEST_KINDS
        return {
            "count": self._choose((1, 2)),
            "times": self._random.randint(1, 8),
            "until_writers_return": persistent,
            "address_space": self._random.randrange(self._spaces),
            "nested": self._perhaps(0.35),
            "accesses": [
                {
                    "kind": self._choose(kinds),
                    "gpa": self._gpa() + self._choose((0, 0xFFC)),
                    "length": self._choose((8, 5_000)),
                    "pages": self._choose((1, 3)),
                }
                for _ in range(self._random.randint(1, 4))
            ],
        }

    def _reader(self, number: int) -> Table:
        kinds = READ_KINDS if self._mode == "ring" else READ_KINDS + WRITE_KINDS
        return {
            "name": f"r{number}",
            "accesses": [
                {
                    "kind": self._choose(kinds),
                    "gpa": self._gpa() + self._choose((0, 0xFFC)),
                    "length": self._choose((8, 5_000)),
                }
                for _ in range(self._random.randint(1, 3))
            ],
        }

    def _notifier(self, number: int) -> Table:
        changes = self._several(1, 3, self._change)
        if self._perhaps(0.3):
            begin = {"action": "begin", "hva": self._hva(), "size": 2 * PAGE}
            changes = [begin, *changes, {**begin, "action": "end"}]
        return {"name": f"n{number}", "changes": changes}

    def _change(self, number: int) -> Table:
        size = self._choose((1, 2, 4)) * PAGE
        return self._choose(
            (
                {"action": "unmap", "hva": self._hva(), "size": size},
                {"action": "unmap", "hva": self._hva(), "size": size, "step": PAGE},
                {"action": "replace", "hva": self._hva()},
                {"action": "age", "hva": self._hva(), "size": size},
            )
        )

    def _end(self, writers: list[Table]) -> None:
        """Perhaps pause the vCPUs meanwhile, or destroy the VM in the end."""
        if not writers:
            return
        if self._perhaps(0.25):
            writers[-1]["repeat"] = 1
            writers[-1]["calls"] += [{"call": "stop-vcpus"}, {"call": "destroy-vm"}]
        elif self._perhaps(0.2):
            calls = writers[0]["calls"]
            calls[:] = [{"call": "pause-vcpus"}, *calls, {"call": "resume-vcpus"}]
