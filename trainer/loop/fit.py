"""Train K configurations side by side; a single run is K = 1.

    results = fit(data, configs, on_epoch)

A run has a member in each fold of the data. After each epoch the scores of its pooled held-out rows
go to `on_epoch`, which says who goes on: the one seam to a search. Runs leave when they are told
to, when they stop improving, when they have had their epochs or when their loss is no longer
finite; others may take their places. Whoever comes or goes, each member trains as if it were alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from trainer.config import TrainConfig
from trainer.errors import CheckpointError, ConfigError
from trainer.loop.history import HistoryRow, history_row, improves, is_finite, macro_scores
from trainer.loop.members import Members
from trainer.loop.resume import MemberState, RunState
from trainer.loop.validation import Validation, fit_thresholds
from trainer.scores.evaluation import Evaluation
from trainer.stack.model import Shape, named_parameters
from trainer.stack.tensors import TrainingData
from trainer.steps.inference import predict_probabilities

StopReason = Literal["epochs", "patience", "caller", "non_finite"]


@dataclass(frozen=True)
class EpochReport:
    """One epoch: which runs trained, which epoch of theirs it was, how they score.

    `runs`, K of them, count the configs given to `fit`, then those that joined, in their order.
    `epochs` (K,) count from 1; `scores` maps the names of `Validation.macro` to (K,) values; `loss`
    (K,) is the mean training loss.
    """

    runs: Sequence[int]
    epochs: Sequence[int]
    scores: Mapping[str, Sequence[float]]
    loss: Sequence[float]
    validation: Validation

    def row(self, k: int) -> HistoryRow:
        """Return the k-th run's epoch as a row of its history, without single labels."""
        scores = {name: values[k] for name, values in self.scores.items()}
        return history_row(self.epochs[k], self.loss[k], scores)


OnEpoch = Callable[[EpochReport], Sequence[bool]]
OnResult = Callable[[int, "TrainResult"], None]
Refill = Callable[[int], Sequence[TrainConfig]]
OnState = Callable[[RunState], None]


@dataclass(frozen=True)
class TrainResult:
    """One run's best epoch, the same for all its folds.

    `networks` has each fold's parameters, float32 on the CPU, named and shaped as in
    trainer.stack.model; it is empty, and `thresholds`, `evaluation` and `held_out` are None, if no
    epoch had finite scores. `scores` are the validation scores of the best epoch, `history` has a
    row an epoch, `held_out` (V, L) the probabilities of the pooled rows at the best epoch. `shrunk`
    names labels whose thresholds lean on the pooled labels for want of positives.
    """

    config: TrainConfig
    history: list[HistoryRow]
    best_epoch: int
    stopped: StopReason
    scores: dict[str, float]
    networks: tuple[dict[str, Tensor], ...]
    thresholds: dict[str, float] | None
    evaluation: Evaluation | None
    held_out: Tensor | None
    shrunk: tuple[str, ...] = ()


@dataclass
class _Run:
    """Bookkeeping of one run: its history, and its members' parameters at the best epoch."""

    config: TrainConfig
    keep_last: bool = False
    history: list[HistoryRow] = field(default_factory=list)
    best_epoch: int = 0
    best_parameters: list[Tensor] = field(default_factory=list)
    stopped: StopReason | None = None

    def record(self, row: HistoryRow, parameters: Sequence[Tensor]) -> None:
        """Note an epoch, keep its parameters (P,) if they are the best, decide whether to stop."""
        best = self.history[self.best_epoch - 1] if self.best_epoch else None
        self.history.append(row)
        if improves(row, best, self.config) or (self.keep_last and is_finite(row)):
            self.best_epoch = len(self.history)
            self.best_parameters = [of_fold.clone() for of_fold in parameters]
        self._decide()

    def restore(self, state: RunState, device: torch.device) -> None:
        """Go back to a state: as if its epochs had been recorded here."""
        self.history = [dict(row) for row in state.history]
        self.best_epoch = state.best_epoch
        kept = [member.best_parameters for member in state.members]
        self.best_parameters = [of_fold.to(device) for of_fold in kept if of_fold is not None]
        self._decide()

    def _decide(self) -> None:
        if not is_finite(self.history[-1]):
            self.stopped = "non_finite"
        elif len(self.history) >= self.config.epochs:
            self.stopped = "epochs"
        elif len(self.history) - self.best_epoch >= self.config.early_stop_patience:
            self.stopped = "patience"


@contextmanager
def _denormals_flushed() -> Iterator[None]:
    """Round denormal numbers to 0: AdamW's second moments turn into them, and they are slow."""
    smallest = torch.tensor(torch.finfo(torch.float32).tiny)
    before = bool(smallest / 2 == 0)  # torch does not tell
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


