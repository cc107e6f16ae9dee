"""How many folds hold out rows: as a definition says, or chosen by what the table can bear.

One validation part is enough where its rarest label has many positives, and all that can be had
where time does not suffice for folds. Elsewhere folds make every row but test a row to score on.
"""

import time
from typing import NamedTuple

from studies.definition import Budget
from trainer.config import TrainConfig
from trainer.data.split import Split
from trainer.data.table import Table
from trainer.experiment import Experiment
from trainer.loop.fit import fit
from trainer.stack.tensors import TrainingData, one_fold

AUTO_FOLDS = 5
ENOUGH_POSITIVES = 500  # of the rarest label in one validation part
LEAST_TRIALS = 20  # that a time limit must allow on folds
EPOCHS_A_TRIAL = 20  # pruned trials counted in


class Choice(NamedTuple):
    """A number of folds, and the sentence that says why."""

    folds: int
    why: str


def by_positives(table: Table, split: Split) -> Choice:
    """Choose by how many positives of the rarest label one validation part would hold."""
    positives = (table.labels[split.validation] > 0).sum(axis=0)
    rarest = int(positives.argmin())
    name, count = table.roles.labels[rarest], int(positives[rarest])
    where = f"the rarest label, {name}, has {count} positives in one validation part"
    if count >= ENOUGH_POSITIVES:
        return Choice(1, f"Trials are scored on one validation part: {where}, which is enough.")
    return Choice(
        AUTO_FOLDS, f"Trials are scored on {AUTO_FOLDS} folds: {where}, too few to choose by."
    )


def by_time(experiment: Experiment, budget: Budget, workers: int) -> Choice | None:
    """Choose one part where a time limit does not allow some 20 trials on folds; else None.

    One epoch of an ordinary network is trained on a fold to tell.
    """
    if not budget.timeout_seconds:
        return None
    an_epoch = seconds_an_epoch(experiment.data, TrainConfig())
    a_trial = an_epoch * EPOCHS_A_TRIAL
    trials = int(budget.timeout_seconds * workers / a_trial)
    if trials >= LEAST_TRIALS:
        return None
    allowed = f"about {trials} trials" if trials > 1 else "hardly a trial"
    return Choice(
        1,
        f"Trials are scored on one validation part: {budget.timeout_seconds:g} s allow {allowed} "
        f"on {experiment.settings.folds} folds, too few to search with.",
    )


def seconds_an_epoch(data: TrainingData, config: TrainConfig) -> float:
    """Return about how long an epoch of one run takes: it is trained on the first fold to tell."""
    first, quick = one_fold(data, 0), config.model_copy(update={"epochs": 1})
    fit(first, [quick])  # the first time, steps may have to be compiled
    started = time.perf_counter()
    fit(first, [quick])
    return (time.perf_counter() - started) * len(data.folds)
