"""Baselines and finds are scored alike, and what was fitted once is not fitted again."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from search.appraisal import comparing
from search.appraisal.comparing import Find, compare, compared
from search.appraisal.estimators import ESTIMATORS, Estimator
from search.appraisal.fitting import Predictions, fit_baselines
from search.export import export_best
from search.store.artifacts import Shelf
from search.store.storage import load_study, open_storage
from trainer.experiment import held_out_probabilities
from trainer.loop.validation import fit_thresholds
from trainer.predict import predict_frame
from trainer.scores.bootstrap import bootstrap
from trainer.scores.evaluation import threshold_tensor

PLAIN = [one for one in ESTIMATORS if not one.package]


@pytest.fixture(scope="module")
def found(session):
    """The best trial of the session's study."""
    study = load_study(open_storage(session.url), session.definition.name)
    checkpoint = export_best(session, study, Shelf(study, session.shelf_folder))
    return Find(checkpoint, checkpoint.record.validation["macro_f1"])


def own_predictions(session, found):
    """What the best trial itself says, as if it were a baseline."""
    experiment = session.experiment
    columns = experiment.table.columns.iloc[experiment.test_rows]
    held_out = held_out_probabilities(found.checkpoint, experiment)
    return Predictions(held_out, predict_frame(found.checkpoint, columns), (), 0.0)


def test_the_best_trial_as_a_baseline_has_its_own_scores_and_no_difference(session, found):
    experiment, record = session.experiment, found.checkpoint.record
    result = compared(experiment, {"trial": found}, {"twin": own_predictions(session, found)})
    twin = result.baselines["twin"]
    assert twin.validation.macro_f1 == pytest.approx(record.validation["macro_f1"], abs=1e-12)
    assert twin.test.macro_f1 == pytest.approx(record.test["macro_f1"])
    assert twin.test.macro_average_precision == pytest.approx(
        record.test["macro_average_precision"]
    )
    assert twin.test.interval == pytest.approx(record.test["intervals"]["macro"]["f1"])
    difference = twin.difference["trial"]
    assert (difference.validation, difference.test) == pytest.approx((0, 0), abs=1e-12)
    assert difference.validation_interval == pytest.approx((0, 0), abs=1e-12)
    assert result.found["trial"].test == record.test["macro_f1"]


def test_thresholds_and_intervals_are_those_of_a_trial(session, found):
    experiment = session.experiment
    predicted = fit_baselines(experiment, PLAIN[1:2], seed=0)
    (name, one), config = next(iter(predicted.items())), found.checkpoint.record.config
    scored = compared(experiment, {"trial": found}, predicted).baselines[name]
    chosen = fit_thresholds(one.held_out, experiment.data, config)
    assert scored.validation.macro_f1 == chosen.evaluation.macro_f1
    rows, labels = experiment.test_rows, experiment.data.labels
    intervals = bootstrap(
        one.test,
        torch.from_numpy(experiment.table.labels[rows]),
        threshold_tensor(chosen.thresholds, labels),
        labels,
        experiment.table.groups[rows],
    )
    assert scored.test.interval == pytest.approx(intervals.macro["f1"])
    scores = scored.difference["trial"]
    assert scores.test == pytest.approx(
        scored.test.macro_f1 - found.checkpoint.record.test["macro_f1"]
    )


def test_a_corrected_score_moves_the_difference_and_its_interval_alike(session, found):
    experiment = session.experiment
    predicted = fit_baselines(experiment, PLAIN[:1], seed=0)
    honest = replace(found, validated=found.validated - 0.01)
    result = compared(experiment, {"as it is": found, "corrected": honest}, predicted)
    as_it_is, corrected = result.baselines["prevalence"].difference.values()
    assert corrected.validation - as_it_is.validation == pytest.approx(0.01)
    moved = np.subtract(corrected.validation_interval, as_it_is.validation_interval)
    assert moved.tolist() == pytest.approx([0.01, 0.01])
    assert corrected.test == as_it_is.test
    own, found_so = result.baselines["prevalence"].validation, result.found["corrected"].validated
    assert corrected.validation == pytest.approx(own.macro_f1 - found_so, abs=1e-12)


def test_what_was_fitted_is_kept_and_not_fitted_again(session, found, monkeypatch):
    first = compare(session, {"trial": found}, estimators=PLAIN)
    with monkeypatch.context() as patched:
        patched.setattr(comparing, "fit_baselines", None)
        again = compare(session, {"trial": found}, estimators=PLAIN)
    assert again == first
    other = replace(session, definition=session.definition.model_copy(update={"seed": 1}))
    asked = []
    real = comparing.fit_baselines
    monkeypatch.setattr(
        comparing, "fit_baselines", lambda e, some, **k: asked.append(some) or real(e, some, **k)
    )
    compare(other, {"trial": found}, estimators=PLAIN)
    assert [one.name for one in asked[0]] == [one.name for one in PLAIN]
    for file in session.workspace.baselines(session.definition.name).iterdir():
        file.write_bytes(b"\0" * 20)
    assert compare(session, {"trial": found}, estimators=PLAIN).found == first.found


def test_a_baseline_that_fails_or_is_not_installed_takes_nothing_from_the_others(session, found):
    class Broken:
        def fit(self, x, y):
            raise ValueError("can't")

        def get_params(self):
            return {}

    some = [
        Estimator("broken", lambda seed: Broken()),
        Estimator("missing", lambda seed: Broken(), package="no_such_package"),
        *PLAIN[:1],
    ]
    result = compare(session, {"trial": found}, estimators=some)
    assert result.failed == {"broken": "ValueError: can't"}
    assert list(result.scored) == ["prevalence"]
