"""Where the units of an exploration are done: here, in processes, or on a cluster."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import attrs

from scenarios.errors import InputError
from scenarios.explorer.collector import little_garbage_collection
from scenarios.explorer.program import Program
from scenarios.explorer.units import Done, Slice, do

REACHED_WITHIN = "5s"
"""How long a scheduler may take to answer."""

SWITCH_INTERVAL = 0.000_5
"""Seconds after which a search here lets the threads run that talk to the workers.

To hand over one slice takes them some twenty turns; at Python's own 5 ms for each, a
worker waits for the next slice as long as it takes to do one.
"""


@attrs.define
class Sent:
    """A slice as it is sent to another process.

    Attributes:
        program, shared: Pickled, and what tells them from others.
        slice_: The rest of it.
    """

    program: tuple[bytes, bytes]
    shared: tuple[bytes, bytes]
    slice_: Slice


def packed(thing: object) -> tuple[bytes, bytes]:
    """An object as it is sent."""
    text = pickle.dumps(thing, pickle.HIGHEST_PROTOCOL)
    return blake2b(text, digest_size=16).digest(), text


class _Kept:
    """Unpacks what is sent with each slice once."""

    def __init__(self) -> None:
        self._key = b""
        self._thing: Any = None
        self._lock = threading.Lock()  # workers of a cluster may be threads

    def unpack(self, sent: tuple[bytes, bytes]) -> Any:
        key, text = sent
        with self._lock:
            if key != self._key:
                self._thing = pickle.loads(text)  # noqa: S301 - from our own parent
                self._key = key
            return self._thing


_program, _shared = _Kept(), _Kept()


def do_sent(sent: Sent) -> Done:
    """Go on with a unit that was sent here."""
    program: Program = _program.unpack(sent.program)
    sent.slice_.shared = _shared.unpack(sent.shared)
    with little_garbage_collection():
        return do(program, sent.slice_)


class Engine:
    """Does units in this process, one after the other.

    Attributes:
        workers: How many slices are done elsewhere at the same time.
        works_here: Whether this process does some of them, too.
    """

    workers = 0
    works_here = True

    def submit(self, sent: Sent) -> Future[Done]:
        """Have a slice done elsewhere; the first call opens what is needed for it."""
        raise NotImplementedError

    def close(self) -> None:
        """Give up what is not done yet."""


class _ExecutorEngine(Engine):
    """Hands slices to an executor."""

    def __init__(self) -> None:
        self._executor: Executor | None = None

    def _open(self) -> Executor:
        raise NotImplementedError

    def submit(self, sent: Sent) -> Future[Done]:
        """See `Engine.submit`."""
        if self._executor is None:
            self._executor = self._open()
        return self._executor.submit(do_sent, sent)

    def close(self) -> None:
        """See `Engine.close`."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None


class Processes(_ExecutorEngine):
    """Does units in several processes of this machine; this one is one of them.

    Args:
        jobs: How many.

    Raises:
        InputError: There is less than one.
    """

    def __init__(self, jobs: int) -> None:
        if jobs < 1:
            raise InputError(f"jobs must be at least 1, got {jobs}")
        super().__init__()
        self.workers = jobs - 1

    def _open(self) -> Executor:
        self._switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL)
        return ProcessPoolExecutor(
            self.workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=begin_worker,
        )

    def submit(self, sent: Sent) -> Future[Done]:
        """See `Engine.submit`."""
        with _no_interrupt():  # a worker that begins here inherits that
            return super().submit(sent)

    def close(self) -> None:
        """See `Engine.close`."""
        if self._executor is not None:
            sys.setswitchinterval(self._switch_interval)
        super().close()


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """Take no notice of Ctrl-C; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def begin_worker() -> None:
    """Leave Ctrl-C to the parent, and end with it even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.join,), daemon=True).start()


def _end_with(wait: Callable[[], object]) -> None:
    wait()
    os._exit(1)


class Dask(_ExecutorEngine):
    """Does units on a cluster of Dask.

    Args:
        address: Of its scheduler, as in ``tcp://host:8786``.

    Raises:
        InputError: Dask is not installed, or the scheduler does not answer.
    """

    works_here = False

    def __init__(self, address: str) -> None:
        super().__init__()
        try:
            import distributed  # noqa: PLC0415 - an extra
        except ImportError:
            raise InputError(
                "--engine dask needs an extra: pip install 'memslots[dask]'"
            ) from None
        try:
            client: Any = distributed.Client
            self._client = client(address, timeout=REACHED_WITHIN, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"no Dask scheduler answers at {address!r} within {REACHED_WITHIN}:"
                f" {_first_line(error)}; start one with 'dask scheduler'"
            ) from None
        self.workers = sum(self._client.nthreads().values())
        if not self.workers:
            self._client.close()
            raise InputError(
                f"the Dask scheduler at {address!r} has no worker; start one with"
                f" 'dask worker {address}'"
            )

    def _open(self) -> Executor:
        executor: Executor = self._client.get_executor(pure=False)
        return executor

    def submit(self, sent: Sent) -> Future[Done]:
        """See `Engine.submit`."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "(?s)Sending large graph")
            return super().submit(sent)

    def close(self) -> None:
        """See `Engine.close`."""
        if self._executor is not None:
            self._executor.shutdown(wait=False)  # which cancels what has not begun
        self._client.close()


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
