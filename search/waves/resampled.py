"""A trial's score on rows drawn anew, kept with it: what the correction for the search needs.

A search chooses a trial, and a trial chooses its epoch. Both choices flatter the score, so where
epochs are chosen by the objective, each draw of the rows chooses an epoch of its own.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from studies.definition import LABEL_OBJECTIVE
from trainer.config import TrainConfig
from trainer.loop.fit import EpochReport, TrainResult
from trainer.loop.validation import cross_fitted_decisions
from trainer.scores.metrics import Counts
from trainer.scores.selection import RESAMPLES, LabelScore, Resamples
from trainer.stack.tensors import TrainingData

LABEL_SCORES: dict[str, LabelScore] = {
    "macro_f1": Counts.f_beta,
    "macro_recall": Counts.recall,
    "balanced_accuracy": Counts.balanced_accuracy,
}


class Drawn(NamedTuple):
    """Scores over R draws, (R,) each: of the rows drawn, and of those left out.

    `macro_f1` is that of the rows left out where the objective is another one, else None.
    """

    drawn: Tensor
    left_out: Tensor
    macro_f1: Tensor | None = None

    def stored(self) -> dict[str, list[float]]:
        """Return the scores to five digits, as a database keeps them; an undefined one is -1."""
        return {
            name: [round(score, 5) for score in scores.nan_to_num(nan=-1.0).tolist()]
            for name, scores in self._asdict().items()
            if scores is not None
        }


class ResampledScores:
    """Scores results of one table by an objective, on the same draws of its held-out rows."""

    def __init__(self, data: TrainingData, objective: str, *, resamples: int = RESAMPLES) -> None:
        self.data, self.objective, self.resamples = data, objective, resamples

    @cached_property
    def _labels(self) -> Tensor:
        return self.data.y_validation.cpu()

    @cached_property
    def _resamples(self) -> Resamples:
        return Resamples(self._labels, self.data.groups, resamples=self.resamples)

    def of(self, result: TrainResult) -> Drawn | None:
        """Return the scores of a result's best epoch; None for one without a finite epoch."""
        if result.held_out is None:
            return None
        decisions = cross_fitted_decisions(result.held_out, self.data, result.config)
        return self.score(result.held_out, decisions)

    def score(self, held_out: Tensor, decisions: Tensor) -> Drawn:
        """Score probabilities and decisions of the pool's rows, (V, L) each, on every draw."""
        if self.objective == "average_precision":
            drawn, left_out = self._resamples.average_precision(held_out)
        else:
            by = LABEL_SCORES.get(self.objective, Counts.f_beta)
            drawn, left_out = self._resamples.decided(decisions, by)
        if self.objective.startswith(LABEL_OBJECTIVE):
            i = self.data.labels.index(self.objective.removeprefix(LABEL_OBJECTIVE))
            drawn, left_out = drawn[:, [i]], left_out[:, [i]]
        scores = drawn.nanmean(dim=1), left_out.nanmean(dim=1)
        if self.objective == "macro_f1":
            return Drawn(*scores)
        f1 = self._resamples.decided(decisions, Counts.f_beta)[1]
        return Drawn(*scores, f1.nanmean(dim=1))


class ResampledEpochs:
    """Scores of the epochs of some runs that train together; `note` hears of each epoch."""

    def __init__(self, scores: ResampledScores) -> None:
        self.scores = scores
        self._epochs: dict[int, list[Drawn]] = {}

    def note(self, report: EpochReport, configs: Sequence[TrainConfig]) -> None:
        """Score the epoch of a report's K runs, of these configs, whose epochs need it."""
        cross_fold = self.scores.data.cross_fold
        for k, (run, config) in enumerate(zip(report.runs, configs, strict=True)):
            if self._chooses_epochs(config):
                decisions = report.validation.decisions(k, cross_fold).cpu()
                scored = self.scores.score(report.validation.held_out[k], decisions)
                self._epochs.setdefault(run, []).append(scored)

    def of(self, run: int, result: TrainResult) -> dict[str, list[float]]:
        """Return what a study keeps of a run that ended, nothing without a finite epoch."""
        epochs = self._epochs.pop(run, [])
        if self._chooses_epochs(result.config) and result.best_epoch:
            return _best_of_each_draw(epochs).stored()
        at_best = self.scores.of(result)
        return {} if at_best is None else at_best.stored()

    def _chooses_epochs(self, config: TrainConfig) -> bool:
        """Whether epochs are chosen by the objective; a ranking takes too long to score anew."""
        objective = self.scores.objective
        return objective in LABEL_SCORES and config.early_stop_metric == objective


def _best_of_each_draw(epochs: Sequence[Drawn]) -> Drawn:
    """Choose the best epoch on the rows of each draw, the first of equal ones."""
    drawn = torch.stack([epoch.drawn for epoch in epochs])
    chosen = drawn.nan_to_num(nan=-torch.inf).argmax(dim=0)[None]
    left_out = torch.stack([epoch.left_out for epoch in epochs])
    found = Drawn(drawn.gather(0, chosen)[0], left_out.gather(0, chosen)[0])
    f1 = [epoch.macro_f1 for epoch in epochs if epoch.macro_f1 is not None]
    return found._replace(macro_f1=torch.stack(f1).gather(0, chosen)[0]) if f1 else found
