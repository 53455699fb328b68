"""A scenario file says what it means, or its error names the place in the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memslots.region import Region
from memslots.slot import LOG_DIRTY_PAGES, READONLY
from memslots.units import Gpa, Hva
from scenarios.catalogue.entries import entries
from scenarios.checkers.judge import CHECKERS
from scenarios.errors import InputError
from scenarios.scenario import (
    AccessSpec,
    AllocatorSpec,
    CallSpec,
    Flag,
    ReaderSpec,
    Scenario,
    SlotSpec,
    VcpuSpec,
    WriterSpec,
)
from scenarios.scenario_file import MAX_BYTES, parse_scenario, read_scenario
from vcpus.lookup import Granularity
from vcpus.vcpu import Exit

Table = dict[str, Any]

CALL: Table = {
    "slot": 2,
    "guest_phys_addr": 0x9000,
    "memory_size": 0x1000,
    "userspace_addr": 0x7F00_0020_0000,
    "flags": ["log-dirty-pages"],
    "expect": "ok",
}
WHOLE: Table = {
    "schema": 1,
    "name": "whole",
    "description": "Everything that a file may say.",
    "family": "test",
    "address_spaces": 2,
    "cpus": 4,
    "granularity": "node",
    "budget": 5_000,
    "must_exercise": ["lock-order", "deadlock"],
    "slots": [
        {
            "slot": 0,
            "guest_phys_addr": 0x0,
            "memory_size": 0x4000,
            "userspace_addr": 0x7F00_0000_0000,
        },
        {
            "slot": 0x10001,
            "guest_phys_addr": 0x1000,
            "memory_size": 0x1000,
            "userspace_addr": 0x7F00_0010_0000,
            "flags": ["readonly", "log-dirty-pages"],
        },
    ],
    "writers": [{"name": "w", "repeat": 3, "calls": [CALL]}],
    "vcpus": [
        {
            "count": 2,
            "exits": 5,
            "until_writers_return": True,
            "address_space": 1,
            "accesses": [{"exit": "emulated-write", "gpa": 0x1000}],
        }
    ],
    "readers": [{"name": "r", "gpas": [0, 0x1000], "repeat": 2}],
    "allocators": [{"name": "a"}],
}


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


def with_value(path: tuple[str | int, ...], value: Any, table: Any = WHOLE) -> Any:
    """The table with another value at ``path``."""
    if not path:
        return value
    step, *rest = path
    copy: Any = list(table) if isinstance(table, list) else dict(table)
    copy[step] = with_value(tuple(rest), value, copy[step] if rest else None)
    return copy


def without(path: tuple[str | int, ...]) -> Table:
    """The table without the key at ``path``."""
    *outer, key = path
    inner: Any = WHOLE
    for step in outer:
        inner = inner[step]
    rest = {name: value for name, value in inner.items() if name != key}
    made: Table = with_value(tuple(outer), rest)
    return made


def error_of(table: Table) -> str:
    """What the parser says of it, without the file's name."""
    with pytest.raises(InputError) as raised:
        parse_scenario(document(table), "file.toml")
    place, _, text = str(raised.value).partition("file.toml: ")
    assert place == ""
    return text


def test_a_whole_file_means_what_it_says() -> None:
    call = CallSpec(
        slot=2,
        guest_phys_addr=0x9000,
        memory_size=0x1000,
        userspace_addr=0x7F00_0020_0000,
        flags=(Flag.LOG_DIRTY_PAGES,),
        expect="ok",
    )
    assert parse_scenario(document(WHOLE), "file.toml") == Scenario(
        schema=1,
        name="whole",
        description="Everything that a file may say.",
        family="test",
        address_spaces=2,
        cpus=4,
        granularity=Granularity.NODE,
        budget=5_000,
        must_exercise=("lock-order", "deadlock"),
        slots=(
            SlotSpec(
                slot=0,
                guest_phys_addr=0,
                memory_size=0x4000,
                userspace_addr=0x7F00_0000_0000,
            ),
            SlotSpec(
                slot=0x10001,
                guest_phys_addr=0x1000,
                memory_size=0x1000,
                userspace_addr=0x7F00_0010_0000,
                flags=(Flag.READONLY, Flag.LOG_DIRTY_PAGES),
            ),
        ),
        writers=(WriterSpec(name="w", repeat=3, calls=(call,)),),
        vcpus=(
            VcpuSpec(
                count=2,
                exits=5,
                until_writers_return=True,
                address_space=1,
                accesses=(AccessSpec(exit=Exit.EMULATED_WRITE, gpa=0x1000),),
            ),
        ),
        readers=(ReaderSpec(name="r", gpas=(0, 0x1000), repeat=2),),
        allocators=(AllocatorSpec(name="a"),),
    )


