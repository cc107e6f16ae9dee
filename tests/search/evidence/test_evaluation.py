import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from search.evidence.evaluation import COLUMNS, CONSTANT, counts_along_cuts, evaluate_best
from search.evidence.evidence import is_of
from trainer.checkpoint import json_text, load_checkpoint, save_checkpoint
from trainer.config import TrainConfig
from trainer.data.table import Roles
from trainer.experiment import (
    SplitSettings,
    finished,
    held_out_probabilities,
    make_checkpoint,
    prepare_experiment,
    score_rows,
    with_test_scores,
)
from trainer.loop.fit import fit
from trainer.predict import predict_frame
from trainer.scores.calibration import cross_fitted
from trainer.scores.reliability import decision_curve, reliability

ROLES = Roles(("rare", "rarer"), group="family", id=("person",))
CONFIGS = [
    TrainConfig.create(epochs=30, hidden_dim=16, batch_size=32, lr=3e-3, seed=1),
    TrainConfig.create(epochs=30, hidden_dim=16, batch_size=32, lr=1e-4, loss_type="bce", seed=2),
]


def prepared(table_csv, test_size, roles=ROLES):
    """An experiment and the checkpoints of two trials as they are handed over."""
    split = SplitSettings(0.2, test_size, 0)
    experiment = prepare_experiment(table_csv, roles, split, torch.device("cpu"))
    checkpoints = [
        make_checkpoint(experiment, result, {"study": "s", "number": number})
        for number, result in zip((4, 1), fit(experiment.data, CONFIGS), strict=True)
    ]
    return experiment, *[finished(one, experiment) for one in checkpoints]


@pytest.fixture(scope="module")
def trained(table_csv):
    return prepared(table_csv, 0.2)


@pytest.fixture(scope="module")
def evidence(trained):
    experiment, best, rival = trained
    return evaluate_best(experiment, best, {"plain BCE": rival})


def test_counts_at_the_threshold_are_those_of_its_decisions(trained, evidence):
    experiment, best, _ = trained
    rows = experiment.split.validation
    counted = score_rows(best, experiment.table, rows).scores.labels
    for label in evidence.labels:
        place = label.cuts.index(best.record.thresholds[label.label])
        assert label.threshold == best.record.thresholds[label.label]
        assert label.true_positives[place] == counted[label.label].true_positives
        assert label.false_positives[place] == counted[label.label].false_positives
        assert (label.rows, label.positives) == (len(rows), counted[label.label].support)


@settings(max_examples=60, deadline=None)
@given(
    levels=st.sampled_from([3, 20, 10_000]),
    rows=st.integers(1, 900),
    rate=st.sampled_from([0.0, 0.02, 0.6]),
    seed=st.integers(0, 99),
)
def test_counts_along_cuts_are_those_of_each_cut(levels, rows, rate, seed):
    generator = torch.Generator().manual_seed(seed)
    p = (torch.rand(rows, generator=generator) * levels).round() / levels
    y = (torch.rand(rows, generator=generator) < rate).float()
    threshold = float(torch.rand(1, generator=generator))
    found = counts_along_cuts(p, y, threshold)
    assert len(found["cuts"]) <= 300
    assert threshold in found["cuts"]
    assert found["cuts"] == sorted(set(found["cuts"]), reverse=True)
    for i, cut in enumerate(found["cuts"]):
        decided = p.double() >= cut
        assert found["true_positives"][i] == int((decided & (y > 0)).sum())
        assert found["false_positives"][i] == int((decided & (y == 0)).sum())
    assert found["true_positives"][-1] == found["positives"] or threshold < p.min()


def test_cuts_lie_where_each_positive_enters():
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(5000, generator=generator)
    y = (torch.rand(5000, generator=generator) < 0.03).float()
    found = counts_along_cuts(p, y, 0.5)
    assert set(p[y > 0].tolist()) <= set(found["cuts"])
    assert set(range(1, int(y.sum()) + 1)) <= set(found["true_positives"])


def test_bins_are_those_of_the_reliability_diagram_inside_their_intervals(trained, evidence):
    experiment, best, _ = trained
    rows = experiment.split.validation
    p = predict_frame(best, experiment.table.columns.iloc[rows])
    for i, label in enumerate(evidence.labels):
        bins = reliability(p[:, i], torch.from_numpy(experiment.table.labels[rows][:, i]))
        assert label.predicted == pytest.approx(bins.predicted.tolist())
        assert label.bin_rows == bins.rows.tolist()
        bounds = zip(label.low, label.observed, label.high, strict=True)
        assert all(low <= observed <= high for low, observed, high in bounds)


