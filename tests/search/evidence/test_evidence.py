import json

import optuna
import pytest
import torch

from search.evidence.evidence import (
    ColumnImportance,
    Contender,
    Evidence,
    LabelCalibration,
    LabelEvidence,
    LabelTest,
    TableFacts,
    store,
    stored,
)
from search.store.attributes import EVIDENCE
from trainer.scores.calibration import Calibration, calibrated_thresholds
from trainer.scores.reliability import decision_curve

ROWS = torch.linspace(0, 1, 700), (torch.arange(700) % 3 == 0).float()
SCORES = {when: {"brier": 1 / 3, "slope": None} for when in ("before", "after")}
LARGEST_PIECE = 60_000  # MySQL's TEXT holds 65,535 bytes


def label_evidence(name, cuts=300):
    """A label with as much to say as there can be."""
    return LabelEvidence(
        label=name,
        threshold=0.1234567,
        rows=1_000_000,
        positives=99_999,
        cuts=[1 / (i + 1.5) for i in range(cuts)],
        true_positives=[99_000 + i for i in range(cuts)],
        false_positives=[880_000 + i for i in range(cuts)],
        predicted=[0.1 + i / 30 for i in range(10)],
        observed=[0.1 + i / 30 for i in range(10)],
        bin_rows=[100_000] * 10,
        low=[0.1 + i / 31 for i in range(10)],
        high=[0.1 + i / 29 for i in range(10)],
        columns=[
            ColumnImportance(column="änderung" * 12 + str(i), drop=1 / (i + 3), spread=1 / 3)
            for i in range(8)
        ],
        test=LabelTest(
            precision=0.1,
            recall=0.2,
            f1=0.3,
            average_precision=0.4,
            roc_auc=None,
            support=1,
            true_positives=1,
            false_positives=2,
            false_negatives=3,
            true_negatives=4,
            intervals={"f1": (0.1, 0.2), "roc_auc": (None, None)},
            calibration=SCORES,
        ),
        calibration=LabelCalibration(
            **{"a": 1 / 3, "b": 2 / 3, "c": -1 / 7, "scores": SCORES},
            predicted=[0.1 + i / 30 for i in range(10)],
            observed=[0.1 + i / 30 for i in range(10)],
            bin_rows=[100_000] * 10,
            decisions=decision_curve(dict.fromkeys(("raw", "calibrated"), ROWS[0]), ROWS[1]),
        ),
    )


def evidence(trial=3, labels=("one", "two")):
    return Evidence(
        trial=trial,
        validated=1 / 3,
        macro_f1=0.2,
        interval=(0.1, 1 / 7),
        table=TableFacts(
            file="clinic.csv",
            sha256="0" * 64,
            rows=900,
            features=5,
            group=None,
            train=500,
            validation=200,
            test=200,
            split_seed=0,
            prevalence=dict.fromkeys(labels, 0.1),
        ),
        labels=[label_evidence(name) for name in labels],
        contenders=[
            Contender(
                name="every row positive",
                trial=None,
                validated=None,
                macro_f1=0.1,
                interval=(0.05, 0.15),
                difference=0.1,
                difference_interval=(-0.1, 1 / 9),
            )
        ],
    )


@pytest.fixture(params=["memory", "sqlite", "journal"])
def study(request, tmp_path):
    storages = {
        "memory": lambda: None,
        "sqlite": lambda: f"sqlite:///{tmp_path}/studies.db",
        "journal": lambda: optuna.storages.JournalStorage(
            optuna.storages.journal.JournalFileBackend(str(tmp_path / "log"))
        ),
    }
    return optuna.create_study(storage=storages[request.param](), direction="maximize")


def pieces(study):
    attributes = study._storage.get_study_system_attrs(study._study_id)
    return {key: value for key, value in attributes.items() if key.startswith(EVIDENCE)}


def test_what_is_kept_comes_back_to_the_last_digit(study):
    assert stored(study, 3) is None
    store(study, evidence())
    assert stored(study, 3) == evidence()


def test_no_piece_is_larger_than_a_database_takes(study):
    store(study, evidence(labels=[f"label {i}" for i in range(60)]))
    sizes = [len(json.dumps(piece)) for piece in pieces(study).values()]
    assert len(sizes) == 61
    assert max(sizes) < LARGEST_PIECE


def test_a_new_best_trial_replaces_the_former_ones_pieces(study):
    store(study, evidence(trial=3))
    keys = pieces(study).keys()
    store(study, evidence(trial=5))
    assert pieces(study).keys() == keys
    assert stored(study, 3) is None
    assert stored(study, 5).trial == 5


def test_pieces_of_two_trials_are_no_evidence_of_either(study):
    """As a process leaves them that dies between two pieces."""
    store(study, evidence(trial=3))
    before = pieces(study)
    store(study, evidence(trial=5))
    key = f"{EVIDENCE}label:1"
    study._storage.set_study_system_attr(study._study_id, key, before[key])
    assert stored(study, 3) is None
    assert stored(study, 5) is None


def test_evidence_of_another_format_is_gathered_anew(study):
    store(study, evidence())
    for key, piece in pieces(study).items():
        study._storage.set_study_system_attr(study._study_id, key, {**piece, "format": 0})
    assert stored(study, 3) is None


@pytest.mark.parametrize(
    "piece",
    [
        "text",
        None,
        {},
        {"format": 1, "trial": 3},
        {"format": 1, "trial": 3, "content": {"labels": 2}},
    ],
)
@pytest.mark.parametrize("name", ["rest", "label:1"])
def test_evidence_that_is_not_as_it_was_written_is_gathered_again(study, name, piece):
    store(study, evidence())
    study._storage.set_study_system_attr(study._study_id, EVIDENCE + name, piece)
    assert stored(study, 3) is None


def test_cuts_and_threshold_in_use_are_those_of_what_is_handed_out():
    own = label_evidence("one").model_copy(update={"threshold": 1 / 2.5})
    curve = Calibration(1 / 3, 2 / 3, -1 / 7)
    expected = calibrated_thresholds(torch.tensor(own.cuts), [curve] * len(own.cuts))
    assert own.cuts_in_use == pytest.approx(expected, rel=1e-4)
    assert own.threshold_in_use == own.cuts_in_use[1]
    raw = own.model_copy(update={"calibration": None})
    assert (raw.cuts_in_use, raw.threshold_in_use) == (own.cuts, own.threshold)