def test_a_slot_becomes_the_request_that_makes_it() -> None:
    slot = parse_scenario(document(WHOLE), "file.toml").slots[1]
    assert slot.region == Region(
        slot=0x10001,
        flags=READONLY | LOG_DIRTY_PAGES,
        guest_phys_addr=Gpa(0x1000),
        memory_size=0x1000,
        userspace_addr=Hva(0x7F00_0010_0000),
    )


def test_a_flag_that_is_named_twice_is_one_flag() -> None:
    twice = with_value(("slots", 0, "flags"), ["readonly", "readonly"])
    slots = parse_scenario(document(twice), "file.toml").slots
    assert slots[0].region.flags == READONLY


def test_only_schema_and_name_are_needed() -> None:
    table = {"schema": 1, "name": "x"}
    scenario = parse_scenario(document(table), "file.toml")
    assert scenario == Scenario(schema=1, name="x")


@pytest.mark.parametrize("count", range(6))
def test_vcpus_are_shared_out_in_turn(count: int) -> None:
    one = VcpuSpec(accesses=(AccessSpec(exit=Exit.READ, gpa=0),))
    scenario = Scenario(schema=1, name="x", vcpus=(one, one))
    shared = scenario.with_vcpus(count)
    assert shared.vcpu_count == count
    assert [spec.count for spec in shared.vcpus] == [(count + 1) // 2, count // 2]
    none = attrs.evolve(scenario, vcpus=())
    assert none.with_vcpus(count) is none


U64 = 1 << 64
SLOT_0 = ("slots", 0)
CALL_0 = ("writers", 0, "calls", 0)
NAME_TAKEN = "is the name of a task that every scenario may have; choose another"


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        # Another version, and what the fields of the file itself cannot be.
        (("schema",), 2, "schema: must be 1, got 2"),
        (("schema",), "1", "schema: must be 1, got '1'"),
        (("schema",), True, "schema: must be 1, got True"),
        (("schema",), 1.0, "schema: must be 1, got 1.0"),
        (("name",), 5, "name: must be a string, got 5"),
        (("name",), "", "Length of 'name' must be >= 1: 0"),
        (("description",), ["x"], "description: must be a string, got ['x']"),
        (("address_spaces",), 3, "'address_spaces' must be in (1, 2) (got 3)"),
        (("cpus",), 0, "'cpus' must be >= 1: 0"),
        (("cpus",), 65, "'cpus' must be <= 64: 65"),
        (("cpus",), "2", "cpus: must be a whole number, got '2'"),
        (("cpus",), 2.5, "cpus: must be a whole number, got 2.5"),
        (("cpus",), True, "cpus: must be a whole number, got True"),
        (
            ("granularity",),
            "nodes",
            "granularity: 'nodes' is not a valid Granularity; known are operation, no",
        ),
        (("budget",), 0, "'budget' must be >= 1: 0"),
        (("must_exercise",), "lock-order", "must_exercise: must be an array, got"),
        (("must_exercise", 1), 5, "must_exercise[1]: must be a string, got 5"),
        (("must_exercise", 1), "lock", "must_exercise[1]: 'lock' is no checker; there"),
        # Slots.
        (("slots",), 5, "slots: must be an array, got 5"),
        (("slots",), {"slot": 1}, "slots: must be an array, got {'slot': 1}"),
        (SLOT_0, 5, "slots[0]: must be a table, got 5"),
        (SLOT_0, "slot", "slots[0]: must be a table, got 'slot'"),
        (SLOT_0, [], "slots[0]: must be a table, got []"),
        (
            (*SLOT_0, "colour"),
            1,
            (
                "slots[0]: unknown key 'colour'; known are flags, guest_phys_addr,"
                " memory_size, slot, userspace_addr"
            ),
        ),
        ((*SLOT_0, "slot"), -1, "slots[0]: 'slot' must be >= 0: -1"),
        ((*SLOT_0, "slot"), 1 << 32, "slots[0]: 'slot' must be <= 4294967295: "),
        ((*SLOT_0, "slot"), 0x20000, "slots[0]: address space must be below 2, got 2"),
        ((*SLOT_0, "slot"), 32764, "slots[0]: slot id must be below 32764, got 32764"),
        ((*SLOT_0, "slot"), 0x10001, "slots[1].slot: 65537 is slots[0], too"),
        (
            (*SLOT_0, "memory_size"),
            -4096,
            "slots[0]: 'memory_size' must be >= 0: -4096",
        ),
        ((*SLOT_0, "memory_size"), 0, "slots[0].memory_size: must be more than 0"),
        ((*SLOT_0, "memory_size"), 100, "slots[0]: memory_size must be whole pages"),
        ((*SLOT_0, "memory_size"), U64, "slots[0]: 'memory_size' must be <= "),
        ((*SLOT_0, "guest_phys_addr"), 1, "slots[0]: guest_phys_addr must be page "),
        (
            (*SLOT_0, "guest_phys_addr"),
            U64 - 4096,
            "slots[0]: the range ends at 0x10000000000003000, behind the last",
        ),
        ((*SLOT_0, "userspace_addr"), 1, "slots[0]: userspace_addr must be page align"),
        ((*SLOT_0, "userspace_addr"), 1 << 60, "slots[0]: userspace_addr must be page"),
        ((*SLOT_0, "flags"), "readonly", "slots[0].flags: must be an array, got"),
        (
            (*SLOT_0, "flags"),
            ["read-only"],
            (
                "slots[0].flags[0]: 'read-only' is not a valid Flag; known are"
                " log-dirty-pages, readonly"
            ),
        ),
        # Writers and their calls; a call may be one that KVM refuses.
        (("writers", 0, "name"), "", "writers[0]: Length of 'name' must be >= 1: 0"),
        (("writers", 0, "calls"), [], "writers[0]: Length of 'calls' must be >= 1: 0"),
        (("writers", 0, "repeat"), 0, "writers[0]: 'repeat' must be >= 1: 0"),
        ((*CALL_0, "gpa"), 1, "writers[0].calls[0]: unknown key 'gpa'; known are expe"),
        (
            (*CALL_0, "expect"),
            "EFOO",
            (
                "writers[0].calls[0]: 'expect' must be ok or the name of an errno, got"
                " 'EFOO'"
            ),
        ),
        ((*CALL_0, "expect"), -17, "writers[0].calls[0].expect: must be a string, got"),
        ((*CALL_0, "slot"), "2", "writers[0].calls[0].slot: must be a whole number, "),
        # vCPUs, readers, allocators.
        (("vcpus", 0, "count"), -1, "vcpus[0]: 'count' must be >= 0: -1"),
        (("vcpus", 0, "exits"), 0, "vcpus[0]: 'exits' must be >= 1: 0"),
        (("vcpus", 0, "accesses"), [], "vcpus[0]: Length of 'accesses' must be >= 1"),
        (
            ("vcpus", 0, "until_writers_return"),
            "false",
            "vcpus[0].until_writers_return: must be true or false, got 'false'",
        ),
        (
            ("vcpus", 0, "until_writers_return"),
            1,
            "vcpus[0].until_writers_return: must be true or false, got 1",
        ),
        (
            ("vcpus", 0, "address_space"),
            2,
            "vcpus[0]: 'address_space' must be in (0, 1) (got 2)",
        ),
        (
            ("vcpus", 0, "accesses", 0, "exit"),
            "peek",
            (
                "vcpus[0].accesses[0].exit: 'peek' is not a valid Exit; known are read,"
                " write, emulated-read, emulated-write, migrate"
            ),
        ),
        (
            ("vcpus", 0, "accesses", 0, "gpa"),
            -1,
            "vcpus[0].accesses[0]: 'gpa' must be >= 0: -1",
        ),
        (("readers", 0, "gpas"), [], "readers[0]: Length of 'gpas' must be >= 1: 0"),
        (("readers", 0, "gpas"), "12", "readers[0].gpas: must be an array, got '12'"),
        (("readers", 0, "gpas", 1), "1", "readers[0].gpas[1]: must be a whole number"),
        (("allocators", 0), "a", "allocators[0]: must be a table, got 'a'"),
        # Names.
        (("writers", 0, "name"), "main", f"writers[0].name: 'main' {NAME_TAKEN}"),
        (("writers", 0, "name"), "setup", f"writers[0].name: 'setup' {NAME_TAKEN}"),
        (("readers", 0, "name"), "vcpu7", f"readers[0].name: 'vcpu7' {NAME_TAKEN}"),
        (("allocators", 0, "name"), "x-gp", f"allocators[0].name: 'x-gp' {NAME_TAKEN}"),
        (
            ("allocators", 0, "name"),
            "w",
            "allocators[0].name: 'w' is the name of writers[0].name, too",
        ),
        # Keys that nobody knows.
        (
            ("colour",),
            1,
            "unknown key 'colour'; known are address_spaces, allocators, ",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_its_path(
    path: tuple[str | int, ...], value: Any, text: str
) -> None:
    assert error_of(with_value(path, value)).startswith(text)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("schema",), "schema: key 'schema' is missing"),
        (("name",), "name: key 'name' is missing"),
        ((*SLOT_0, "slot"), "slots[0].slot: key 'slot' is missing"),
        (
            (*SLOT_0, "memory_size"),
            "slots[0].memory_size: key 'memory_size' is missing",
        ),
        (("writers", 0, "calls"), "writers[0].calls: key 'calls' is missing"),
        ((*CALL_0, "slot"), "writers[0].calls[0].slot: key 'slot' is missing"),
        (("vcpus", 0, "accesses"), "vcpus[0].accesses: key 'accesses' is missing"),
        (
            ("vcpus", 0, "accesses", 0, "exit"),
            "vcpus[0].accesses[0].exit: key 'exit' is missing",
        ),
        (("readers", 0, "gpas"), "readers[0].gpas: key 'gpas' is missing"),
        (("allocators", 0, "name"), "allocators[0].name: key 'name' is missing"),
    ],
)
def test_a_missing_key_is_named(path: tuple[str | int, ...], text: str) -> None:
    assert error_of(without(path)) == text


