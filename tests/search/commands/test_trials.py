import csv
import io
import json

import optuna
import pytest

from search.commands.terminal import print_outcome
from search.reopen import open_study_at
from search.retrain import over_seeds
from search.run import run_search
from search.store.attributes import CONFIRMED
from search.store.records import read_records
from search.workspace import Place, Workspace
from trainer.commands.terminal import result_console

QUICK = {
    "training": {"epochs": 2},
    "pruner": "none",
    "budget": {"trials": 4},
    "space": {"batch_size": [64], "hidden_dim": [16]},
}


@pytest.fixture(scope="module")
def by_label(searched_session):
    """A study of four quick trials that maximises one label's F1."""
    return searched_session("by_label", objective="f1:rare", **QUICK)


def test_the_table_of_trials_and_the_verdict_name_what_was_maximised(by_label, capsys):
    outcome = run_search(by_label, should_stop=lambda: True, on_progress=lambda progress: None)
    print_outcome(result_console(), outcome)
    shown = capsys.readouterr().out
    assert "Best trials by validated F1 of rare (cross-fitted)" in shown
    assert "best of 4 trials by F1 of rare" in shown


def test_trials_are_csv_unless_json_is_asked_for_and_both_are_refused(by_label, here):
    where = ("trials", "by_label", "--workspace", by_label.workspace.folder)
    plain, as_csv, as_json = here(*where), here(*where, "--csv"), here(*where, "--json")
    assert plain.stdout == as_csv.stdout
    rows = list(csv.DictReader(io.StringIO(plain.stdout)))
    assert [row["number"] for row in rows] == ["0", "1", "2", "3"]
    assert [one["number"] for one in json.loads(as_json.stdout)] == [0, 1, 2, 3]
    both = here(*where, "--csv", "--json")
    assert (both.returncode, both.stdout) == (2, "")
    assert "--csv and --json exclude each other" in both.stderr


def test_a_trial_without_a_value_is_shown_without_one(by_label):
    study = open_study_at(Place("by_label", by_label.workspace))
    record = read_records(study)[0]
    record = type(record)(**{**vars(record), "value": None, "state": "failed"})
    assert over_seeds(by_label, [record], 1)[0].searched is None


def test_best_tells_of_what_was_confirmed(by_label, here):
    where = ("best", "by_label", "--workspace", by_label.workspace.folder)
    assert json.loads(here(*where, "--json").stdout)["confirmed"] == []
    study = open_study_at(Place("by_label", by_label.workspace), writable=True)
    number = study.best_trial.number
    seeds = {"number": number, "searched": 0.3, "values": [0.1, 0.3], "mean": 0.2, "spread": 0.14}
    study.set_user_attr(CONFIRMED, [seeds])
    assert json.loads(here(*where, "--json").stdout)["confirmed"] == [seeds]
    assert f"Trial {number} has the best mean validated F1 of rare, 0.2000" in here(*where).stdout


@pytest.mark.parametrize("directions", [["minimize"], ["maximize"], ["minimize", "maximize"]])
def test_a_study_that_raretune_did_not_search_has_no_best(directions, here, tmp_path):
    url = Workspace(tmp_path).url
    study = optuna.create_study(study_name="other", storage=url, directions=directions)
    study.optimize(lambda trial: [trial.suggest_float("x", 0, 1)] * len(directions), n_trials=3)
    for command in (("best",), ("report",), ("export", "--output", tmp_path / "out")):
        done = here(command[0], "other", *command[1:], "--workspace", tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "was not searched by raretune" in done.stderr
        assert done.stderr.count("\n") == 1
    listed = here("trials", "other", "--workspace", tmp_path)
    assert listed.stdout.count("\n") == 4
