"""Successive halving for trials that run side by side.

Optuna's own pruner compares a trial with those judged before it, so that of a wave the first is
always promoted. Here a rung is decided from the reported values alone: all of a wave report, then
each is judged, and their order changes nothing.
"""

import math

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial


class Halving(BasePruner):
    """Keep the best 1 / `reduction_factor` of the trials that have reached each rung.

    Rungs are epochs `first_rung` * `reduction_factor` ** i. With several `brackets`, trial n begins
    at rung n % brackets and competes within its bracket only, so that late bloomers have a chance.

    Source: Li et al. 2020, arXiv:1810.05934, algorithm 2 (asynchronous successive halving); the
    brackets are those of Hyperband, Li et al. 2018, arXiv:1603.06560.
    """

    def __init__(self, first_rung: int = 5, reduction_factor: int = 3, brackets: int = 1) -> None:
        self.first_rung = first_rung
        self.reduction_factor = reduction_factor
        self.brackets = brackets

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Return whether a trial that just reported at a rung is not among the best there."""
        step = trial.last_step
        bracket = trial.number % self.brackets
        if step is None or not self._is_rung(step, bracket):
            return False
        rivals = [
            _best_until(other, step)
            for other in study.get_trials(deepcopy=False)
            if other.number % self.brackets == bracket and step in other.intermediate_values
        ]
        own = _best_until(trial, step)
        better = sum(value > own for value in rivals)
        return better >= math.ceil(len(rivals) / self.reduction_factor)

    def _is_rung(self, step: int, bracket: int) -> bool:
        rung = self.first_rung * self.reduction_factor**bracket
        while rung < step:
            rung *= self.reduction_factor
        return bool(rung == step)


def _best_until(trial: FrozenTrial, step: int) -> float:
    return max(value for at, value in trial.intermediate_values.items() if at <= step)
