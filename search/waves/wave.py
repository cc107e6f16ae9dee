"""One wave: trials that train side by side, report every epoch, are judged and told."""

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import optuna
import torch
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import Trial, TrialState

from search.space.objective import value_of, values_of
from search.store.attributes import (
    AVERAGE_PRECISION,
    BEST_EPOCH,
    CONFIG,
    DIAGNOSIS,
    ENVIRONMENT,
    EPOCHS,
    FAILURE,
    LABELS,
    MACRO_F1,
    PREDICTED_SHARE,
    RECALL,
    RECIPE,
    RESAMPLED,
    SCORES,
    SECONDS,
    SIGNS,
    STACK,
    STOPPED,
)
from search.store.storage import HEARTBEAT_SECONDS
from search.store.transactions import beat, report_epoch, set_attributes, should_prune
from search.waves.progress import Progress
from search.waves.resampled import ResampledEpochs
from trainer.config import TrainConfig
from trainer.diagnosis import diagnose
from trainer.loop.fit import EpochReport, TrainResult, fit
from trainer.stack.tensors import TrainingData

LABEL_SCORES = ("threshold", "f1", "precision", "recall", "predicted_share", "prevalence")
OUT_OF_MEMORY = "out of memory, alone in its stack; lower hidden_dim or batch_size in the space"


@dataclass(frozen=True)
class Asked:
    """A trial that waits to be trained, with its resolved config."""

    trial: Trial
    config: TrainConfig

    @property
    def is_recipe(self) -> bool:
        """Whether the trial is one of the known recipes, which are never pruned."""
        return RECIPE in self.trial.user_attrs


