"""Which guest_memfd a descriptor names, and how large it is, as a recording tells."""

from __future__ import annotations

import errno
from collections.abc import Iterable

import attrs

from memslots.slot import GUEST_MEMFD
from scenarios.traces.call import GuestMemfdMade, RegionCall

_DESCRIPTOR_BITS = 32


def with_files(
    calls: Iterable[RegionCall], made: Iterable[GuestMemfdMade], vm: str
) -> tuple[list[RegionCall], dict[int, int]]:
    """Tell apart the files that had one descriptor after the other.

    Args:
        calls: The calls of one VM.
        made: All guest_memfds of the recording, by answer.
        vm: The VM. In another VM's files it can bind nothing.

    Returns:
        The calls, with a number of its own for each file in place of the descriptor,
        and each file's size in bytes.
    """
    made_as: dict[int, list[GuestMemfdMade]] = {}
    for file in made:
        made_as.setdefault(file.descriptor, []).append(file)
    named = []
    files = {}
    for call in calls:
        descriptor = call.guest_memfd
        same = () if descriptor is None else made_as.get(descriptor, ())
        before = [file for file in same if file.returned <= call.entered]
        if descriptor is None or not before:
            named.append(call)
            continue
        number = len(before) << _DESCRIPTOR_BITS | descriptor
        files[number] = before[-1]
        named.append(attrs.evolve(call, guest_memfd=number))
    sizes = known_sizes(named)
    for number, file in files.items():
        if file.vm != vm:
            sizes[number] = 0
        elif file.size_bytes is not None:
            sizes[number] = file.size_bytes
        else:
            sizes.setdefault(number, 0)
    return named, sizes


def known_sizes(calls: Iterable[RegionCall]) -> dict[int, int]:
    """Return bytes by descriptor, as the answers to bindings tell.

    What was bound lies in its file, and what was not may lie behind its end. A
    descriptor that was refused as invalid, and never bound, is another kind of file, in
    which nothing can be bound: its size is 0. One that was refused as no descriptor is
    left out.
    """
    sizes: dict[int, int] = {}
    for call in calls:
        file, offset = call.guest_memfd, call.guest_memfd_offset
        if file is None or offset is None or not call.flags & GUEST_MEMFD:
            continue
        # Without an answer it may have been bound.
        end = 0 if call.result else offset + call.memory_size
        if call.result != -errno.EBADF:
            sizes[file] = max(sizes.get(file, 0), end)
    return sizes