def test_every_problem_is_told_at_once() -> None:
    table = with_value(("cpus",), "2", with_value(("name",), 5))
    table = with_value((*SLOT_0, "slot"), "x", table)
    said = error_of(table).split("; ")
    assert [each.partition(":")[0] for each in said] == [
        "name",
        "cpus",
        "slots[0].slot",
    ]


def test_a_vcpu_needs_its_address_space() -> None:
    table = with_value(("address_spaces",), 1)
    table["slots"] = table["slots"][:1]
    text = "vcpus[0].address_space: must be below address_spaces = 1, got 1"
    assert error_of(table) == text


def test_slots_that_meet_are_both_named() -> None:
    second = {
        "slot": 1,
        "guest_phys_addr": 0x3000,
        "memory_size": 0x2000,
        "userspace_addr": 0,
    }
    table = with_value(("slots",), [*WHOLE["slots"], second])
    text = "slots[2]: guest range 0x3000..0x5000 overlaps slots[0] at 0x0..0x4000"
    assert error_of(table) == text
    beside = with_value(("slots", 2, "guest_phys_addr"), 0x4000, table)
    assert len(parse_scenario(document(beside), "file.toml").slots) == 3
    elsewhere = with_value(("slots", 2, "slot"), 0x10000, table)
    assert len(parse_scenario(document(elsewhere), "file.toml").slots) == 3


