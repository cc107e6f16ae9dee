"""Baselines see a fold's train rows alone, and answer for exactly the rows that a trial does."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from search.appraisal.estimators import ESTIMATORS, Estimator, inputs_of, probabilities_of
from search.appraisal.fitting import fit_baselines
from search.waves.runs import StoppedError
from trainer.data.features import fit_features
from trainer.data.table import Roles
from trainer.experiment import SplitSettings, prepare_experiment

ROLES = Roles(("rare", "rarer"), group="family", id=("person",))


class Mean:
    """Answers the train share, and notes what it was fitted on."""

    fitted: list = []  # noqa: RUF012

    def fit(self, x, y):
        Mean.fitted.append((x.copy(), y.copy()))
        self.share = float(y.mean())

    def predict_proba(self, x):
        return np.full((len(x), 2), [1 - self.share, self.share])

    def get_params(self):
        return {}


class Broken(Mean):
    def fit(self, x, y):
        raise RuntimeError("no such thing\nmore")


def experiment_of(csv, **settings):
    given = {"val_size": 0.2, "test_size": 0.2, "seed": 0, "folds": 3, **settings}
    return prepare_experiment(Path(csv), ROLES, SplitSettings(**given), torch.device("cpu"))


@pytest.fixture(scope="module")
def experiment(table_csv):
    return experiment_of(table_csv)


@pytest.fixture
def fitted():
    Mean.fitted.clear()
    return Mean.fitted


def named(name):
    return next(one for one in ESTIMATORS if one.name == name)


@pytest.mark.parametrize("pieces", [True, False])
def test_each_model_sees_the_train_rows_of_its_fold_and_no_other(experiment, fitted, pieces):
    mean = Estimator("mean", lambda seed: Mean(), pieces=pieces)
    fit_baselines(experiment, [mean], seed=0)
    table, seen = experiment.table, iter(fitted)
    for fold in experiment.folds:
        features = fit_features(table, fold.train)
        x = features.transform(table.columns.iloc[fold.train])[:, inputs_of(mean, features)]
        for label in range(2):
            own, y = next(seen)
            np.testing.assert_array_equal(own, x)
            np.testing.assert_array_equal(y, table.labels[fold.train, label])
    assert next(seen, None) is None


def test_pieces_are_what_trees_do_without(experiment):
    features = experiment.features[0]
    names = [features.names[i] for i in inputs_of(Estimator("tree", Mean), features)]
    assert names == [name for name in features.names if " piece " not in name]
    assert {"a", "b", "c", "d", "c missing"} < {*names}


@pytest.mark.parametrize(("folds", "repeats"), [(1, 1), (3, 1), (2, 2)])
def test_pooled_and_test_probabilities_are_those_found_by_hand(table_csv, folds, repeats):
    experiment = experiment_of(table_csv, folds=folds, repeats=repeats)
    found = fit_baselines(experiment, [named("logistic regression")], seed=0)
    predicted, table = found["logistic regression"], experiment.table
    pooled, times, test = np.zeros(table.labels.shape), np.zeros((len(table.labels), 1)), []
    for fold in experiment.folds:
        features = fit_features(table, fold.train)
        x = features.transform(table.columns)
        own = [
            LogisticRegression(C=0.1, max_iter=200)
            .fit(x[fold.train], table.labels[fold.train, label])
            .predict_proba(x)[:, 1]
            for label in range(2)
        ]
        pooled[fold.validation] += np.stack(own, axis=1)[fold.validation]
        times[fold.validation] += 1
        test.append(np.stack(own, axis=1)[experiment.test_rows])
    rows = experiment.held_out_rows
    np.testing.assert_allclose(predicted.held_out, (pooled[rows] / times[rows]), atol=1e-5)
    np.testing.assert_allclose(predicted.test, np.mean(test, axis=0), atol=1e-5)


def test_other_values_in_held_out_and_test_rows_change_nothing_that_is_fitted(
    experiment, table_csv, tmp_path, fitted
):
    mean = Estimator("mean", lambda seed: Mean(), pieces=True)
    fold = experiment.folds[0]
    outside = np.concatenate([fold.validation, experiment.test_rows])
    table = pd.read_csv(table_csv, dtype={"person": str})
    table.loc[outside, ["a", "b", "c", "d"]] *= -7.0
    table.to_csv(tmp_path / "other.csv", index=False)
    other = experiment_of(tmp_path / "other.csv")
    for one in (experiment, other):
        fit_baselines(one, [mean], seed=0)
    labels = 2
    before, after = fitted[:labels], fitted[len(fitted) // 2 :][:labels]
    for (x, y), (x_after, y_after) in zip(before, after, strict=True):
        np.testing.assert_array_equal(x, x_after)
        np.testing.assert_array_equal(y, y_after)


def test_two_processes_come_to_the_same_bits_as_one(experiment):
    wanted = [named("prevalence"), named("HistGradientBoosting")]
    told = []
    alone = fit_baselines(experiment, wanted, seed=0)
    beside = fit_baselines(
        experiment, wanted, seed=0, workers=2, on_progress=lambda *n: told.append(n)
    )
    for name, one in alone.items():
        assert torch.equal(one.held_out, beside[name].held_out)
        assert torch.equal(one.test, beside[name].test)
    assert told[-1] == (12, 12)


def test_a_label_that_train_rows_have_one_value_of_is_predicted_as_that_value():
    x, others = np.zeros((4, 2), np.float32), np.ones((3, 2), np.float32)
    for value in (0, 1):
        y = np.full(4, value, np.float32)
        for one in filter(lambda one: one.installed, ESTIMATORS):
            (found,) = probabilities_of(one, 0, x, y, others)
            assert found.tolist() == [value] * 3


def test_labels_that_could_not_be_learnt_are_named(experiment):
    from dataclasses import replace

    first, *others = experiment.data.folds
    y = first.y_train.clone()
    y[:, 1] = 0
    folds = (replace(first, y_train=y), *others)
    changed = replace(experiment, data=replace(experiment.data, folds=folds))
    found = fit_baselines(changed, [named("prevalence")], seed=0)["prevalence"]
    assert found.unlearnable == ("rarer",)
    assert (found.held_out[first.places, 1] == 0).all()


def test_a_baseline_that_fails_says_why_and_the_others_go_on(experiment):
    wanted = [Estimator("broken", lambda seed: Broken()), named("prevalence")]
    found = fit_baselines(experiment, wanted, seed=0)
    assert found["broken"] == "RuntimeError: no such thing"
    assert found["prevalence"].held_out.shape == experiment.data.y_validation.shape


def test_without_test_rows_there_is_nothing_to_predict_there(table_csv):
    experiment = experiment_of(table_csv, test_size=0.0)
    found = fit_baselines(experiment, [named("HistGradientBoosting")], seed=0)
    assert found["HistGradientBoosting"].test.shape == (0, 2)


@pytest.mark.parametrize("workers", [1, 2])
def test_it_stops_when_told(experiment, workers):
    with pytest.raises(StoppedError):
        fit_baselines(
            experiment, [named("prevalence")], seed=0, workers=workers, should_stop=lambda: True
        )


@pytest.mark.parametrize("name", [one.name for one in ESTIMATORS[1:]])
def test_each_baseline_learns_and_comes_out_the_same_twice(name):
    estimator = named(name)
    if not estimator.installed:
        pytest.skip(f"{name} is not installed: pip install 'raretune[baselines]'")
    random = np.random.default_rng(0)
    x = random.normal(size=(400, 3)).astype(np.float32)
    y = (x[:, 0] + random.normal(size=400) > 1.5).astype(np.float32)
    first, again = (probabilities_of(estimator, 1, x[:300], y[:300], x[300:])[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    assert roc_auc_score(y[300:], first) > 0.7
