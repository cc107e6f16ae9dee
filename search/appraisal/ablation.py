"""The winning configuration against itself with one remedy taken away: what is that remedy worth?

Each of the two is trained with the same new seeds on the same folds, and their cross-fitted scores
on the held-out rows are compared as in trainer.scores.paired. The seed that the trial was searched
with is not among them: it is one of many, of which the search kept the luckiest.

All other settings stay as the search tuned them, which it did with the remedy in place and on these
very rows, so that a remedy may still look a little better than it would on others.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from search.appraisal.certificate import ALL, Certificate, Worth
from search.appraisal.interval import bounds
from search.folds import seconds_an_epoch
from search.session import Session
from search.space.objective import value_in
from search.space.space import trial_seed
from search.store.records import TrialRecord
from search.waves.resampled import ResampledScores
from search.waves.runs import Run, train_runs
from trainer.config import TrainConfig
from trainer.loop.validation import cross_fitted_decisions
from trainer.scores.bootstrap import RESAMPLES
from trainer.scores.paired import differences
from trainer.stack.tensors import TrainingData
from trainer.wording import class_weights

SEEDS = 3
FIRST_SEED = 2_000_000  # beyond any trial's number, and beyond the seeds of `confirm`
EPOCHS_OVER = 2  # times those of the trial, which others may need

NO_LOSS: dict[str, Any] = {"loss_type": "bce"}
NO_WEIGHTS: dict[str, Any] = {"class_weight_method": "none", "class_weight_multiplier": 1.0}
NO_SAMPLING: dict[str, Any] = {"weight_method": "none"}


def removals(config: TrainConfig) -> dict[str, dict[str, Any]]:
    """Return the settings that take away each remedy that a config uses, and all if it uses more.

    Bce has no class weights. So a loss that is weighted becomes weighted_bce, which is focal at
    gamma 0, and weighted_bce without weights becomes bce.
    """
    is_weighted = bool(class_weights(config.model_dump()))
    found = {}
    if config.loss_type == "focal" and config.focal_gamma > 0:
        found["focal loss"] = {"loss_type": "weighted_bce"} if is_weighted else NO_LOSS
    if is_weighted:
        found["class weights"] = NO_WEIGHTS | (
            NO_LOSS if config.loss_type == "weighted_bce" else {}
        )
    if config.weight_method != "none":
        found["row sampling"] = NO_SAMPLING
    if len(found) > 1:
        found[ALL] = NO_LOSS | NO_WEIGHTS | NO_SAMPLING
    return found


def configurations(session: Session, record: TrialRecord, seeds: int) -> list[list[TrainConfig]]:
    """Return the configs to train, `seeds` of them with all remedies, then as many without each.

    Their epochs are alike: at most twice as many as the trial had, and no more than it might have.
    """
    winner = TrainConfig.create(**record.config)
    epochs = min(winner.epochs, EPOCHS_OVER * max(1, record.epochs))
    return [
        [
            winner.model_copy(
                update={
                    **without,
                    "epochs": epochs,
                    "seed": trial_seed(session.definition.seed, FIRST_SEED + i),
                }
            )
            for i in range(seeds)
        ]
        for without in ({}, *removals(winner).values())
    ]


def expected_seconds(session: Session, record: TrialRecord, seeds: int) -> float:
    """Return how long `certify` will take, about: as many epochs a run as the trial had."""
    runs = sum(map(len, configurations(session, record, seeds)))
    if runs == seeds:
        return 0.0
    config = TrainConfig.create(**record.config)
    an_epoch = seconds_an_epoch(session.experiment.data, config)
    return an_epoch * record.epochs * runs / min(session.definition.workers, runs)


def certify(
    session: Session,
    record: TrialRecord,
    *,
    seeds: int = SEEDS,
    should_stop: Callable[[], bool] = lambda: False,
    on_run: Callable[[int, int], None] = lambda ended, all_runs: None,
) -> Certificate:
    """Train a trial's configuration with and without each remedy, and say what each is worth.

    `on_run` hears how many runs have ended, of how many. Raises StoppedError if `should_stop` says
    so, RaretuneError if a process dies.
    """
    ways = configurations(session, record, seeds)
    configs = [config for way in ways for config in way]
    without = removals(TrainConfig.create(**record.config))
    runs = train_runs(
        session.experiment.data,
        configs if without else [],
        workers=session.definition.workers,
        stack=session.definition.stack,
        should_stop=should_stop,
        on_run=lambda ended: on_run(ended, len(configs)),
    )
    of_ways = [runs[i : i + seeds] for i in range(0, len(runs), seeds)]
    return Certificate(
        trial=record.number,
        objective=session.definition.objective,
        seeds=seeds,
        epochs=ways[0][0].epochs,
        remedies=_worth(session, without, of_ways),
    )


def _worth(
    session: Session,
    without: Mapping[str, dict[str, Any]],
    of_ways: Sequence[Sequence[Run]],
) -> list[Worth]:
    """Compare the runs with all remedies, the first, with those without each of them."""
    if not without:
        return []
    data, objective = session.experiment.data, session.definition.objective
    resampled = ResampledScores(data, objective, resamples=RESAMPLES)
    scored = [[_drawn(data, resampled, run) for run in of_way] for of_way in of_ways]
    scores = [[value_in(run.scores, objective) for run in of_way] for of_way in of_ways]
    drawn = torch.stack([torch.stack(of_way) for of_way in scored])
    compared = differences(torch.tensor(scores, dtype=torch.float64), drawn)
    return [
        Worth(
            remedy=name, without=dict(changed), difference=one.value, interval=bounds(one.interval)
        )
        for (name, changed), one in zip(without.items(), compared, strict=True)
    ]


def _drawn(data: TrainingData, resampled: ResampledScores, run: Run) -> Tensor:
    """Return a run's objective on rows drawn anew, (R,); nan where all are one single group."""
    decisions = cross_fitted_decisions(run.held_out, data, run.config)
    drawn = resampled.score(run.held_out, decisions).drawn
    one_group = data.groups is not None and len(set(data.groups.tolist())) == 1
    return drawn * torch.nan if one_group else drawn