def test_two_names_that_are_the_same_are_refused() -> None:
    table = with_value(("writers",), WHOLE["writers"] * 2)
    text = "writers[1].name: 'w' is the name of writers[0].name, too"
    assert error_of(table) == text


@pytest.mark.parametrize("id_", sorted(CHECKERS))
def test_every_checker_may_be_asked_for(id_: str) -> None:
    table = with_value(("must_exercise",), [id_])
    assert parse_scenario(document(table), "file.toml").must_exercise == (id_,)


@pytest.mark.parametrize(
    "text",
    [
        "schema = ",
        "schema = 1\nschema = 1\n",
        "[[slots]]\n[slots]\n",
        "x = 2021-02-30",
        f"x = {'1' * 5_000}",
        '"a = 1',
    ],
)
def test_what_is_no_toml_is_said_to_be_none(text: str) -> None:
    with pytest.raises(InputError, match=r"^file\.toml: not TOML: "):
        parse_scenario(text, "file.toml")


def test_what_is_nested_without_end_is_refused() -> None:
    with pytest.raises(InputError, match=r"^file\.toml: nested too deeply$"):
        parse_scenario(f"x = {'[' * 100_000}", "file.toml")


def test_a_file_is_read_with_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "whole.toml"
    data = document(WHOLE).encode()
    path.write_bytes(data)
    scenario, digest = read_scenario(path)
    assert scenario == parse_scenario(data.decode(), "whole.toml")
    assert digest == hashlib.sha256(data).hexdigest()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml: No such file or directory"):
        read_scenario(tmp_path / "nowhere.toml")
    with pytest.raises(InputError, match="Is a directory"):
        read_scenario(tmp_path)
    path = tmp_path / "binary.toml"
    path.write_bytes(b'name = "\xff"')
    with pytest.raises(InputError, match=r"binary\.toml: not UTF-8 at byte 8$"):
        read_scenario(path)
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(InputError, match=r"a scenario file has at most 16 MiB$"):
        read_scenario(path)


