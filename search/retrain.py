"""A trial trained again: is it the same, bit for bit, and what is it worth over seeds?"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

from search.comparison import compare, compare_networks
from search.export import retrained
from search.session import Session
from search.space.objective import value_of
from search.space.space import trial_seed
from search.store.records import TrialRecord
from search.waves.environment import environment
from search.waves.resampled import ResampledEpochs, ResampledScores
from trainer.checkpoint import Checkpoint
from trainer.config import TrainConfig
from trainer.experiment import finished
from trainer.loop.fit import fit
from trainer.refit import refit_all

FIRST_FRESH_SEED = 1_000_000  # beyond any trial's number


@dataclass(frozen=True)
class Retrained:
    """A trial's checkpoint made anew; `difference` is empty if it came out bit for bit.

    `unknown` names what can't be compared, since nothing of it is kept.
    """

    checkpoint: Checkpoint
    difference: str
    unknown: tuple[str, ...] = ()


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


def retrain(session: Session, record: TrialRecord, kept: Checkpoint | None = None) -> Retrained:
    """Train a trial alone and compare with all that is stored of it, and with what was `kept`."""
    scores = ResampledScores(session.experiment.data, session.definition.objective)
    epochs = ResampledEpochs(scores)
    config = TrainConfig.create(**record.config)
    result = retrained(session, record, lambda report: epochs.note(report, [config]))
    checkpoint = session.checkpoint(record.number, record.value, result)
    at_best = scores.of(result)
    resampled = epochs.of(0, result), {} if at_best is None else at_best.stored()
    compared = compare(record, result, session.definition.objective, resampled)
    apart = [*compared.apart, *(() if kept is None else compare_networks(kept, checkpoint))]
    unknown = [*compared.unknown, *(["the weights"] if kept is None else [])]
    difference = f"{', '.join(apart[:4])} (likely cause: {_cause(record)})" if apart else ""
    return Retrained(finished(checkpoint, session.experiment), difference, tuple(unknown))


def _cause(record: TrialRecord) -> str:
    causes = [
        f"{key} {before} -> {now}"
        for key, now in environment().items()
        if (before := record.environment.get(key, now)) != now
    ]
    changed = "what is stored was changed, or another processor or BLAS, perhaps"
    return "; ".join(causes) if causes else changed


def refit(session: Session, record: TrialRecord) -> Checkpoint:
    """Train a trial's config on train and validation rows for its best epoch's number of steps."""
    config = TrainConfig.create(**record.config)
    checkpoint = refit_all(session.experiment, config, record.best_epoch)
    trial = {**session.trial(record.number, record.value, config), "refit": "all"}
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