@dataclass
class Wave:
    """The trials that begin together, and those that join them, by their place in `fit`.

    `ask_more` is asked for so many trials that fit as places are free; `on_result` hears of every
    trial that ends complete. Those get their `resampled` scores too.
    """

    study: optuna.Study
    objective: str
    environment: Mapping[str, str]
    progress: Progress
    should_stop: Callable[[], bool]
    on_progress: Callable[[Progress], None]
    on_result: Callable[[int, float, TrainResult], None]
    resampled: ResampledEpochs
    ask_more: Callable[[Sequence[Asked], int], list[Asked]]
    members: list[Asked]
    held: Collection[Asked]  # asked for a later wave: they live as well
    _running: dict[int, float] = field(default_factory=dict)  # member -> when it began
    _pruned: set[int] = field(default_factory=set)
    _beat: float = -math.inf
    _prevalence: Mapping[str, float] = field(default_factory=dict)  # of the validation rows

    def train(self, data: TrainingData) -> list[Asked]:
        """Train to the end; return the members that are left over, if memory did not suffice."""
        self._begin(range(len(self.members)))
        configs = [asked.config for asked in self.members]
        self._prevalence = data.prevalence
        try:
            fit(data, configs, self._judge, on_result=self._tell, refill=self._refill)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
        left_over = [self.members[member] for member in self._running]
        for asked in left_over:
            self.progress.running.pop(asked.trial.number, None)
        if len(left_over) == 1:
            with suppress(UpdateFinishedTrialError):
                self._fail(left_over.pop(), OUT_OF_MEMORY)
        return left_over

    def _begin(self, members: Sequence[int]) -> None:
        self._running.update(dict.fromkeys(members, time.monotonic()))

    def _refill(self, free: int) -> list[TrainConfig]:
        if self.should_stop():
            return []
        joining = self.ask_more(self.members, free)
        first = len(self.members)
        self.members += joining
        self._begin(range(first, len(self.members)))
        return [asked.config for asked in joining]

    def _judge(self, report: EpochReport) -> list[bool]:
        """Report all members, then judge each: whether it goes on."""
        members = [self.members[member] for member in report.runs]
        if time.monotonic() - self._beat > HEARTBEAT_SECONDS:
            self._beat = time.monotonic()
            beat(self.study, [asked.trial for asked in (*members, *self.held)])
        self.resampled.note(report, [asked.config for asked in members])
        values = values_of(report, self.objective, list(self._prevalence))
        told = list(zip(members, report.epochs, values, strict=True))
        lost = set(
            report_epoch(self.study, [(a.trial, at, v) for a, at, v in told if math.isfinite(v)])
        )
        for asked, epoch, value in told:
            self.progress.running[asked.trial.number] = (epoch, value)
        self.progress.model_epochs += len(members)
        self.on_progress(self.progress)
        if self.should_stop():
            return [False] * len(members)
        prune = should_prune(self.study, [asked.trial for asked in members])
        go_on = []
        for member, asked, is_weak in zip(report.runs, members, prune, strict=True):
            if is_weak and not asked.is_recipe:
                self._pruned.add(member)
            go_on.append(member not in self._pruned and asked.trial.number not in lost)
        return go_on

    def _tell(self, member: int, result: TrainResult) -> None:
        """End a member's trial; one that another process has ended meanwhile is left as it is."""
        asked, number = self.members[member], self.members[member].trial.number
        stack = [self.members[other].trial.number for other in self._running]
        seconds = time.monotonic() - self._running.pop(member)
        self.progress.running.pop(number, None)
        value = value_of(result, self.objective)
        is_pruned = member in self._pruned and result.stopped == "caller"
        with suppress(UpdateFinishedTrialError):
            described = self._describe(result, stack, seconds)
            if not is_pruned:
                described[RESAMPLED] = self.resampled.of(member, result)
            set_attributes(self.study, asked.trial, described)
            if not math.isfinite(value):
                self._fail(asked, f"the loss was not finite in epoch {len(result.history)}")
            elif is_pruned:
                self.study.tell(asked.trial, state=TrialState.PRUNED)
            else:
                self.study.tell(asked.trial, value)
                self.on_result(number, value, result)
        self.progress.count(self.study)
        self.on_progress(self.progress)

    def _describe(self, result: TrainResult, stack: list[int], seconds: float) -> dict[str, Any]:
        signs = diagnose(result.history, result.config, self._prevalence, result.evaluation)
        return {
            **columns(result),
            SECONDS: round(seconds, 3),
            DIAGNOSIS: "; ".join(sign.name for sign in signs),
            EPOCHS: len(result.history),
            STOPPED: result.stopped,
            LABELS: per_label(result),
            SIGNS: [
                {"name": one.name, "words": one.words, "remedies": list(one.flags)} for one in signs
            ],
            SCORES: {k: v for k, v in result.scores.items() if math.isfinite(v)},
            CONFIG: result.config.model_dump(mode="json"),
            STACK: stack,
            ENVIRONMENT: dict(self.environment),
        }

    def _fail(self, asked: Asked, reason: str) -> None:
        set_attributes(self.study, asked.trial, {FAILURE: reason})
        self.study.tell(asked.trial, state=TrialState.FAIL)


def columns(result: TrainResult) -> dict[str, float]:
    """Return what a table of trials can be sorted by: scores of the best epoch, means over labels.

    A score that is undefined is left out, as all are where no epoch had finite losses.
    """
    found: dict[str, float] = {BEST_EPOCH: result.best_epoch}
    if result.evaluation is None:
        return found
    labels = result.evaluation.labels.values()
    scores = {
        MACRO_F1: result.scores["macro_f1"],
        AVERAGE_PRECISION: result.scores["average_precision"],
        RECALL: result.scores["macro_recall"],
        PREDICTED_SHARE: fmean(label.predicted_share for label in labels),
    }
    return {key: value for key, value in scores.items() if math.isfinite(value)} | found


def per_label(result: TrainResult) -> dict[str, dict[str, float]]:
    """Return each label's threshold and validated scores at the best epoch, to six digits."""
    if result.evaluation is None:
        return {}
    return {
        name: {key: float(f"{getattr(label, key):.6g}") for key in LABEL_SCORES}
        for name, label in result.evaluation.labels.items()
    }


def _is_out_of_memory(error: Exception) -> bool:
    """Whether torch, on a GPU or on the CPU, or Python itself ran out of memory."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or "can't allocate memory" in str(error)
