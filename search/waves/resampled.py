"""A trial's score on rows drawn anew, kept with it: what the correction for the search needs."""

from functools import cached_property

from torch import Tensor

from studies.definition import LABEL_OBJECTIVE
from trainer.loop.fit import TrainResult
from trainer.loop.validation import cross_fitted_decisions
from trainer.scores.metrics import Counts
from trainer.scores.selection import LabelScore, Resamples
from trainer.stack.tensors import TrainingData

LABEL_SCORES: dict[str, LabelScore] = {
    "macro_f1": Counts.f_beta,
    "macro_recall": Counts.recall,
    "balanced_accuracy": Counts.balanced_accuracy,
}


class ResampledScores:
    """Scores results of one table by an objective, on the same draws of its held-out rows."""

    def __init__(self, data: TrainingData, objective: str) -> None:
        self.data, self.objective = data, objective

    @cached_property
    def _labels(self) -> Tensor:
        return self.data.y_validation.cpu()

    @cached_property
    def _resamples(self) -> Resamples:
        return Resamples(self._labels, self.data.groups)

    def of(self, result: TrainResult) -> dict[str, list[float]]:
        """Return the objective on the rows drawn and on those left out, a value for each draw.

        Where the objective is another one, "macro_f1" has that of the rows left out. Nothing for a
        result without a finite epoch.
        """
        if result.held_out is None:
            return {}
        decisions = cross_fitted_decisions(result.held_out, self.data, result.config)
        drawn, left_out = self._objective(result.held_out, decisions)
        found = {"drawn": _rounded(drawn), "left_out": _rounded(left_out)}
        if self.objective != "macro_f1":
            f1 = self._resamples.decided(decisions, Counts.f_beta)[1]
            found["macro_f1"] = _rounded(f1.nanmean(dim=1))
        return found

    def _objective(self, held_out: Tensor, decisions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the objective on the rows drawn and left out, (R,) each."""
        if self.objective.startswith(LABEL_OBJECTIVE):
            i = self.data.labels.index(self.objective.removeprefix(LABEL_OBJECTIVE))
            drawn, left_out = self._resamples.decided(decisions, Counts.f_beta)
            return drawn[:, i], left_out[:, i]
        if self.objective == "average_precision":
            drawn, left_out = self._resamples.average_precision(held_out)
        else:
            drawn, left_out = self._resamples.decided(decisions, LABEL_SCORES[self.objective])
        return drawn.nanmean(dim=1), left_out.nanmean(dim=1)


def _rounded(scores: Tensor) -> list[float]:
    """Return scores to five digits, as a database keeps them; an undefined one is -1."""
    return [round(score, 5) for score in scores.nan_to_num(nan=-1.0).tolist()]
