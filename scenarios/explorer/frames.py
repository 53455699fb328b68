"""Where a coroutine stands: code positions and values along its await chain.

CPython shows the values of a suspended frame to its garbage collector, those on the
evaluation stack included: the place in a loop, the block that is to be left. Together
with the names of the locals that are set, and the position, that is all there is.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from types import CodeType, CoroutineType
from typing import Any

_codes: dict[CodeType, str] = {}


def _code_name(code: CodeType) -> str:
    name = _codes[code] = f"{code.co_qualname}:{code.co_firstlineno}"
    return name


def where(coroutine: Any, encode: Callable[[list[Any]], list[Any]]) -> tuple[Any, ...]:
    """Where ``coroutine`` stands, as plain values; empty if it has ended.

    Args:
        coroutine: A suspended coroutine.
        encode: Makes plain values of the values met.
    """
    told: list[Any] = []
    while type(coroutine) is CoroutineType:
        frame = coroutine.cr_frame
        if frame is None:
            break
        code = frame.f_code
        values = gc.get_referents(coroutine)
        # What comes first is no state: code, names, frame, function and code again.
        first = values.index(code, 3) + 1
        awaited = coroutine.cr_await
        if awaited is not None and values[-1] is awaited:
            values.pop()
        told += (_codes.get(code) or _code_name(code), frame.f_lasti)
        told += frame.f_locals
        told += encode(values[first:])
        coroutine = awaited
    return tuple(told)
