"""How far a search has come, counted from its study, whichever processes work on it."""

import math
from dataclasses import dataclass, field

import optuna
from optuna.trial import TrialState

RECIPE, FIXED, FAILURE = "recipe", "fixed", "failure"  # attributes of a trial


@dataclass
class Progress:
    """Trials of a study; `running` maps numbers to (epoch, latest objective).

    A trial that failed by itself counts as done, one that was lost with its process does not.
    `stopped` says why a search gave up, if it did.
    """

    total: int
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    asked: int = 0
    best_number: int | None = None
    best_value: float = -math.inf
    running: dict[int, tuple[int, float]] = field(default_factory=dict)
    model_epochs: int = 0
    stopped: str = ""

    @property
    def done(self) -> int:
        """Trials that have ended, however."""
        return self.complete + self.pruned + self.failed

    @property
    def left(self) -> int:
        """Trials that are neither done nor asked by any process."""
        return max(0, self.total - self.done - self.asked)

    def count(self, study: optuna.Study) -> None:
        """Count the study's trials anew."""
        trials = study.get_trials(deepcopy=False)
        states = [trial.state for trial in trials]
        self.complete = states.count(TrialState.COMPLETE)
        self.pruned = states.count(TrialState.PRUNED)
        self.asked = states.count(TrialState.RUNNING)
        self.failed = sum(t.state == TrialState.FAIL and FAILURE in t.user_attrs for t in trials)
        for trial in trials:
            if trial.state == TrialState.COMPLETE and trial.values[0] > self.best_value:
                self.best_number, self.best_value = trial.number, trial.values[0]
