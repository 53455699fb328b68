"""Reads a scenario file: TOML whose errors name the path in the file."""

from __future__ import annotations

import hashlib
import itertools
import re
import tomllib
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import attrs
import cattrs
from cattrs import transform_error
from cattrs.cols import list_structure_factory
from cattrs.v import format_exception

from memslots.errors import MemoryRegionError
from memslots.region import Region, check_before_lock, check_request
from scenarios.calls import CALLS, SET_MEMORY_REGION, AnyCall, SlotsSpec
from scenarios.checkers.judge import CHECKERS
from scenarios.errors import InputError
from scenarios.scenario import Scenario
from scenarios.scenario_rules import check_rules

MAX_BYTES = 16 << 20

_RESERVED = re.compile(r"main|setup|vcpu\d+|.*-gp")

_converter = cattrs.Converter(forbid_extra_keys=True)


def _exactly(kind: type, name: str) -> Callable[[Any, Any], Any]:
    """Take a value as it stands: cattrs would make True of "false" and 1 of 1.9."""

    def structure(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"must be {name}, got {value!r}")
        return value

    return structure


def _is_array(kind: Any) -> bool:
    return get_origin(kind) is tuple


def _array(kind: Any) -> Callable[[Any, Any], Any]:
    structure_list = list_structure_factory(kind, _converter)

    def structure(value: Any, _: Any) -> Any:
        if type(value) is not list:
            raise TypeError(f"must be an array, got {value!r}")
        return tuple(structure_list(value, kind))

    return structure


