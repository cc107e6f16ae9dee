"""A trial trained again: is it the same, bit for bit, and what is it worth over seeds?"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from search.export import train_again
from search.session import Session
from search.space.objective import value_of
from search.space.space import trial_seed
from search.store.records import TrialRecord
from search.waves.environment import environment
from trainer.checkpoint import Checkpoint
from trainer.config import TrainConfig
from trainer.experiment import finished
from trainer.loop.fit import TrainResult, fit
from trainer.refit import refit_all

FIRST_FRESH_SEED = 1_000_000  # beyond any trial's number


@dataclass(frozen=True)
class Retrained:
    """A trial's checkpoint made anew; `difference` is empty if it came out bit for bit."""

    checkpoint: Checkpoint
    difference: str


@dataclass(frozen=True)
class OverSeeds:
    """One trial's objective over fresh seeds.

    `searched` is its value in the study, None if it has none; `spread` the standard deviation.
    """

    number: int
    searched: float | None
    values: list[float]

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return statistics.fmean(self.values)

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds, 0 for one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0


def retrain(session: Session, record: TrialRecord) -> Retrained:
    """Train a trial alone and compare every validation score with the stored one."""
    result = train_again(session, record)
    checkpoint = session.checkpoint(record.number, record.value, result)
    return Retrained(finished(checkpoint, session.experiment), compare(record, result))


def compare(record: TrialRecord, result: TrainResult) -> str:
    """Return how a result differs from a trial's stored scores, and why; "" if it does not."""
    names = sorted(record.scores.keys() & result.scores.keys() - {"epoch"})
    apart = [name for name in names if record.scores[name] != result.scores[name]]
    if not apart and result.best_epoch == record.best_epoch:
        return ""
    shown = [f"{name} {record.scores[name]:.6f} -> {result.scores[name]:.6f}" for name in apart]
    if result.best_epoch != record.best_epoch:
        shown.insert(0, f"best epoch {record.best_epoch} -> {result.best_epoch}")
    causes = [
        f"{key} {before} -> {now}"
        for key, now in environment().items()
        if (before := record.environment.get(key, now)) != now
    ]
    because = "; ".join(causes) if causes else "another processor or BLAS, perhaps"
    return f"{', '.join(shown[:4])} (likely cause: {because})"


def refit(session: Session, record: TrialRecord) -> Checkpoint:
    """Train a trial's config on train and validation rows for its best epoch's number of steps."""
    config = TrainConfig.create(**record.config)
    checkpoint = refit_all(session.experiment, config, record.best_epoch)
    trial = {**session.trial(record.number, record.value), "refit": "all"}
    marked = checkpoint.record.model_copy(update={"trial": trial})
    return replace(checkpoint, record=marked)


def over_seeds(session: Session, records: Sequence[TrialRecord], seeds: int) -> list[OverSeeds]:
    """Train each trial with `seeds` fresh seeds, side by side, best mean first.

    The best of a hundred noisy scores is partly luck, and its mean over fresh seeds is not. Epochs
    are those of the config, however early the trial ended.
    """
    definition, size = session.definition, session.definition.stack
    fresh = [trial_seed(definition.seed, FIRST_FRESH_SEED + i) for i in range(seeds)]
    configs = [
        TrainConfig.create(**record.config).model_copy(update={"seed": seed})
        for record in records
        for seed in fresh
    ]
    values = [
        value_of(result, definition.objective)
        for start in range(0, len(configs), size)
        for result in fit(session.experiment.data, configs[start : start + size])
    ]
    found = [
        OverSeeds(record.number, record.value, values[i * seeds : (i + 1) * seeds])
        for i, record in enumerate(records)
    ]
    return sorted(found, key=lambda one: -one.mean)
