"""A trial's scores on rows drawn anew, with the choice of its epoch made again on each draw."""

import dataclasses
import math

import pytest
import torch

from search.waves.resampled import ResampledEpochs, ResampledScores
from trainer.config import TrainConfig
from trainer.data.table import Roles, read_table
from trainer.experiment import SplitSettings, place_experiment
from trainer.loop.fit import fit
from trainer.loop.validation import cross_fitted_decisions
from trainer.scores.metrics import Counts
from trainer.scores.selection import Resamples

ROLES = Roles(("rare", "rarer"), group="family", id=("person",))
CONFIGS = [
    TrainConfig.create(
        batch_size=64, hidden_dim=16, epochs=5, lr=1e-2, seed=k, early_stop_metric=metric
    )
    for k, metric in enumerate(("macro_f1", "macro_f1", "macro_recall"))
]


@pytest.fixture(scope="module")
def data(table_csv):
    settings = SplitSettings(0.2, 0.2, seed=3, folds=4)
    return place_experiment(read_table(table_csv, ROLES), settings, torch.device("cpu")).data


def followed(data, objective, configs=CONFIGS):
    """Results, what is kept of each, and each run's probabilities epoch by epoch."""
    epochs = ResampledEpochs(ResampledScores(data, objective))
    seen = {run: [] for run in range(len(configs))}

    def on_epoch(report):
        epochs.note(report, [configs[run] for run in report.runs])
        for k, run in enumerate(report.runs):
            seen[run].append(report.validation.held_out[k].clone())
        return [True] * len(report.runs)

    results = fit(data, configs, on_epoch)
    return results, [epochs.of(run, result) for run, result in enumerate(results)], seen


def test_each_draw_chooses_an_epoch_of_its_own(data):
    """Against a loop over the draws that scores every epoch."""
    _, kept, seen = followed(data, "macro_f1")
    resamples = Resamples(data.y_validation, data.groups)
    for run in (0, 1):
        scored = [
            resamples.decided(cross_fitted_decisions(p, data, CONFIGS[run]), Counts.f_beta)
            for p in seen[run]
        ]
        drawn = [[float(s.nanmean()) for s in of_epoch[0]] for of_epoch in scored]
        left_out = [[float(s.nanmean()) for s in of_epoch[1]] for of_epoch in scored]
        chosen = set()
        for r in range(len(drawn[0])):
            epoch = max(range(len(drawn)), key=lambda e, r=r: drawn[e][r])
            chosen.add(epoch)
            assert kept[run]["drawn"][r] == pytest.approx(drawn[epoch][r], abs=1e-5)
            assert kept[run]["left_out"][r] == pytest.approx(left_out[epoch][r], abs=1e-5)
        assert len(chosen) > 1


@pytest.mark.parametrize("objective", ["macro_f1", "average_precision", "f1:rarer"])
def test_an_epoch_that_the_objective_did_not_choose_is_scored_as_it_is(data, objective):
    results, kept, _ = followed(data, objective)
    assert results[2].config.early_stop_metric == "macro_recall"
    assert kept[2] == ResampledScores(data, objective).of(results[2]).stored()
    assert ("macro_f1" in kept[2]) == (objective != "macro_f1")


def test_epochs_that_a_ranking_chose_are_not_scored_one_by_one(data):
    config = CONFIGS[0].model_copy(update={"early_stop_metric": "average_precision"})
    (result,), (kept,), _ = followed(data, "average_precision", [config])
    assert kept == ResampledScores(data, "average_precision").of(result).stored()


def test_the_macro_f1_of_another_objective_is_that_of_the_epochs_it_chose(data):
    configs = [CONFIGS[2]]
    _, (kept,), _ = followed(data, "macro_recall", configs)
    at_best = ResampledScores(data, "macro_recall").of(fit(data, configs)[0]).stored()
    assert kept.keys() == at_best.keys() == {"drawn", "left_out", "macro_f1"}
    assert all(now >= best for now, best in zip(kept["drawn"], at_best["drawn"], strict=True))


def test_a_run_beside_others_keeps_what_it_keeps_alone(data):
    _, together, _ = followed(data, "macro_f1")
    for run, config in enumerate(CONFIGS):
        _, alone, _ = followed(data, "macro_f1", [config])
        assert alone[0] == together[run]


def test_nothing_is_kept_of_a_run_without_a_finite_epoch(data):
    folds = [
        dataclasses.replace(fold, x_train=torch.full_like(fold.x_train, math.inf))
        for fold in data.folds
    ]
    broken = dataclasses.replace(data, folds=tuple(folds))
    results, (kept,), _ = followed(broken, "macro_f1", CONFIGS[:1])
    assert results[0].best_epoch == 0
    assert kept == {}
