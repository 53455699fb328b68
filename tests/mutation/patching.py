"""Puts the code of a mutant into functions that have been imported already."""

from __future__ import annotations

import gc
import inspect
import warnings
from types import CodeType, FunctionType

Changes = list[tuple[CodeType, CodeType]]
"""Code of functions, as it is and as it shall be."""


def code_of(source: str, path: str) -> CodeType:
    """Compile a module.

    Args:
        source: Its text.
        path: Its file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        return compile(source, path, "exec", dont_inherit=True)


def changed_functions(old: CodeType, new: CodeType) -> Changes | None:
    """The functions in which two modules differ.

    Args:
        old: A module, or a class in it.
        new: The same.

    Returns:
        The outermost of them; None if they differ elsewhere, too.
    """
    if old == new:
        return []
    if old.co_flags & new.co_flags & inspect.CO_OPTIMIZED:
        return [(old, new)]
    inner_old, inner_new = _inner(old), _inner(new)
    if len(inner_old) != len(inner_new) or _itself(old) != _itself(new):
        return None
    changes: Changes = []
    for pair in zip(inner_old, inner_new, strict=True):
        inside = changed_functions(*pair)
        if inside is None:
            return None
        changes += inside
    return changes


def _inner(code: CodeType) -> list[CodeType]:
    return [each for each in code.co_consts if isinstance(each, CodeType)]


def _itself(code: CodeType) -> CodeType:
    """Code without that of what is defined in it, wherever it ends."""
    consts = (None if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_consts=tuple(consts), co_linetable=b"")


class Functions:
    """All functions of a module that exist now.

    Args:
        path: Its file.
    """

    def __init__(self, path: str) -> None:
        self._by_place: dict[tuple[str, int], list[FunctionType]] = {}
        for each in gc.get_objects():
            # Not isinstance: what was freed in a run does not let itself be asked.
            if type(each) is FunctionType and each.__code__.co_filename == path:
                self._by_place.setdefault(_place(each.__code__), []).append(each)

    def have(self, changes: Changes) -> bool:
        """Whether every function that changes is here and can be changed."""
        return all(
            _place(old) in self._by_place and old.co_freevars == new.co_freevars
            for old, new in changes
        )

    def change(self, changes: Changes) -> None:
        """Change them, for good."""
        for old, new in changes:
            for function in self._by_place[_place(old)]:
                function.__code__ = new


def _place(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno
