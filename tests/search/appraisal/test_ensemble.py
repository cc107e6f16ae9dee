"""From a searched study to an ensemble's checkpoint, and what is kept and said of it."""

import json
import shutil
from dataclasses import replace

import optuna
import pytest
import torch

from search.appraisal import assemble
from search.appraisal.assemble import make_ensemble
from search.appraisal.candidates import find_candidates
from search.appraisal.ensemble import Ensemble, recommendation, stored
from search.export import export_best
from search.run import run_search
from search.session import prepare
from search.store.artifacts import PREDICTIONS, Shelf
from search.store.attributes import ENSEMBLE
from search.store.identity import origin_of
from search.store.records import complete, read_records
from search.store.transactions import set_study_attributes, study_attributes
from search.verification import fault_of_ensemble
from search.workspace import Workspace
from trainer.checkpoint import Record, json_text, load_checkpoint, save_checkpoint
from trainer.experiment import held_out_probabilities
from trainer.loop.validation import fit_thresholds
from trainer.predict import predict_frame
from trainer.scores.ensemble import choose, weighted_mean


@pytest.fixture(scope="module")
def searched(searched_session):
    return searched_session(
        "clinic",
        split={"folds": 3},
        budget={"trials": 7},
        training={"epochs": 3, "lr": 0.01},
        pruner="none",
        space={"batch_size": [64], "hidden_dim": [16, 32]},
    )


@pytest.fixture(scope="module")
def made(searched):
    study = opened(searched)
    shelf = Shelf(study, searched.shelf_folder)
    best = export_best(searched, study, shelf)
    return make_ensemble(searched, study, shelf, best)


@pytest.fixture
def copied(searched, made, tmp_path):
    """The same in a workspace of its own: session, study, shelf."""
    workspace = Workspace(shutil.copytree(searched.workspace.folder, tmp_path / "runs"))
    session = replace(searched, workspace=workspace, url=workspace.url)
    study = opened(session)
    return session.of(study), study, Shelf(study, session.shelf_folder, predictions=50)


def opened(session):
    return optuna.load_study(study_name="clinic", storage=session.url)


def again(session, study, shelf, **settings):
    best = load_checkpoint(session.best_folder)
    return make_ensemble(session, study, shelf, best, **settings)


def of_predictions(session, study, shelf, number):
    """The file of a trial's predictions, and how it is listed."""
    own = study.trials[number]._trial_id
    (meta,) = [m for t, m in shelf._listed() if (t, m.filename) == (own, PREDICTIONS)]
    return session.shelf_folder / meta.artifact_id


def fault(checkpoint, session, study):
    records = {one.number: one for one in complete(read_records(study))}
    origins = {number: origin_of(study, one) for number, one in records.items()}
    return fault_of_ensemble(checkpoint, session, records, origins)


def test_it_is_what_greedy_selection_chooses_of_the_trials_predictions(searched, made):
    study = opened(searched)
    pool = find_candidates(
        searched.of(study), study, Shelf(study, searched.shelf_folder), again=False
    )
    assert [one.record.number for one in pool] == [r.number for r in complete(read_records(study))]
    labels = searched.experiment.data.y_validation
    chosen = choose(torch.stack([one.probabilities for one in pool]), labels)
    assert made.ensemble.trials == [pool[run].record.number for run in chosen.runs]
    assert made.ensemble.weights == list(chosen.weights)
    assert made.ensemble.chosen_from == 7


def test_the_exported_ensemble_predicts_what_its_members_weighted_mean_says(
    searched, made, monkeypatch
):
    study = opened(searched)
    shelf = Shelf(study, searched.shelf_folder)
    trials = {trial.number: trial for trial in study.trials}
    columns = searched.experiment.table.columns
    checkpoint = load_checkpoint(searched.ensemble_folder)
    kept = [shelf.fetch(trials[number]) for number in made.ensemble.trials]
    known = [(one, w) for one, w in zip(kept, made.ensemble.weights, strict=True) if one]
    if len(known) == len(kept):
        own = [predict_frame(one, columns) for one, _ in known]
        expected = weighted_mean(own, made.ensemble.weights)
        torch.testing.assert_close(predict_frame(checkpoint, columns), expected)
    in_c = predict_frame(checkpoint, columns)
    monkeypatch.setattr("trainer.steps.inference.library", lambda: None)
    torch.testing.assert_close(predict_frame(checkpoint, columns), in_c)


def test_thresholds_doubts_and_test_scores_are_those_of_the_mean(searched, made):
    record = made.checkpoint.record
    mean = held_out_probabilities(made.checkpoint, searched.experiment)
    chosen = fit_thresholds(mean, searched.experiment.data, record.config)
    assert record.thresholds == pytest.approx(chosen.thresholds, abs=1e-6)
    assert record.test["macro_f1"] == made.ensemble.test.macro_f1
    assert record.validation["macro_f1"] == pytest.approx(made.ensemble.macro_f1.ensemble)
    assert "doubts" in record.validation
    best = load_checkpoint(searched.best_folder).record
    assert made.ensemble.best_test.macro_f1 == best.test["macro_f1"]
    assert made.ensemble.best == best.trial["number"]


def test_it_is_kept_with_the_study_and_needs_no_table(copied, made):
    _, study, _ = copied
    records = read_records(study)
    assert stored(study, records) == made.ensemble
    kept = study_attributes(study)[ENSEMBLE]
    others = [
        {**kept, "study_id": "another"},
        {**kept, "content": {**kept["content"], "weights": [1.0]}},
        {**kept, "format": 2},
        "text",
        {},
    ]
    for other in others:
        set_study_attributes(study, {ENSEMBLE: other})
        assert stored(study, records) is None
    set_study_attributes(study, {ENSEMBLE: kept})
    assert stored(study, complete(records)[1:]) is None


def test_the_same_again_is_left_as_it_is_without_a_word(copied, made, capsys):
    session, study, shelf = copied
    before = (session.ensemble_folder / "checkpoint.json").stat().st_ino
    found = again(session, study, shelf)
    assert found.ensemble == made.ensemble
    assert (session.ensemble_folder / "checkpoint.json").stat().st_ino == before
    assert fault(load_checkpoint(session.ensemble_folder), session, study) == ""
    assert capsys.readouterr().err == ""


def edited(folder, change):
    record = json.loads((folder / "checkpoint.json").read_text())
    change(record)
    (folder / "checkpoint.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("change", "told", "is_seen"),
    [
        (lambda r: r["test"].update(macro_f1=0.999), "test macro_f1 is said to be 0.999", True),
        (lambda r: r["thresholds"].update(rare=0.987), "thresholds rare is said to be 0.987", True),
        (lambda r: r["validation"].update(macro_f1=0.9), "macro_f1 is said to be 0.9", False),
        (lambda r: r["members"][0]["trial"].update(study_id="x"), "no ensemble of this", True),
        (lambda r: r.update(test=None), "test", True),
    ],
)
def test_what_was_changed_by_hand_is_made_again_and_said(
    copied, made, capsys, change, told, is_seen
):
    session, study, shelf = copied
    edited(session.ensemble_folder, change)
    assert bool(fault(load_checkpoint(session.ensemble_folder), session, study)) == is_seen
    again(session, study, shelf)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert told in said
    found = load_checkpoint(session.ensemble_folder).record
    assert found.model_dump(exclude={"members"}) == kept_record(made).model_dump(
        exclude={"members"}
    )
    assert [one["weight"] for one in found.members] == made.ensemble.weights


def kept_record(made):
    """The record as it is read, with None for what is undefined."""
    return Record.model_validate(json.loads(json_text(made.checkpoint.record.model_dump())))


def test_the_best_trials_checkpoint_in_its_place_is_a_strangers(copied, capsys):
    session, study, shelf = copied
    save_checkpoint(session.ensemble_folder, load_checkpoint(session.best_folder))
    again(session, study, shelf)
    assert "is made again: it is no ensemble of this study" in capsys.readouterr().err


def test_another_size_replaces_it_without_a_word(copied, capsys):
    session, study, shelf = copied
    found = again(session, study, shelf, picks=1)
    assert found.ensemble.weights == [1.0]
    assert len(load_checkpoint(session.ensemble_folder).record.members) == 1
    assert capsys.readouterr().err == ""


def test_a_trial_whose_predictions_are_gone_is_left_out_or_trained_again(copied, made, capsys):
    session, study, shelf = copied
    first, second = made.ensemble.trials[0], complete(read_records(study))[-1].number
    lost, torn = (of_predictions(session, study, shelf, n) for n in (first, second))
    lost.unlink()
    if torn != lost:
        torn.write_bytes(b"torn")
    without = again(session, study, shelf)
    told = capsys.readouterr().err
    assert first not in without.ensemble.trials
    assert "raretune ensemble clinic trains again" in told
    whole = again(session, study, shelf, again=True)
    assert "trained again" in capsys.readouterr().err
    assert whole.ensemble == made.ensemble
    again(session, study, shelf)
    assert capsys.readouterr().err == ""