@pytest.mark.parametrize(
    "name", [name for name, path in entries().items() if path.suffix == ".toml"]
)
def test_the_catalogue_can_be_read(name: str) -> None:
    scenario, _ = read_scenario(entries()[name])
    assert scenario.name == name
    assert scenario.description.strip()


def paths(
    value: Any, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[str | int, ...]]:
    """Every place in the table."""
    yield path
    if isinstance(value, dict):
        for key, each in value.items():
            yield from paths(each, (*path, key))
    if isinstance(value, list):
        for place, each in enumerate(value):
            yield from paths(each, (*path, place))


texts = st.text(st.characters(codec="utf-8"), max_size=5)
anything = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-2, 70),
        st.sampled_from([1 << 32, 1 << 63, U64 - 1, U64, -U64, 4096, 0x7F00_0000_0000]),
        st.floats(allow_nan=False, allow_infinity=False).map(lambda x: round(x, 3)),
        texts,
        st.sampled_from(["ok", "EINVAL", "readonly", "read", "node", "main", "w", "r"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(texts, st.sampled_from(["slot", "name", "calls", "gpa", "exit"])),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)


@given(st.sampled_from([path for path in paths(WHOLE) if path]), anything)
def test_any_value_at_any_place_is_taken_or_refused(
    path: tuple[str | int, ...], value: Any
) -> None:
    text = document(with_value(path, value))
    try:
        scenario = parse_scenario(text, "file.toml")
    except InputError as error:
        assert str(error).startswith("file.toml: ")  # noqa: PT017 - or it is taken
        assert "unknown error" not in str(error)  # noqa: PT017
    else:
        assert isinstance(scenario, Scenario)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_taken(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(data)
    with pytest.raises(InputError):
        read_scenario(path)
