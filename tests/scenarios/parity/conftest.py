"""What the running kernel answers, asked once for all tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from rcu.schedule.pool import TaskPool, open_pool
from scenarios.parity.compare import Exchange
from scenarios.parity.kernel import Kernel, NoKernelError
from scenarios.parity.parity import Wanted, exchanges, vms

CALLS, SEED = 3_000, 1
"""How many calls the kernel is asked, and which."""


@pytest.fixture
async def pool() -> AsyncIterator[TaskPool]:
    """Trio tasks for controlled runs."""
    async with open_pool() as pool:
        yield pool


@pytest.fixture(scope="session")
def kernel() -> Iterator[Kernel]:
    """The running kernel."""
    try:
        kernel = Kernel()
    except NoKernelError as error:
        pytest.skip(f"the kernel cannot be asked: {error}")
    yield kernel
    kernel.close()


@pytest.fixture(scope="session")
def answered(kernel: Kernel) -> list[list[Exchange]]:
    """Calls to several VMs and the kernel's answers."""
    answered = []
    for vm, generator, count in vms(kernel, Wanted(calls=CALLS, seed=SEED)):
        with vm:
            answered.append([*exchanges(vm, generator, count)])
    return answered
