from dataclasses import replace

import optuna
import pytest

from search import export
from search.evidence.evidence import stored
from search.export import current_evidence, export_best
from search.store.artifacts import Shelf
from search.store.records import complete, read_records
from trainer.checkpoint import load_checkpoint, save_checkpoint

RECIPES = {"plain BCE", "the guide", "the guide, escalated"}


@pytest.fixture
def study(session):
    """The study with no evidence kept yet."""
    study = optuna.load_study(study_name="quick_one", storage=session.url)
    for key in study._storage.get_study_system_attrs(study._study_id):
        if key.startswith("raretune:evidence:"):
            study._storage.set_study_system_attr(study._study_id, key, {"format": 0, "trial": -1})
    return study


@pytest.fixture
def shelf(session, study):
    return Shelf(study, session.shelf_folder)


def never():
    raise AssertionError("the table was not needed")


def best_of(study):
    return complete(read_records(study))[0]


def test_an_export_writes_the_best_trial_and_keeps_its_evidence(session, study, shelf):
    checkpoint = export_best(session, study, shelf)
    best = best_of(study)
    assert checkpoint.record.trial["number"] == best.number
    assert load_checkpoint(session.best_folder).record.thresholds == checkpoint.record.thresholds
    evidence = stored(study, best.number)
    assert evidence.macro_f1 == checkpoint.record.test["macro_f1"]
    assert evidence.validated == best.scores["macro_f1"]
    names = {one.name for one in evidence.contenders}
    assert names == RECIPES - {best.recipe} | {"every row positive"}
    for contender in evidence.contenders:
        if contender.trial is not None:
            trial = study.trials[contender.trial]
            assert trial.user_attrs["recipe"] == contender.name
            assert contender.validated == trial.user_attrs["scores"]["macro_f1"]


@pytest.mark.parametrize("change", [{"test": None}, {"trial": {"refit": "all"}}])
def test_what_is_not_the_trials_tested_network_is_replaced(session, study, shelf, change):
    """Another command may have written its checkpoint to best/."""
    checkpoint = export_best(session, study, shelf)
    trial = {**checkpoint.record.trial, **change.get("trial", {})}
    other = checkpoint.record.model_copy(update={**change, "trial": trial})
    save_checkpoint(session.best_folder, replace(checkpoint, record=other))
    again = export_best(session, study, shelf)
    assert again.record.trial == checkpoint.record.trial
    assert again.record.test["labels"] == checkpoint.record.test["labels"]
    assert load_checkpoint(session.best_folder).record.test is not None


def test_evidence_is_gathered_once_and_needs_no_table_then(session, study, shelf, monkeypatch):
    export_best(session, study, shelf)
    monkeypatch.setattr(export, "evaluate_best", never)
    export_best(session, study, shelf)
    evidence = current_evidence(study, never)
    assert evidence == stored(study, best_of(study).number)


def test_evidence_that_is_not_kept_is_gathered_from_the_table(session, study, shelf):
    export_best(session, study, shelf)
    kept = stored(study, best_of(study).number)
    rest = "raretune:evidence:rest"
    study._storage.set_study_system_attr(study._study_id, rest, {"format": 0, "trial": -1})
    assert stored(study, kept.trial) is None
    assert current_evidence(study, lambda: session) == kept
    assert stored(study, kept.trial) == kept


def test_a_recipe_that_is_not_on_the_shelf_is_trained_again(session, study, shelf):
    export_best(session, study, shelf)
    kept = stored(study, best_of(study).number)
    study._storage.set_study_system_attr(
        study._study_id, "raretune:evidence:rest", {"format": 0, "trial": -1}
    )
    guide = next(one.trial for one in kept.contenders if one.name == "the guide")
    checkpoint = shelf.fetch(study.trials[guide])
    own = study.trials[guide]._trial_id
    shelf._change([], [(owner, meta) for owner, meta in shelf._listed() if owner == own])
    assert current_evidence(study, lambda: session) == kept
    assert shelf.keep(guide, checkpoint)


def test_a_recipe_that_ended_since_makes_evidence_anew(session, study, shelf, monkeypatch):
    read = read_records(study)
    guide = next(one for one in read if one.recipe == "the guide")
    with monkeypatch.context() as before:
        before.setattr(export, "read_records", lambda study: [r for r in read if r != guide])
        evidence = current_evidence(study, lambda: session)
        assert "the guide" not in {one.name for one in evidence.contenders}
        assert current_evidence(study, never) == evidence
    names = [one.name for one in current_evidence(study, lambda: session).contenders]
    assert names == [
        name
        for name in ("plain BCE", "the guide", "the guide, escalated")
        if name != best_of(study).recipe
    ] + ["every row positive"]


def test_a_study_without_a_complete_trial_has_no_evidence(session, shelf):
    study = optuna.create_study(direction="maximize")
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    assert current_evidence(study, never) is None
    assert export_best(session, study, shelf) is None