def _table(kind: Any) -> Callable[[Any, Any], Any]:
    structure_table = _converter.gen_structure_attrs_fromdict(kind)

    def structure(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise TypeError(f"must be a table, got {value!r}")
        return structure_table(value, kind)

    return structure


def _is_literal(kind: Any) -> bool:
    return get_origin(kind) is Literal


def _literal(kind: Any) -> Callable[[Any, Any], Any]:
    (known,) = get_args(kind)

    def structure(value: Any, _: Any) -> Any:
        if type(value) is not type(known) or value != known:
            raise ValueError(f"must be {known!r}, got {value!r}")
        return value

    return structure


def _is_call(kind: Any) -> bool:
    return bool(kind == AnyCall)


def _call(_: Any) -> Callable[[Any, Any], Any]:
    kinds = {get_args(attrs.fields(each).call.type)[0]: each for each in CALLS}

    def structure(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise TypeError(f"must be a table, got {value!r}")
        name = value.get("call", SET_MEMORY_REGION)
        if not isinstance(name, str) or name not in kinds:
            raise ValueError(f"'call' must be one of {', '.join(kinds)}, got {name!r}")
        return _converter.structure(value, kinds[name])

    return structure


_converter.register_structure_hook(int, _exactly(int, "a whole number"))
_converter.register_structure_hook(str, _exactly(str, "a string"))
_converter.register_structure_hook(bool, _exactly(bool, "true or false"))
_converter.register_structure_hook_factory(attrs.has, _table)
_converter.register_structure_hook_factory(_is_array, _array)
_converter.register_structure_hook_factory(_is_literal, _literal)
_converter.register_structure_hook_factory(_is_call, _call)
for call in CALLS:
    attrs.resolve_types(call)


def read_scenario(path: Path) -> tuple[Scenario, str]:
    """Read and check a scenario file.

    Returns:
        The scenario, and the digest of its text.

    Raises:
        InputError: The file cannot be read or does not say what a scenario must say.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: a scenario file has at most {MAX_BYTES >> 20} MiB")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}") from error
    return parse_scenario(text, str(path)), hashlib.sha256(data).hexdigest()


def parse_scenario(text: str, source: str) -> Scenario:
    """Make a scenario of TOML text.

    Args:
        text: The file's contents.
        source: What errors call it.

    Raises:
        InputError: It is not TOML, or not a scenario.
    """
    try:
        table = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, or a number without an end
        raise InputError(f"{source}: not TOML: {error}") from error
    except RecursionError as error:
        raise InputError(f"{source}: nested too deeply") from error
    try:
        scenario = _converter.structure(table, Scenario)
    except cattrs.BaseValidationError as error:
        problems = transform_error(error, path="", format_exception=_explain)
        raise InputError(f"{source}: {'; '.join(map(_tidy, problems))}") from error
    _check(scenario, source)
    return scenario


def _explain(error: BaseException, kind: type | None) -> str:
    if isinstance(error, KeyError):
        return f"key {error.args[0]!r} is missing"
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        known = sorted(getattr(field, "name", "") for field in _fields(error.cl))
        extra = ", ".join(repr(key) for key in sorted(error.extra_fields))
        return f"unknown key {extra}; known are {', '.join(known)}"
    for each in (kind, *get_args(kind)):  # it may also be none
        if isinstance(each, type) and issubclass(each, Enum):
            return f"{error}; known are {', '.join(str(one.value) for one in each)}"
    if isinstance(error, ValueError | TypeError) and error.args:
        return str(error.args[0])
    return format_exception(error, kind)


def _fields(kind: type) -> tuple[object, ...]:
    fields: tuple[object, ...] = getattr(kind, "__attrs_attrs__", ())
    return fields


def _tidy(problem: str) -> str:
    text, _, path = problem.rpartition(" @ ")
    return f"{path.lstrip('.')}: {text}" if path else text


def _check(scenario: Scenario, source: str) -> None:
    """What no single field can tell.

    Raises:
        InputError: Slots meet or cannot be, names are taken twice.
    """
    names: dict[str, str] = {}
    for kind in ("writers", "readers", "notifiers", "allocators"):
        for place, spec in enumerate(getattr(scenario, kind)):
            where = f"{kind}[{place}].name"
            if _RESERVED.fullmatch(spec.name):
                raise InputError(
                    f"{source}: {where}: {spec.name!r} is the name of a task that"
                    " every scenario may have; choose another"
                )
            if spec.name in names:
                raise InputError(
                    f"{source}: {where}: {spec.name!r} is the name of"
                    f" {names[spec.name]}, too"
                )
            names[spec.name] = where
    for key in ("must_exercise", "may_exercise"):
        for place, id_ in enumerate(getattr(scenario, key)):
            if id_ not in CHECKERS:
                raise InputError(
                    f"{source}: {key}[{place}]: {id_!r} is no checker; there are"
                    f" {', '.join(CHECKERS)}"
                )
    for place, vcpu in enumerate(scenario.vcpus):
        if vcpu.address_space >= scenario.address_spaces:
            raise InputError(
                f"{source}: vcpus[{place}].address_space: must be below"
                f" address_spaces = {scenario.address_spaces}, got {vcpu.address_space}"
            )
    _check_slots(scenario, source)
    check_rules(scenario, source)


def _check_slots(scenario: Scenario, source: str) -> None:
    for place, spec in enumerate(scenario.slots):
        # Of slots side by side none reaches further than the first or the last.
        for region in (spec.region, spec.last_region):
            _check_slot(scenario, f"{source}: slots[{place}]", region)
    _check_ids(scenario.slots, source)
    _check_apart(scenario.slots, source)


def _check_slot(scenario: Scenario, where: str, region: Region) -> None:
    try:
        check_before_lock(region, scenario.profile)
        check_request(region, scenario.profile, scenario.address_spaces)
    except MemoryRegionError as error:
        raise InputError(f"{where}: {error.args[0]}") from error
    if not region.memory_size:
        raise InputError(f"{where}.memory_size: must be more than 0")


def _check_ids(slots: Sequence[SlotsSpec], source: str) -> None:
    """Refuse two slots with one id.

    Args:
        slots: The slots of the file.
        source: What errors call the file.
    """
    by_id = sorted(enumerate(slots), key=lambda each: each[1].slot)
    for (place, spec), (other_place, other) in itertools.pairwise(by_id):
        if other.slot < spec.slot + spec.count:
            first, second = sorted((place, other_place))
            raise InputError(
                f"{source}: slots[{second}].slot: {other.slot} is slots[{first}], too"
            )


def _check_apart(slots: Sequence[SlotsSpec], source: str) -> None:
    """Refuse slots that meet.

    Args:
        slots: The slots of the file.
        source: What errors call the file.
    """
    regions = [
        (place, attrs.evolve(spec.region, memory_size=spec.memory_size * spec.count))
        for place, spec in enumerate(slots)
    ]
    by_gfn = sorted(
        regions, key=lambda each: (each[1].slot_id.as_id, each[1].base_gfn, each[0])
    )
    for (place, region), (other_place, other) in itertools.pairwise(by_gfn):
        same_space = region.slot_id.as_id == other.slot_id.as_id
        if same_space and other.base_gfn < region.end_gfn:
            first, second = sorted(
                [(place, region), (other_place, other)], key=lambda each: each[0]
            )
            raise InputError(
                f"{source}: slots[{second[0]}]: guest range {_range(second[1])}"
                f" overlaps slots[{first[0]}] at {_range(first[1])}"
            )


def _range(region: Region) -> str:
    start = region.guest_phys_addr
    return f"{start:#x}..{start + region.memory_size:#x}"
