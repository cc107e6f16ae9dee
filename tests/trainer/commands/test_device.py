import re
from pathlib import Path

import pytest
import torch

from trainer.commands.device import one_thread

ROOT = Path(__file__).parents[3]


@pytest.fixture
def three_threads():
    """Let torch have three threads, as a notebook may, for the length of a test."""
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(1)


def test_one_thread_is_for_the_block_alone(three_threads):
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3


def test_an_error_leaves_the_number_of_threads_as_it_was(three_threads):
    with pytest.raises(ZeroDivisionError):
        one_thread()(lambda: 1 / 0)()
    assert torch.get_num_threads() == 3


def test_each_command_leaves_the_number_of_threads_as_it_was(
    three_threads, here, table_csv, tmp_path
):
    roles = ("--label", "rare", "--group", "family", "--drop", "rarer", "--drop", "person")
    quick = ("--epochs", 1, "--hidden_dim", 8, "--output_dir", tmp_path / "run")
    for arguments in (
        ("train", "--csv_path", table_csv, *roles, *quick),
        ("evaluate", tmp_path / "run", "--csv", table_csv),
        ("predict", tmp_path / "run", "--csv", table_csv, "--output", tmp_path / "out.csv"),
    ):
        done = here(*arguments)
        assert done.returncode == 0, done.stderr
        assert torch.get_num_threads() == 3, arguments[0]


def test_only_commands_and_worker_processes_set_the_number_of_threads():
    setting = {
        str(path.relative_to(ROOT))
        for package in ("trainer", "studies", "search")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"\bset_num_threads\(", path.read_text(encoding="utf-8"))
    }
    assert setting == {
        "trainer/commands/device.py",
        *("search/waves/workers.py", "search/waves/runs.py", "search/appraisal/fitting.py"),
    }
