"""Ask a wave of trials, train it as one stack, report and judge every epoch, tell.

A wave's first trial is asked freely; the others with its structural hyperparameters, so that they
share a stack. In each epoch every member reports before any is judged: the order within a wave
changes no decision. Places that pruned and finished trials leave are filled with new trials.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner, PatientPruner
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import Trial, TrialState

from search.pruning import Halving
from search.space import STRUCTURAL, distributions, known_recipes, resolve_config
from search.storage import HEARTBEAT_SECONDS
from studies.definition import StudyDefinition
from trainer.config import TrainConfig
from trainer.data import TrainingData
from trainer.fit import EpochReport, TrainResult, fit

STARTUP_TRIALS = 20  # drawn at random before TPE models them, so that each remedy is tried
STACKS_A_WAVE = 2  # trials a wave may have in all, in stacks
RECIPE, FIXED, FAILURE = "recipe", "fixed", "failure"


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
class Progress:
    """How far a search has come; `running` maps trial numbers to (epoch, latest objective)."""

    total: int
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    best_number: int | None = None
    best_value: float = -math.inf
    running: dict[int, tuple[int, float]] = field(default_factory=dict)
    model_epochs: int = 0

    @property
    def done(self) -> int:
        """Trials that have ended, however."""
        return self.complete + self.pruned + self.failed


def make_sampler(definition: StudyDefinition, n_trials_before: int) -> BaseSampler:
    """Return the definition's sampler; a continued study goes on with fresh draws."""
    seed = (definition.seed * 1_000_003 + n_trials_before) % 2**32
    if definition.sampler == "random":
        return RandomSampler(seed=seed)
    return TPESampler(n_startup_trials=STARTUP_TRIALS, seed=seed)


def make_pruner(definition: StudyDefinition) -> BasePruner:
    """Return the definition's pruner."""
    median = MedianPruner(n_startup_trials=5, n_warmup_steps=5)
    pruners: dict[str, BasePruner] = {
        "none": NopPruner(),
        "median": median,
        "patient": PatientPruner(median, patience=5),
        "successive_halving": Halving(),
        "hyperband": Halving(brackets=2),
    }
    return pruners[definition.pruner]


def enqueue_recipes(study: optuna.Study, definition: StudyDefinition) -> None:
    """Put the known recipes in front of an empty study: plain BCE is trial 0."""
    if study.get_trials(deepcopy=False):
        return
    for name, (searched, fixed) in known_recipes(definition).items():
        study.enqueue_trial(searched, user_attrs={RECIPE: name, FIXED: fixed})