@_denormals_flushed()
def fit(
    data: TrainingData,
    configs: Sequence[TrainConfig],
    on_epoch: OnEpoch | None = None,
    *,
    on_result: OnResult | None = None,
    refill: Refill | None = None,
    on_state: OnState | None = None,
    resume: RunState | None = None,
    keep_last: bool = False,
) -> list[TrainResult]:
    """Train the configs together and return their results in the same order.

    All must share their `decision_key` (ConfigError). `on_epoch` gets an EpochReport after each
    epoch and returns K booleans: which of `report.runs` go on. `on_result` gets a run's number and
    its result as soon as it leaves. `refill` is then asked for up to as many configs as places are
    free; their results follow those of the first configs.

    With `keep_last`, each epoch counts as better than those before: for a run whose length is known
    and whose validation rows are not to choose anything.

    A single run hands its state to `on_state` after each epoch; from such a state, given as
    `resume`, it resumes bit for bit.
    """
    if not configs:
        return []
    members, runs, results = Members(data), list[_Run](), dict[int, TrainResult]()

    def join(joining: Sequence[TrainConfig]) -> None:
        _check_thresholds(joining, configs[0])
        members.add(range(len(runs), len(runs) + len(joining)), joining)
        runs.extend(_Run(config, keep_last) for config in joining)

    def leave(leaving: Sequence[int]) -> None:
        for run in leaving:
            shapes = [place.stack.shape for place in members.places(run)]
            results[run] = _finish(runs[run], data, shapes)
            if on_result is not None:
                on_result(run, results[run])
        members.drop(leaving)

    join(configs)
    if resume is not None:
        _restore(members, runs[0], resume)
        leave([0] if runs[0].stopped else [])
    while training := members.runs:
        loss = members.train_epoch()
        report = _report(training, runs, loss, members.validate())
        for k, run in enumerate(training):
            runs[run].record(_row(report, k, data.labels), members.parameters(run))
        if on_state is not None:
            on_state(_state(members, runs[0]))
        if on_epoch is not None:
            for run, goes_on in zip(training, on_epoch(report), strict=True):
                if not goes_on and runs[run].stopped is None:
                    runs[run].stopped = "caller"
        left = [run for run in training if runs[run].stopped is not None]
        leave(left)
        if left and refill is not None:
            join(list(refill(len(left))))
    return [results[run] for run in range(len(runs))]


def _state(members: Members, run: _Run) -> RunState:
    """Return the state of the only run, number 0."""
    best: Sequence[Tensor | None] = run.best_parameters or [None] * len(members.data.folds)
    states = [
        MemberState(
            parameters=stack.parameters[k].clone(),
            mean=stack.optimizer.mean[k].clone(),
            square=stack.optimizer.square[k].clone(),
            steps=stack.optimizer.steps[k].clone(),
            generator=stack.generators[k].get_state(),
            best_parameters=of_fold,
        )
        for (stack, k), of_fold in zip(members.places(0), best, strict=True)
    ]
    return RunState(tuple(states), run.best_epoch, list(run.history))


def _restore(members: Members, run: _Run, state: RunState) -> None:
    """Bring the only run to a state; raises CheckpointError if it does not fit."""
    places = members.places(0)
    of_state = [member.parameters.shape for member in state.members]
    if of_state != [stack.parameters[k].shape for stack, k in places]:
        raise CheckpointError("the interrupted run is of another shape; start the run again")
    for (stack, k), member in zip(places, state.members, strict=True):
        stack.parameters[k] = member.parameters
        stack.optimizer.mean[k] = member.mean
        stack.optimizer.square[k] = member.square
        stack.optimizer.steps[k] = member.steps
        stack.generators[k].set_state(member.generator)
    run.restore(state, members.data.device)


def _check_thresholds(configs: Sequence[TrainConfig], first: TrainConfig) -> None:
    for config in configs:
        if config.decision_key != first.decision_key:
            raise ConfigError(
                "configs that train side by side must share optimize_thresholds and "
                f"threshold_metric, got {first.decision_key} and {config.decision_key}"
            )


def _report(
    training: Sequence[int], runs: Sequence[_Run], loss: Sequence[float], validation: Validation
) -> EpochReport:
    scores = {name: values.tolist() for name, values in validation.macro.items()}
    epochs = tuple(len(runs[run].history) + 1 for run in training)
    return EpochReport(tuple(training), epochs, scores, loss, validation)


def _row(report: EpochReport, k: int, labels: Sequence[str]) -> HistoryRow:
    row = report.row(k)
    for i, label in enumerate(labels):
        row[f"f1_{label}"] = float(report.validation.f1[k, i])
        row[f"predicted_share_{label}"] = float(report.validation.predicted_share[k, i])
    return row


def _finish(run: _Run, data: TrainingData, shapes: Sequence[Shape]) -> TrainResult:
    """Go back to the best epoch and choose the thresholds there, from held-out rows only."""
    if run.stopped is None:
        raise AssertionError("a run ends with a reason")
    if not run.best_parameters:
        return TrainResult(run.config, run.history, 0, run.stopped, {}, (), None, None, None)
    of_folds = [
        predict_probabilities(parameters[None], shape, fold.x_validation)[0]
        for parameters, shape, fold in zip(run.best_parameters, shapes, data.folds, strict=True)
    ]
    held_out = data.pool(of_folds).cpu()
    chosen = fit_thresholds(held_out, data, run.config)
    named = [
        named_parameters(parameters, shape)
        for parameters, shape in zip(run.best_parameters, shapes, strict=True)
    ]
    return TrainResult(
        config=run.config,
        history=run.history,
        best_epoch=run.best_epoch,
        stopped=run.stopped,
        scores=macro_scores(run.history[run.best_epoch - 1]),
        networks=tuple({name: t.cpu() for name, t in of_fold.items()} for of_fold in named),
        thresholds=chosen.thresholds,
        evaluation=chosen.evaluation,
        held_out=held_out,
        shrunk=chosen.shrunk,
    )
