"""Reads a scenario file: TOML whose errors name the path in the file."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import attrs
import cattrs
from cattrs import transform_error
from cattrs.cols import list_structure_factory
from cattrs.v import format_exception

from memslots.errors import MemoryRegionError
from memslots.profile import X86_64_LINUX_6_18
from memslots.region import Region, check_before_lock, check_request
from memslots.slot import SlotId
from scenarios.checkers.judge import CHECKERS
from scenarios.errors import InputError
from scenarios.scenario import Scenario, SlotSpec

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


_converter.register_structure_hook(int, _exactly(int, "a whole number"))
_converter.register_structure_hook(str, _exactly(str, "a string"))
_converter.register_structure_hook(bool, _exactly(bool, "true or false"))
_converter.register_structure_hook_factory(attrs.has, _table)
_converter.register_structure_hook_factory(_is_array, _array)
_converter.register_structure_hook_factory(_is_literal, _literal)


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
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"{error}; known are {', '.join(str(each.value) for each in kind)}"
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
    for kind in ("writers", "readers", "allocators"):
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
    for place, id_ in enumerate(scenario.must_exercise):
        if id_ not in CHECKERS:
            raise InputError(
                f"{source}: must_exercise[{place}]: {id_!r} is no checker; there are"
                f" {', '.join(CHECKERS)}"
            )
    for place, vcpu in enumerate(scenario.vcpus):
        if vcpu.address_space >= scenario.address_spaces:
            raise InputError(
                f"{source}: vcpus[{place}].address_space: must be below"
                f" address_spaces = {scenario.address_spaces}, got {vcpu.address_space}"
            )
    _check_slots(scenario, source)


def _check_slots(scenario: Scenario, source: str) -> None:
    seen: list[tuple[int, SlotSpec, Region]] = []
    for place, spec in enumerate(scenario.slots):
        region = spec.region
        where = f"{source}: slots[{place}]"
        try:
            check_before_lock(region, X86_64_LINUX_6_18)
            check_request(region, X86_64_LINUX_6_18, scenario.address_spaces)
        except MemoryRegionError as error:
            raise InputError(f"{where}: {error.args[0]}") from error
        if not region.memory_size:
            raise InputError(f"{where}.memory_size: must be more than 0")
        for other_place, other, taken in seen:
            if SlotId.of(spec.slot).as_id != SlotId.of(other.slot).as_id:
                continue
            if spec.slot == other.slot:
                raise InputError(
                    f"{where}.slot: {spec.slot} is slots[{other_place}], too"
                )
            if region.base_gfn < taken.end_gfn and taken.base_gfn < region.end_gfn:
                raise InputError(
                    f"{where}: guest range {spec.guest_phys_addr:#x}.."
                    f"{spec.guest_phys_addr + spec.memory_size:#x} overlaps"
                    f" slots[{other_place}] at {other.guest_phys_addr:#x}.."
                    f"{other.guest_phys_addr + other.memory_size:#x}"
                )
        seen.append((place, spec, region))
