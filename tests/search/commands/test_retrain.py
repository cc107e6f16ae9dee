import json
import re

import pytest

from trainer.checkpoint import load_checkpoint

QUICK = {
    "training": {"epochs": 2},
    "pruner": "none",
    "budget": {"trials": 4},
    "space": {"batch_size": [64], "hidden_dim": [16]},
}


@pytest.fixture(scope="module")
def searched(searched_session):
    return searched_session("again", **QUICK)


def test_the_best_trial_is_meant_by_its_name_and_by_default(searched, here, tmp_path):
    where = ("--workspace", searched.workspace.folder, "--json")
    for i, words in enumerate([(), ("--trial", "best")]):
        done = here("retrain", "again", *words, "--output", tmp_path / str(i), *where)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["reproduced"]
    best = json.loads(here("best", "again", *where).stdout)["number"]
    assert load_checkpoint(tmp_path / "0").record.trial["number"] == best
    named = here("export", "again", "--trial", "2", "--output", tmp_path / "two", *where[:2])
    assert named.stdout == f"trial 2 of again written to {tmp_path / 'two'}\n"


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("retrain", ("--seeds", "0"), "--seeds must be from 1 to 1000, got 0"),
        ("retrain", ("--seeds", "-3"), "--seeds must be from 1 to 1000, got -3"),
        ("retrain", ("--seeds", "1000000000"), "--seeds must be from 1 to 1000"),
        ("retrain", ("--trial", "worst"), "'worst' is neither a trial's number nor the word best"),
        ("retrain", ("--trial", "99"), "no trial 99 has ended .* numbered up to 3"),
        ("retrain", ("--refit", "some"), "the only choice is all"),
        ("export", ("--trial", "-1"), "neither a trial's number"),
        ("confirm", ("--top", "0"), "--top must be from 1 to 1000"),
        ("confirm", ("--seeds", "-3"), "--seeds must be from 1 to 1000"),
    ],
)
def test_what_can_not_be_trained_is_one_line(searched, here, tmp_path, command, words, message):
    output = () if command == "confirm" else ("--output", tmp_path / "never")
    done = here(command, "again", *words, *output, "--workspace", searched.workspace.folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert re.search(message, done.stderr), done.stderr
    assert not (tmp_path / "never").exists()