def test_networks_that_are_not_the_trials_are_left_out(copied, made, capsys):
    session, study, shelf = copied
    number = made.ensemble.trials[0]
    trial = study.trials[number]
    held_out = shelf.fetch_held_out(trial)
    negated = tuple({k: -t for k, t in network.items()} for network in held_out.networks)
    file = of_predictions(session, study, shelf, number)
    file.write_bytes(replace(held_out, networks=negated).to_bytes())
    found = again(session, study, shelf)
    assert number not in found.ensemble.trials
    assert f"networks of trial {number} are left out of the ensemble" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"study_id": "x"}, "of another study"),
        ({"number": 99}, "settings, split, table or value"),
        ({"digest": "x"}, "settings, split, table or value"),
    ],
)
def test_predictions_of_others_are_not_used(copied, capsys, change, told):
    session, study, shelf = copied
    held_out = shelf.fetch_held_out(study.trials[3])
    about = {"trial": json.dumps({**json.loads(held_out.about["trial"]), **change})}
    file = of_predictions(session, study, shelf, 3)
    for kept in (about, {}, {"trial": "[]"}, {"trial": "{"}):
        file.write_bytes(replace(held_out, about=kept).to_bytes())
        numbers = [c.record.number for c in find_candidates(session, study, shelf, again=False)]
        assert 3 not in numbers
        said = capsys.readouterr().err
        assert "trial 3 are not used" in said
        assert (told if kept is about else "whose they are") in said


def test_no_ensemble_of_a_single_trial_or_none_wanted(copied, monkeypatch, capsys):
    session, study, shelf = copied
    one = session.definition.model_copy(update={"ensemble": 1})
    assert again(replace(session, definition=one), study, shelf) is None
    outcome = run_search(
        replace(session, definition=one), should_stop=lambda: True, on_progress=lambda p: None
    )
    assert outcome.assembled is None
    monkeypatch.setattr(assemble, "save_checkpoint", refused)
    outcome = run_search(session, should_stop=lambda: True, on_progress=lambda p: None)
    assert outcome.checkpoint is not None


def test_a_single_validation_part_serves_as_well(session):
    study = optuna.load_study(study_name="quick_one", storage=session.url)
    shelf = Shelf(study, session.shelf_folder)
    found = make_ensemble(session, study, shelf, export_best(session, study, shelf))
    assert found.ensemble.chosen_from == len(study.trials)
    loaded = load_checkpoint(session.ensemble_folder)
    assert len(loaded.folds) == 1
    assert len(loaded.networks) == len(found.ensemble.trials)


def test_workers_keep_together_what_the_ensemble_is_chosen_from(searched, tmp_path, capsys):
    """Each drops what another's trial has taken the place of; no file is left without a name."""
    definition = searched.definition.model_copy(
        update={
            "workers": 2,
            "ensemble": 4,
            "budget": searched.definition.budget.model_copy(update={"trials": 10}),
        }
    )
    session = prepare(definition, Workspace(tmp_path), None, "cpu")
    outcome = run_search(session, should_stop=lambda: False, on_progress=lambda progress: None)
    assert "left out" not in capsys.readouterr().err
    assert outcome.assembled.ensemble.chosen_from == 4
    study = opened(session)
    shelf = Shelf(study, session.shelf_folder)
    ranked = [study.trials[one.number] for one in complete(read_records(study))]
    kept = [trial for trial in ranked if shelf.fetch_held_out(trial) is not None]
    assert kept[:4] == ranked[:4]
    listed = {meta.artifact_id for _, meta in shelf._listed()}
    assert {path.name for path in session.shelf_folder.iterdir()} == listed


def refused(*_):
    raise AssertionError("what is there is the same")


def ensemble(difference, low, high):
    content = {
        **{"trials": [3, 5], "weights": [0.75, 0.25], "digests": ["a", "b"], "best": 5},
        **{"chosen_from": 9, "interval": (0.2, 0.3), "test": None, "best_test": None},
    }
    of = {"ensemble": 0.25 + difference, "best": 0.25, "difference": difference}
    score = {**of, "interval": (low, high)}
    return Ensemble(**content, macro_f1=score, average_precision=score)


@pytest.mark.parametrize(
    ("gain", "words"),
    [
        ((0.012, 0.003, 0.021), "its macro-F1 is higher than the best trial's by 0.012 (0.003 to "),
        ((0.004, -0.003, 0.011), "by 0.004 (-0.003 to 0.011), which can't be told from chance."),
        ((0.004, None, None), "by 0.004, which can't be told from chance."),
        ((-0.002, -0.010, 0.006), "is lower by 0.002 (-0.006 to 0.010)."),
        ((0.0, 0.0, 0.0), "is no higher."),
    ],
)
def test_one_sentence_recommends_the_ensemble_only_where_it_gains(tmp_path, gain, words):
    found = ensemble(*gain)
    said = recommendation(found, tmp_path / "best", tmp_path / "ensemble")
    assert words in said
    assert said.startswith("Use the ensemble of 2 trials" if gain[0] > 0 else "Use the best trial")
    folder = tmp_path / ("ensemble" if gain[0] > 0 else "best")
    assert str(folder) in said