class Search:
    """A study being searched over one table's tensors until its trials, or its time, are up.

    `should_stop` is asked after each epoch; then the running trials end with what they have.
    `on_progress` hears of every epoch and wave, `on_result` of every trial that ends complete.
    """

    def __init__(
        self,
        study: optuna.Study,
        data: TrainingData,
        definition: StudyDefinition,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        on_result: Callable[[int, float, TrainResult], None] = lambda number, value, result: None,
    ) -> None:
        self.study, self.data, self.definition = study, data, definition
        self.should_stop, self.on_progress, self.on_result = should_stop, on_progress, on_result
        self.space = distributions(definition)
        self.progress = Progress(definition.budget.trials)
        self._held: deque[Asked] = deque()  # asked, but of another shape than the wave before
        self._beat = -math.inf

    def run(self) -> Progress:
        """Search until the budget's number of trials is done in all, or `should_stop` says so."""
        if isinstance(self.study._storage, RDBStorage):
            fail_stale_trials(self.study)
        self._count_earlier_trials()
        enqueue_recipes(self.study, self.definition)
        while self.progress.done < self.progress.total and not self.should_stop():
            self._run_wave(self._ask_wave())
        for asked in self._held:
            self.study.tell(asked.trial, state=TrialState.FAIL)
        return self.progress

    def _count_earlier_trials(self) -> None:
        progress = self.progress
        for trial in self.study.get_trials(deepcopy=False):
            progress.complete += trial.state == TrialState.COMPLETE
            progress.pruned += trial.state == TrialState.PRUNED
            progress.failed += trial.state == TrialState.FAIL and FAILURE in trial.user_attrs
            if trial.state == TrialState.COMPLETE:
                self._note_best(trial.number, trial.values[0])

    def _note_best(self, number: int, value: float) -> None:
        if value > self.progress.best_value:
            self.progress.best_number, self.progress.best_value = number, value

    def _ask_wave(self) -> list[Asked]:
        wave = [self._held.popleft() if self._held else self._ask({})]
        wanted = min(self.definition.stack, self.progress.total - self.progress.done)
        shared = self._shape(wave[0])
        for asked in [a for a in self._held if a.config.stack_key == wave[0].config.stack_key]:
            self._held.remove(asked)
            wave.append(asked)
        while len(wave) + len(self._held) < wanted:
            asked = self._ask(shared)
            same = asked.config.stack_key == wave[0].config.stack_key
            (wave if same else self._held).append(asked)
        return wave

    def _ask(self, shared: Mapping[str, Any]) -> Asked:
        free = self.study.sampler
        try:
            if shared:
                self.study.sampler = PartialFixedSampler(dict(shared), free)
            trial = self.study.ask(self.space)
        finally:
            self.study.sampler = free
        fixed = trial.user_attrs.get(FIXED, {})
        config = resolve_config(self.definition, trial.params, fixed, trial.number)
        return Asked(trial, config)

    def _run_wave(self, wave: list[Asked]) -> None:
        """Train a wave; places that come free are filled until it has had its share of trials."""
        pruned: set[int] = set()
        self._heartbeat(wave)
        stack = [asked.trial.number for asked in wave]
        started = dict.fromkeys(range(len(wave)), time.monotonic())

        def on_epoch(report: EpochReport) -> list[bool]:
            return self._judge(wave, report, pruned)

        def on_result(member: int, result: TrainResult) -> None:
            asked = wave[member]
            self.progress.running.pop(asked.trial.number, None)
            seconds = time.monotonic() - started[member]
            self._describe(asked, result, stack, seconds)
            self._tell(asked, result, was_pruned=member in pruned)
            stack.remove(asked.trial.number)
            self.on_progress(self.progress)

        def refill(free: int) -> list[TrainConfig]:
            joining = self._ask_more(wave, free)
            now = time.monotonic()
            started.update({len(wave) + i: now for i in range(len(joining))})
            wave.extend(joining)
            stack.extend(asked.trial.number for asked in joining)
            return [asked.config for asked in joining]

        configs = [asked.config for asked in wave]
        fit(self.data, configs, on_epoch, on_result=on_result, refill=refill)

    def _ask_more(self, wave: list[Asked], free: int) -> list[Asked]:
        """Ask trials of a wave's shape for its free places, unless it has had enough of them."""
        if self.should_stop():
            return []
        running = len(self.progress.running) + len(self._held)
        left = self.progress.total - self.progress.done - running
        allowed = self.definition.stack * STACKS_A_WAVE - len(wave)
        shared = self._shape(wave[0])
        return [self._ask(shared) for _ in range(min(free, left, allowed))]

    def _judge(self, wave: list[Asked], report: EpochReport, pruned: set[int]) -> list[bool]:
        """Report all members, then judge each: whether it goes on."""
        members = [wave[member] for member in report.members]
        self._heartbeat(members)
        values = report.scores[self.definition.objective]
        for asked, epoch, value in zip(members, report.epochs, values, strict=True):
            if math.isfinite(value):
                asked.trial.report(value, epoch)
            self.progress.running[asked.trial.number] = (epoch, value)
        self.progress.model_epochs += len(members)
        self.on_progress(self.progress)
        if self.should_stop():
            return [False] * len(members)
        go_on = [asked.is_recipe or not asked.trial.should_prune() for asked in members]
        pruned.update(m for m, stays in zip(report.members, go_on, strict=True) if not stays)
        return go_on

    def _shape(self, asked: Asked) -> dict[str, Any]:
        """Return what the other trials of its wave must share with a trial."""
        return {key: getattr(asked.config, key) for key in STRUCTURAL if key in self.space}

    def _heartbeat(self, wave: list[Asked]) -> None:
        storage = self.study._storage
        if isinstance(storage, RDBStorage) and time.monotonic() - self._beat > HEARTBEAT_SECONDS:
            self._beat = time.monotonic()
            for asked in [*wave, *self._held]:
                storage.record_heartbeat(asked.trial._trial_id)

    def _describe(
        self, asked: Asked, result: TrainResult, stack: list[int], seconds: float
    ) -> None:
        attributes = {
            "config": result.config.model_dump(mode="json"),
            "stack": list(stack),
            "scores": {k: v for k, v in result.scores.items() if math.isfinite(v)},
            "best_epoch": result.best_epoch,
            "epochs": len(result.history),
            "stopped": result.stopped,
            "seconds": round(seconds, 3),
        }
        for key, value in attributes.items():
            asked.trial.set_user_attr(key, value)

    def _tell(self, asked: Asked, result: TrainResult, *, was_pruned: bool) -> None:
        value = result.scores.get(self.definition.objective, math.nan)
        if not math.isfinite(value):
            reason = f"the loss was not finite in epoch {len(result.history)}"
            asked.trial.set_user_attr(FAILURE, reason)
            self.study.tell(asked.trial, state=TrialState.FAIL)
            self.progress.failed += 1
        elif was_pruned and result.stopped == "caller":
            self.study.tell(asked.trial, state=TrialState.PRUNED)
            self.progress.pruned += 1
        else:
            self.study.tell(asked.trial, value)
            self.progress.complete += 1
            self._note_best(asked.trial.number, value)
            self.on_result(asked.trial.number, value, result)
