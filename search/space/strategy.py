"""A definition's sampler and pruner as Optuna's, seeded."""

from optuna.pruners import BasePruner, MedianPruner, NopPruner, PatientPruner
from optuna.samplers import BaseSampler, GPSampler, QMCSampler, RandomSampler, TPESampler

from search.space.pruning import Halving
from search.space.space import distributions
from studies.definition import StudyDefinition

STARTUP_TRIALS = 20  # drawn at random before TPE models them, so that each remedy is tried


def make_sampler(definition: StudyDefinition, n_trials_before: int) -> BaseSampler:
    """Return the definition's sampler; a continued study goes on with fresh draws.

    A qmc sequence is the exception: the study knows how far it has come, and it goes on from there.
    Raises ConfigError if the sampler can't search the space.
    """
    seed = (definition.seed * 1_000_003 + n_trials_before) % 2**32
    match definition.sampler:
        case "random":
            return RandomSampler(seed=seed)
        case "gp":
            return GPSampler(seed=seed, warn_independent_sampling=False)
        case "cmaes":
            from search.space.cma import CmaSampler  # slow: brings scipy.stats

            choices = TPESampler(n_startup_trials=STARTUP_TRIALS, seed=seed)
            return CmaSampler(distributions(definition), choices, seed=definition.seed)
        case "qmc":
            return QMCSampler(
                scramble=True,
                seed=definition.seed,
                independent_sampler=RandomSampler(seed=seed),
                warn_independent_sampling=False,
            )
        case "tpe":
            return TPESampler(n_startup_trials=STARTUP_TRIALS, seed=seed)


def make_pruner(definition: StudyDefinition) -> BasePruner:
    """Return the definition's pruner."""
    median = MedianPruner(n_startup_trials=5, n_warmup_steps=5)
    match definition.pruner:
        case "none":
            return NopPruner()
        case "median":
            return median
        case "patient":
            return PatientPruner(median, patience=5)
        case "successive_halving":
            return Halving()
        case "hyperband":
            return Halving(brackets=2)
