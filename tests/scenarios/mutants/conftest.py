"""What every test of this folder may ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rcu.schedule.pool import TaskPool, open_pool


@pytest.fixture
async def pool() -> AsyncIterator[TaskPool]:
    """Trio tasks for controlled runs."""
    async with open_pool() as pool:
        yield pool
