"""Ask a wave of trials, train it side by side, until the study has its trials.

A wave's trials are asked freely where steps run in C. Where they run in torch, only the first is;
the others share its structural hyperparameters and so its stack. In each epoch every member reports
before any is judged: the order within a wave changes no decision. Places that pruned and finished
trials leave are filled with new trials.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import PartialFixedSampler
from optuna.trial import Trial

from search.space.space import (
    STRUCTURAL,
    conditional_choices,
    distributions,
    known_recipes,
    resolve_config,
)
from search.store.attributes import FIXED, RECIPE
from search.store.complaints import StudyFullError
from search.store.stale import claim, give_back
from search.store.transactions import ask, counts
from search.waves.progress import Progress, run_of_failures
from search.waves.resampled import ResampledEpochs, ResampledScores
from search.waves.wave import Asked, Wave
from studies.definition import StudyDefinition
from trainer.loop.fit import TrainResult
from trainer.stack.tensors import TrainingData
from trainer.steps.epoch import stacks_pay

STACKS_A_WAVE = 2  # trials a wave may have in all, in stacks


def enqueue_recipes(study: optuna.Study, definition: StudyDefinition) -> None:
    """Put the known recipes that a study lacks in front: in an empty one, plain BCE is trial 0."""
    trials = study.get_trials(deepcopy=False)
    there = {trial.user_attrs.get(RECIPE) for trial in trials if counts(trial)}
    for name, (searched, fixed) in known_recipes(definition).items():
        if name not in there:
            study.enqueue_trial(searched, user_attrs={RECIPE: name, FIXED: fixed})


class Search:
    """A study being searched over one table's tensors until its trials, or its time, are up.

    Several processes may search one study. `environment` is noted with every trial. `should_stop`
    is asked after each epoch; then the running trials end with what they have. `on_progress` hears
    of every epoch and trial, `on_result` of every trial that ends complete.
    """

    def __init__(
        self,
        study: optuna.Study,
        data: TrainingData,
        definition: StudyDefinition,
        *,
        environment: Mapping[str, str] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
        on_progress: Callable[[Progress], None] = lambda progress: None,
        on_result: Callable[[int, float, TrainResult], None] = lambda number, value, result: None,
    ) -> None:
        self.study, self.data, self.definition = study, data, definition
        self.environment = environment or {}
        self.should_stop, self.on_progress, self.on_result = should_stop, on_progress, on_result
        self.conditional_choices = conditional_choices(definition)
        space = distributions(definition)
        self.space = {key: space[key] for key in space if key not in self.conditional_choices}
        self.progress = Progress(definition.budget.trials, definition.budget.timeout_seconds)
        self.stack = definition.stack
        self.one_shape = stacks_pay(data.device)
        self.resampled = ResampledScores(data, definition.objective)
        self._held: deque[Asked] = deque()  # asked, but of no shape that fits the wave before

    def run(self) -> Progress:
        """Search until the budget's number of trials is done in all, or `should_stop` says so."""
        enqueue_recipes(self.study, self.definition)
        self.progress.count(self.study)
        self._show(self.progress)
        while (self._held or self.progress.left) and not self.should_stop():
            try:
                members = self._ask_wave()
            except StudyFullError:  # another process has asked the last trial meanwhile
                self.progress.count(self.study)
                continue
            left_over = self._wave(members).train(self.data)
            if left_over:
                self.stack = max(1, len(left_over) // 2)
                self._held.extendleft(reversed(left_over))
            trials = self.study.get_trials(deepcopy=False)
            self.progress.tally(trials)
            if reason := run_of_failures(trials):
                self.progress.gave_up = reason
                break
        give_back(self.study, [asked.trial for asked in self._held])
        self.progress.count(self.study)
        self._show(self.progress)
        return self.progress

    def _show(self, progress: Progress) -> None:
        progress.climb()
        self.on_progress(progress)

    def _begin(self, members: Sequence[Asked]) -> None:
        for asked in members:
            self.progress.begin(asked.trial.number, asked.config.model_dump(mode="json"))

    def _wave(self, members: list[Asked]) -> Wave:
        self._begin(members)
        return Wave(
            study=self.study,
            objective=self.definition.objective,
            environment=self.environment,
            progress=self.progress,
            should_stop=self.should_stop,
            on_progress=self._show,
            on_result=self.on_result,
            resampled=ResampledEpochs(self.resampled),
            ask_more=self._ask_more,
            members=members,
            held=self._held,
        )

    def _ask_wave(self) -> list[Asked]:
        """Return trials that fit together, at most a stack; one that was held back goes first."""
        wave = [self._held.popleft() if self._held else self._ask({})]
        for asked in [asked for asked in self._held if self._fits(asked, wave)]:
            if len(wave) < self.stack:
                self._held.remove(asked)
                wave.append(asked)
        for asked in self._ask_for(wave, self.stack - len(wave) - len(self._held)):
            (wave if self._fits(asked, wave) else self._held).append(asked)
        return wave

    def _ask_more(self, wave: Sequence[Asked], free: int) -> list[Asked]:
        """Ask trials that fit a wave for its free places, unless it has had enough of them."""
        allowed = self.stack * STACKS_A_WAVE - len(wave)
        joining: list[Asked] = []
        for asked in self._ask_for(wave, min(free, allowed)):
            (joining if self._fits(asked, wave) else self._held).append(asked)
        self._begin(joining)
        return joining

    def _ask_for(self, wave: Sequence[Asked], most: int) -> Iterator[Asked]:
        """Ask trials for a wave, one by one, while the study has some left: others ask too."""
        for _ in range(most):
            self.progress.count(self.study)
            if not self.progress.left:
                return
            try:
                asked = self._ask(self._shape(wave[0]))
            except StudyFullError:
                return
            yield asked

    def _ask(self, shared: Mapping[str, Any]) -> Asked:
        free = self.study.sampler
        try:
            if shared:
                self.study.sampler = PartialFixedSampler(dict(shared), free)
            trial = self._claimed()
        finally:
            self.study.sampler = free
        fixed = trial.user_attrs.get(FIXED, {})
        config = resolve_config(self.definition, trial.params, fixed, trial.number)
        return Asked(trial, config)

    def _claimed(self) -> Trial:
        """Ask a trial and claim it; one that another process took for dead meanwhile is let go.

        What its recipe fixes is no parameter of it.
        """
        while True:
            trial = ask(self.study, self.space, self.progress.total)
            with suppress(UpdateFinishedTrialError):
                claim(self.study, [trial])
                for key, choices in self.conditional_choices.items():
                    if key not in trial.user_attrs.get(FIXED, {}):
                        trial.suggest_categorical(key, choices)
                return trial

    def _shape(self, asked: Asked) -> dict[str, Any]:
        """Return what the other trials of its wave must share with a trial."""
        shared = STRUCTURAL if self.one_shape else ()
        return {key: getattr(asked.config, key) for key in shared if key in self.space}

    def _fits(self, asked: Asked, wave: Sequence[Asked]) -> bool:
        """Whether a trial can train beside those of a wave."""
        own, first = asked.config, wave[0].config
        same_shape = not self.one_shape or own.stack_key == first.stack_key
        return same_shape and own.decision_key == first.decision_key
