"""Train K configurations side by side; a single run is K = 1.

    results = fit(data, configs, on_epoch)

After each epoch the members' scores go to `on_epoch`, which says who goes on: the one seam to a
search. Members leave when they are told to, when they stop improving, when they have had their
epochs or when their loss is no longer finite; others may take their places. Whoever comes or goes,
a member trains as if it were alone.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from trainer.config import TrainConfig
from trainer.errors import CheckpointError, ConfigError
from trainer.loop.judgement import judge
from trainer.loop.members import Stacks
from trainer.loop.resume import HistoryRow, RunState
from trainer.loop.validation import Validation
from trainer.scores.evaluation import Evaluation
from trainer.stack.model import Shape, named_parameters
from trainer.stack.stack import Stack
from trainer.stack.tensors import TrainingData
from trainer.steps.inference import predict_probabilities

StopReason = Literal["epochs", "patience", "caller", "non_finite"]


@dataclass(frozen=True)
class EpochReport:
    """One epoch: who ran, which epoch of theirs it was, how they score.

    `members`, K of them, count the configs given to `fit`, then those that joined, in their order.
    `epochs` (K,) count from 1; `scores` maps the names of `Validation.macro` to (K,) values; `loss`
    (K,) is the mean training loss.
    """

    members: Sequence[int]
    epochs: Sequence[int]
    scores: Mapping[str, Sequence[float]]
    loss: Sequence[float]
    validation: Validation


OnEpoch = Callable[[EpochReport], Sequence[bool]]
OnResult = Callable[[int, "TrainResult"], None]
Refill = Callable[[int], Sequence[TrainConfig]]
OnState = Callable[[RunState], None]


@dataclass(frozen=True)
class TrainResult:
    """One member's best epoch.

    `parameters` are float32 on the CPU, named and shaped as in trainer.stack.model; None, as
    `thresholds` and `evaluation`, if no epoch had finite scores. `scores` are the validation scores
    of the best epoch, `history` has a row an epoch. `shrunk` names labels whose thresholds lean on
    the pooled labels for want of positives.
    """

    config: TrainConfig
    history: list[HistoryRow]
    best_epoch: int
    stopped: StopReason
    scores: dict[str, float]
    parameters: dict[str, Tensor] | None
    thresholds: dict[str, float] | None
    evaluation: Evaluation | None
    shrunk: tuple[str, ...] = ()


@dataclass
class _Run:
    """Bookkeeping of one member."""

    config: TrainConfig
    keep_last: bool = False
    history: list[HistoryRow] = field(default_factory=list)
    best_score: float = -math.inf
    best_epoch: int = 0
    best_parameters: Tensor | None = None
    stopped: StopReason | None = None

    def record(self, row: HistoryRow, parameters: Tensor) -> None:
        """Note an epoch, keep its parameters (P,) if they are the best, decide whether to stop."""
        self.history.append(row)
        score = self._score(row)
        beaten = score > self.best_score + (self.config.min_delta if self.best_epoch else 0)
        if beaten or (self.keep_last and _is_finite(row)):
            self.best_score, self.best_epoch = score, len(self.history)
            self.best_parameters = parameters.clone()
        self._decide()

    def restore(self, state: RunState) -> None:
        """Go back to a state: as if its epochs had been recorded here."""
        self.history = [dict(row) for row in state.history]
        self.best_epoch = state.best_epoch
        self.best_parameters = state.best_parameters
        if self.best_epoch:
            self.best_score = self._score(self.history[self.best_epoch - 1])
        self._decide()

    def _score(self, row: HistoryRow) -> float:
        if not _is_finite(row):
            return -math.inf
        metric = self.config.early_stop_metric
        return -row["validation_loss"] if metric == "loss" else row[metric]

    def _decide(self) -> None:
        if not _is_finite(self.history[-1]):
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

    Configs of one `stack_key` train as one stack; all must share their `decision_key`
    (ConfigError). `on_epoch` gets an EpochReport after each epoch and returns K booleans: which of
    `report.members` go on. `on_result` gets a member and its result as soon as it leaves. `refill`
    is then asked for up to so many configs as places are free; their results follow those of the
    first configs.

    With `keep_last`, each epoch counts as better than those before: for a run whose length is known
    and whose validation rows are not to choose anything.

    A single run hands its state to `on_state` after each epoch; from such a state, as `resume`, it
    goes on to the same bits.
    """
    if not configs:
        return []
    stacks, runs, results = Stacks(data), list[_Run](), dict[int, TrainResult]()

    def join(joining: Sequence[TrainConfig]) -> None:
        _check_thresholds(joining, configs[0])
        stacks.add(range(len(runs), len(runs) + len(joining)), joining)
        runs.extend(_Run(config, keep_last) for config in joining)

    def leave(members: Sequence[int]) -> None:
        for member in members:
            results[member] = _finish(runs[member], data, stacks.place(member)[0].shape)
            if on_result is not None:
                on_result(member, results[member])
        stacks.drop(members)

    join(configs)
    if resume is not None:
        _restore(stacks.place(0)[0], runs[0], resume)
        leave([0] if runs[0].stopped else [])
    while members := stacks.members:
        loss = stacks.train_epoch().tolist()
        report = _report(members, runs, loss, stacks.validate())
        for k, (member, parameters) in enumerate(zip(members, stacks.parameters(), strict=True)):
            runs[member].record(_history_row(report, k, data.labels), parameters)
        if on_state is not None:
            on_state(_state(stacks.place(0)[0], runs[0]))
        if on_epoch is not None:
            for member, goes_on in zip(members, on_epoch(report), strict=True):
                if not goes_on and runs[member].stopped is None:
                    runs[member].stopped = "caller"
        left = [member for member in members if runs[member].stopped is not None]
        leave(left)
        if left and refill is not None:
            join(list(refill(len(left))))
    return [results[member] for member in range(len(runs))]


