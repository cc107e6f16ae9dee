import json

import optuna
import pytest

from search.store.artifacts import KEPT_TRIALS, Shelf
from search.store.attributes import ARTIFACTS


@pytest.fixture(scope="module")
def study(session):
    return optuna.load_study(study_name="quick_one", storage=session.url)


def ranked(study):
    return sorted(study.trials, key=lambda trial: (-trial.value, trial.number))


def test_the_best_trials_and_the_recipes_are_kept_and_the_others_deleted(session, study):
    shelf = Shelf(study, session.shelf_folder)
    kept = [trial.number for trial in ranked(study) if shelf.fetch(trial) is not None]
    best = [trial.number for trial in ranked(study)[:KEPT_TRIALS]]
    late = [t.number for t in ranked(study)[KEPT_TRIALS:] if "recipe" in t.user_attrs]
    assert late
    assert kept == best + late
    assert len(list(session.shelf_folder.iterdir())) == 4 * len(kept)


def test_a_kept_checkpoint_is_the_trials_own(session, study):
    trial = ranked(study)[1]
    checkpoint = Shelf(study, session.shelf_folder).fetch(trial)
    assert checkpoint.record.trial["number"] == trial.number
    assert checkpoint.record.config.model_dump(mode="json") == trial.user_attrs["config"]
    assert checkpoint.record.validation["scores"]["macro_f1"] == trial.value


def test_the_dashboard_lists_what_is_kept(session, study):
    """In the form that optuna-dashboard reads: by trial among the study's attributes."""
    best = ranked(study)[0]
    listed = [
        json.loads(value)["filename"]
        for key, value in study._storage.get_study_system_attrs(study._study_id).items()
        if key.startswith(f"{ARTIFACTS}{best._trial_id}:") and json.loads(value) is not None
    ]
    names = ["checkpoint.json", "history.csv", "model.safetensors", "thresholds.json"]
    assert sorted(listed) == names


def test_a_file_that_is_gone_means_not_kept(session, study):
    shelf = Shelf(study, session.shelf_folder)
    trial = ranked(study)[2]
    before = shelf.fetch(trial)
    victim = next(meta for owner, meta in shelf._listed() if owner == trial._trial_id)
    (session.shelf_folder / victim.artifact_id).unlink()
    assert shelf.fetch(trial) is None
    assert shelf.keep(trial.number, before)
    assert shelf.fetch(trial).record == before.record


def test_a_checkpoint_that_was_kept_in_part_means_not_kept(session, study):
    """As where a worker is killed while it writes one file after the other."""
    shelf = Shelf(study, session.shelf_folder)
    trial = ranked(study)[1]
    before = shelf.fetch(trial)
    for owner, meta in shelf._listed():
        if owner == trial._trial_id and meta.filename != "model.safetensors":
            shelf._list(owner, [meta], there=False)
    assert shelf.fetch(trial) is None
    assert shelf.keep(trial.number, before)
    assert shelf.fetch(trial).record == before.record


def test_what_another_worker_keeps_meanwhile_is_not_dropped(session, study, monkeypatch):
    shelf = Shelf(study, session.shelf_folder)
    best, other = ranked(study)[:2]
    wanted, checkpoint = shelf._wanted(), shelf.fetch(best)
    before = [trial for trial in wanted if trial.number != other.number]
    answers = iter([before, wanted])
    monkeypatch.setattr(shelf, "_wanted", lambda: next(answers))
    assert shelf.keep(best.number, checkpoint)
    assert shelf.fetch(other) is not None
