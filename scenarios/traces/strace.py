"""Reads strace output: ``strace -f -e trace=ioctl``, in all its spellings.

A call that another thread's line interrupts is printed in two halves; they are
joined by thread id, and the call keeps the places of both. A call that a mail
program wrapped is joined with the lines that begin nothing of their own.
"""

from __future__ import annotations

import re

import attrs

from scenarios.traces.call import NEVER
from scenarios.traces.mail import MailDecoder
from scenarios.traces.short_way import ShortWay
from scenarios.traces.strace_calls import UNDERSTOOD, UPDATES, IoctlCall, StraceCalls
from scenarios.traces.strace_line import (
    HEAD,
    SET_REGION,
    has_result,
    is_whole,
    kind_of,
    request_of,
    thread_of,
    without_half_mark,
)
from scenarios.traces.tally import CUT_OFF, Tally

NAME = "strace"

_LONGEST_WRAPPED = 2000


@attrs.frozen(slots=True)
class _Begun:
    """The first part of a call, and which VM it asks for an update, if any."""

    line: int
    text: str
    vm: str = ""


@attrs.define(slots=True)
class StraceParser:
    """Takes the lines one by one and enters what they are into a tally."""

    tally: Tally
    _calls: StraceCalls = attrs.field(init=False)
    _mail: MailDecoder = attrs.field(init=False)
    # By thread: an ioctl that is counted when its second half comes.
    _begun: dict[str, _Begun] = attrs.field(factory=dict, init=False)
    _wrapped: _Begun | None = attrs.field(default=None, init=False)
    _short: ShortWay = attrs.field(init=False)
    _joining: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """Share the tally with the parts."""
        self._calls = StraceCalls(self.tally)
        self._mail = MailDecoder(SET_REGION)
        self._short = ShortWay(self.tally.others)

    def line(self, number: int, text: str) -> None:
        """Take one line."""
        if not self._joining and self._short.takes(text):
            return
        inside = self._wrapped is not None
        decoded = self._mail.decode(number, text, inside=inside)
        if decoded is not None:
            self._clean_line(*decoded)
        self._joining = self._wrapped is not None or self._mail.holding

    def last(self, number: int, text: str) -> None:
        """Take the last line, which no newline ends."""
        if self._wrapped is None and text.strip() and not is_whole(text):
            self.tally.add_unknown(number, text, CUT_OFF)
        else:
            self.line(number, text)

    def finish(self) -> None:
        """Enter what still waits for its end."""
        held = self._mail.release()
        if held is not None:
            self._clean_line(*held)
        if self._wrapped is not None:
            self.tally.add_unknown(self._wrapped.line, self._wrapped.text, CUT_OFF)
        for thread, begun in self._begun.items():
            self._never_resumed(begun, thread)

    def _clean_line(self, number: int, text: str) -> None:
        head = HEAD.match(text)
        begun, self._wrapped = self._wrapped, None
        if begun is not None and self._continue(begun, text, head):
            return
        if head is None:
            if text and not text.isspace():
                self.tally.add_unknown(number, text, "no system call")
        elif head["request"] is not None:
            self._ioctl(number, text, head)
        elif head["resumed"] == "ioctl":
            self._resume(number, text, head)
        elif head["call"] == "ioctl":
            self.tally.add_unknown(number, text, "ioctl without a descriptor")
        elif (kind := kind_of(head)) is not None:
            self._other(head["call"] or kind, kind, head)

    def _ioctl(self, number: int, text: str, head: re.Match[str]) -> None:
        kind = request_of(head)
        half = without_half_mark(text)
        if kind in UPDATES and half is None and not has_result(text):
            self._wrapped = _Begun(number, text)
            return
        if half is None and kind not in UNDERSTOOD:
            self._other(head["request"], kind, head)
        elif half is None:
            call = IoctlCall(number, number, thread_of(head), text, head)
            self._calls.take(call)
        else:
            vm = self._calls.vm_of(head) if kind in UPDATES else ""
            self._begin(_Begun(number, half, vm), thread_of(head), kind)

    def _other(self, name: str, kind: str, head: re.Match[str]) -> None:
        self.tally.add_other(kind)
        self._short.learn(name, kind, thread_of(head))

    def _begin(self, begun: _Begun, thread: str, kind: str) -> None:
        self._never_resumed(self._begun.pop(thread, None), thread)
        if kind in UNDERSTOOD:
            self._begun[thread] = begun
        else:
            self.tally.add_other(kind)
            self._short.halves.add(thread)

    def _resume(self, number: int, text: str, head: re.Match[str]) -> None:
        thread = thread_of(head)
        # strace names no thread until there is a second one: a call may begin
        # without a name and return with one.
        key = thread if thread in self._short.halves or thread in self._begun else ""
        if key in self._short.halves:
            self._short.halves.remove(key)
            return
        begun = self._begun.pop(key, None)
        if begun is None:
            self.tally.add_unknown(number, text, "resumed, but begun before the trace")
            return
        whole = begun.text + text[head.end() :]
        first = HEAD.match(whole)
        if first is not None:
            self._calls.take(IoctlCall(begun.line, number, thread, whole, first))

    def _continue(self, begun: _Begun, text: str, head: re.Match[str] | None) -> bool:
        """Return whether the line belongs to the wrapped call before it."""
        whole = f"{begun.text.rstrip()} {text.strip()}"
        first = HEAD.match(whole)
        if head is None and first is not None and _may_continue(text, whole):
            self._ioctl(begun.line, whole, first)
            return True
        self.tally.add_unknown(begun.line, begun.text, "incomplete")
        return False

    def _never_resumed(self, begun: _Begun | None, thread: str) -> None:
        if begun is None or not begun.vm:
            return
        head = HEAD.match(begun.text)
        if head is not None:
            call = IoctlCall(begun.line, NEVER, thread, begun.text, head)
            self._calls.never_returned(call, begun.vm)


def _may_continue(text: str, whole: str) -> bool:
    return bool(text.strip()) and len(whole) <= _LONGEST_WRAPPED
