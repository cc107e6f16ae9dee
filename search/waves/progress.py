"""How far a search has come, counted from its study, whichever processes work on it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from search.store.attributes import CONFIG, FAILURE

MAX_FAILURES = 10  # trials that fail in a row before a search gives up

Config = Mapping[str, Any]  # a TrainConfig as JSON types


@dataclass
class Progress:
    """Trials of a study; `running` maps numbers to (epoch, latest objective), epoch 0 before any.

    A trial that failed by itself counts as done, one that was lost with its process does not. Of
    running trials, `peaks` has the best objective so far and `configs` the config, where known.
    `timeout` are the seconds after which the search ends, 0 for none. `gave_up` says why a search
    did so, if it did.
    """

    total: int
    timeout: float = 0.0
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    asked: int = 0
    best_number: int | None = None
    best_value: float = -math.inf
    best_config: Config = field(default_factory=dict)
    running: dict[int, tuple[int, float]] = field(default_factory=dict)
    peaks: dict[int, float] = field(default_factory=dict)
    configs: dict[int, Config] = field(default_factory=dict)
    model_epochs: int = 0
    gave_up: str = ""

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
        self.tally(study.get_trials(deepcopy=False))

    def tally(self, trials: Sequence[FrozenTrial]) -> None:
        """Count all trials of a study, as read from it."""
        states = [trial.state for trial in trials]
        self.complete = states.count(TrialState.COMPLETE)
        self.pruned = states.count(TrialState.PRUNED)
        self.asked = states.count(TrialState.RUNNING)
        self.failed = sum(t.state == TrialState.FAIL and FAILURE in t.user_attrs for t in trials)
        for trial in trials:
            if trial.state == TrialState.COMPLETE and trial.values[0] > self.best_value:
                self.best_number, self.best_value = trial.number, trial.values[0]
                self.best_config = trial.user_attrs.get(CONFIG, {})

    def begin(self, number: int, config: Config) -> None:
        """Note that a trial of this process begins to train."""
        self.running[number] = (0, math.nan)
        self.configs[number] = config

    def climb(self) -> None:
        """Raise the peaks to the latest objectives; forget the trials that have ended."""
        for number, (_, value) in self.running.items():
            self.peaks[number] = max(self.peaks.get(number, -math.inf), value)  # nan raises none
        for known in (self.peaks, self.configs):
            for number in known.keys() - self.running.keys():
                del known[number]

    def frozen(self) -> "Progress":
        """Return what it is now, for a thread that reads while the search goes on."""
        return replace(
            self,
            running=dict(self.running),
            peaks=dict(self.peaks),
            configs=dict(self.configs),
        )


def run_of_failures(trials: Sequence[FrozenTrial]) -> str:
    """Return why to give up, if the latest trials to end have all failed by themselves, or "".

    A trial that was lost, or given back untrained, says nothing either way.
    """
    ended = [
        (trial.datetime_complete, trial.number, trial.user_attrs.get(FAILURE, ""))
        for trial in trials
        if trial.datetime_complete is not None
        and (trial.state != TrialState.FAIL or FAILURE in trial.user_attrs)
    ]
    reasons = [reason for _, _, reason in sorted(ended)[-MAX_FAILURES:]]
    if len(reasons) < MAX_FAILURES or not all(reasons):
        return ""
    return f"the last {MAX_FAILURES} trials failed, the latest because {reasons[-1]}"