def _state(stack: Stack, run: _Run) -> RunState:
    """Return the state of a stack of one."""
    return RunState(
        parameters=stack.parameters[0].clone(),
        mean=stack.optimizer.mean[0].clone(),
        square=stack.optimizer.square[0].clone(),
        steps=stack.optimizer.steps[0].clone(),
        generator=stack.generators[0].get_state(),
        best_parameters=run.best_parameters,
        best_epoch=run.best_epoch,
        history=list(run.history),
    )


def _restore(stack: Stack, run: _Run, state: RunState) -> None:
    """Bring a stack of one and its run to a state; raises CheckpointError if it does not fit."""
    if len(stack) != 1 or state.parameters.shape != stack.parameters[0].shape:
        raise CheckpointError("the interrupted run is of another shape; start it anew")
    stack.parameters[0] = state.parameters
    stack.optimizer.mean[0] = state.mean
    stack.optimizer.square[0] = state.square
    stack.optimizer.steps[0] = state.steps
    stack.generators[0].set_state(state.generator)
    best = state.best_parameters
    moved = None if best is None else best.to(stack.parameters.device)
    run.restore(replace(state, best_parameters=moved))


def _check_thresholds(configs: Sequence[TrainConfig], first: TrainConfig) -> None:
    for config in configs:
        if config.decision_key != first.decision_key:
            raise ConfigError(
                "configs that train side by side must share optimize_thresholds and "
                f"threshold_metric, got {first.decision_key} and {config.decision_key}"
            )


def _report(
    members: Sequence[int], runs: Sequence[_Run], loss: Sequence[float], validation: Validation
) -> EpochReport:
    scores = {name: values.tolist() for name, values in validation.macro.items()}
    epochs = tuple(len(runs[member].history) + 1 for member in members)
    return EpochReport(tuple(members), epochs, scores, loss, validation)


def _is_finite(row: HistoryRow) -> bool:
    return math.isfinite(row["loss"]) and math.isfinite(row["validation_loss"])


def _history_row(report: EpochReport, k: int, labels: Sequence[str]) -> HistoryRow:
    scores = {name: values[k] for name, values in report.scores.items()}
    row = {"epoch": report.epochs[k], "loss": report.loss[k], "validation_loss": scores.pop("loss")}
    row |= scores
    for i, label in enumerate(labels):
        row[f"f1_{label}"] = float(report.validation.f1[k, i])
        row[f"predicted_share_{label}"] = float(report.validation.predicted_share[k, i])
    return row


def _finish(run: _Run, data: TrainingData, shape: Shape) -> TrainResult:
    """Go back to the best epoch and choose the thresholds there, from validation rows only."""
    if run.stopped is None:
        raise AssertionError("a run ends with a reason")
    if run.best_parameters is None:
        return TrainResult(run.config, run.history, 0, run.stopped, {}, None, None, None)
    probabilities = predict_probabilities(run.best_parameters[None], shape, data.x_validation)[0]
    judged = judge(
        probabilities.cpu(), data.y_validation.cpu(), data.folds.cpu(), data.labels, run.config
    )
    row = run.history[run.best_epoch - 1]
    parameters = named_parameters(run.best_parameters, shape)
    return TrainResult(
        config=run.config,
        history=run.history,
        best_epoch=run.best_epoch,
        stopped=run.stopped,
        scores={k: v for k, v in row.items() if not k.startswith(("f1_", "predicted_share_"))},
        parameters={name: tensor.cpu() for name, tensor in parameters.items()},
        thresholds=judged.thresholds,
        evaluation=judged.evaluation,
        shrunk=judged.shrunk,
    )