def test_calibration_is_told_of_rows_that_the_curves_never_saw(trained, evidence):
    experiment, best, _ = trained
    data, held_out = experiment.data, held_out_probabilities(best, experiment)
    unseen = cross_fitted(held_out, data.y_validation, data.cross_fold)
    for i, label in enumerate(evidence.labels):
        told, y = label.calibration, data.y_validation[:, i]
        assert told.curve == best.record.calibrations[i]
        assert told.predicted == pytest.approx(reliability(unseen[:, i], y).predicted.tolist())
        expected = decision_curve({"raw": held_out[:, i], "calibrated": unseen[:, i]}, y)
        assert told.decisions == expected
        assert label.threshold_in_use == pytest.approx(
            best.record.thresholds_in_use[label.label], rel=1e-5
        )


def test_evidence_without_a_calibration_is_that_of_a_checkpoint_without(trained, evidence):
    """As an earlier version wrote both; a checkpoint with curves is another one."""
    experiment, best, rival = trained
    assert is_of(evidence, best)
    raw = replace(best, record=best.record.model_copy(update={"calibration": None}))
    found = evaluate_best(experiment, raw, {"plain BCE": rival})
    assert all(label.calibration is None for label in found.labels)
    assert found.labels[0].cuts == found.labels[0].cuts_in_use == evidence.labels[0].cuts
    assert is_of(found, raw)
    assert not is_of(found, best)
    assert not is_of(evidence, raw)


def test_columns_that_the_labels_depend_on_come_first(evidence):
    for label in evidence.labels:
        drops = [one.drop for one in label.columns]
        assert drops == sorted(drops, reverse=True)
        assert len(drops) == min(COLUMNS, evidence.table.features) == 5
        assert label.columns[0].column == "a"
        assert label.columns[0].drop > 2 * abs(label.columns[-1].drop)


def test_test_scores_are_the_checkpoints_own(trained, evidence):
    _, best, _ = trained
    test = best.record.test
    assert evidence.macro_f1 == test["macro_f1"]
    assert evidence.interval == pytest.approx(test["intervals"]["macro"]["f1"])
    for label in evidence.labels:
        own = json.loads(label.test.model_dump_json())
        intervals, calibration = own.pop("intervals"), own.pop("calibration")
        assert calibration == json.loads(json_text(test["calibration"][label.label]))
        assert own.items() <= json.loads(json_text(test["labels"][label.label])).items()
        assert intervals["f1"] == list(test["intervals"]["labels"][label.label]["f1"])


def test_contenders_are_scored_on_the_test_rows(trained, evidence):
    experiment, best, rival = trained
    by_name = {one.name: one for one in evidence.contenders}
    plain, constant = by_name["plain BCE"], by_name[CONSTANT]
    assert (plain.trial, constant.trial, constant.validated) == (1, None, None)
    assert plain.validated == rival.record.validation["macro_f1"]
    assert plain.macro_f1 == pytest.approx(rival.record.test["macro_f1"])
    assert plain.interval == pytest.approx(rival.record.test["intervals"]["macro"]["f1"])
    difference = best.record.test["macro_f1"] - plain.macro_f1
    assert plain.difference == pytest.approx(difference)
    assert plain.difference_interval[0] < difference < plain.difference_interval[1]
    y = experiment.table.labels[experiment.split.test]
    assert constant.macro_f1 == pytest.approx(f1_score(y, np.ones_like(y), average="macro"))


def test_facts_are_those_of_the_table(trained, evidence):
    table, split, facts = trained[0].table, trained[0].split, evidence.table
    assert (facts.train, facts.validation) == (len(split.train), len(split.validation))
    assert facts.train + facts.validation + facts.test == facts.rows == len(table.labels)
    assert facts.group == "family"
    assert facts.prevalence["rare"] == pytest.approx(table.labels[:, 0].mean())


def test_without_test_rows_nothing_is_said_of_them(table_csv):
    experiment, best, rival = prepared(table_csv, 0.0)
    found = evaluate_best(experiment, best, {"plain BCE": rival})
    assert (found.macro_f1, found.interval, found.contenders) == (None, None, [])
    assert all(label.test is None for label in found.labels)
    assert len(found.labels[0].cuts) > 50
    assert found.table.test == 0


def test_test_rows_of_a_single_group_contend_with_nothing(trained):
    experiment, best, rival = trained
    table = replace(experiment.table, groups=np.zeros(len(experiment.table.labels), dtype=int))
    single = replace(experiment, table=table)
    found = evaluate_best(single, with_test_scores(best, single), {"plain BCE": rival})
    assert (found.interval, found.contenders) == (None, [])
    assert found.macro_f1 == best.record.test["macro_f1"]
    assert found.labels[0].test.intervals["f1"] == (None, None)


def test_a_checkpoint_read_from_its_folder_gives_the_same_evidence(trained, evidence, tmp_path):
    experiment, best, rival = trained
    save_checkpoint(tmp_path / "best", best)
    again = evaluate_best(experiment, load_checkpoint(tmp_path / "best"), {"plain BCE": rival})
    assert again == evidence
