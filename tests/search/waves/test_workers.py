from types import SimpleNamespace

import psutil
import pytest

from search.waves import workers
from search.waves.workers import WORKER_BYTES, affordable


@pytest.fixture
def machine(monkeypatch):
    """A machine of so many cores and bytes of free memory."""

    def make(cores, free):
        monkeypatch.setattr(workers, "_cores", lambda: cores)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))

    return make


@pytest.mark.parametrize(
    ("asked", "trials", "cores", "free", "started", "why"),
    [
        (100_000, 1000, 16, 10**12, 64, "16 cores"),
        (100_000, 1000, 1, 10**12, 8, "1 core"),
        (100_000, 3, 16, 10**12, 3, "3 trials"),
        (100_000, 1000, 16, 5 * WORKER_BYTES + 1, 5, "memory"),
        (100_000, 1000, 16, 0, 1, "memory"),
        (2, 100, 2, 10**12, 2, ""),
    ],
)
def test_no_more_workers_than_trials_cores_and_memory_bear(
    machine, asked, trials, cores, free, started, why
):
    machine(cores, free)
    found, because = affordable(asked, trials)
    assert found == started
    assert why in because
