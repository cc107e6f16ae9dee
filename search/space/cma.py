"""CMA-ES for waves: the numbers of the space by CMA-ES, its choices by another sampler.

Optuna's CmaEsSampler keeps its state pickled in the storage, and gives up where the parameters that
are free change, as they do between a wave's first trial and the others. Here the state follows from
the finished trials alone: it is replayed from them, generation by generation, and the parameters
that give a stack its shape are never part of it.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from cmaes import CMA
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from search.space.space import STRUCTURAL
from trainer.errors import ConfigError

MIN_NUMBERS = 2
SIGMA = 1 / 6  # first step size, of each parameter's range

Number = FloatDistribution | IntDistribution


class CmaSampler(BaseSampler):
    """Draws numbers by CMA-ES, and what is no number or gives a stack its shape by `others`.

    A generation is the next so many finished trials by number, whatever the distribution that they
    were drawn from; a pruned one counts with the best value it reported. A trial's draw depends on
    the seed, its number and the finished trials only.

    Source: Hansen 2016, arXiv:1604.00772, as in the package cmaes.
    """

    def __init__(
        self, space: Mapping[str, BaseDistribution], others: BaseSampler, *, seed: int
    ) -> None:
        self.others, self.seed = others, seed
        self.numbers: dict[str, Number] = {
            name: distribution
            for name, distribution in space.items()
            if isinstance(distribution, FloatDistribution | IntDistribution)
            and name not in STRUCTURAL
        }
        if len(self.numbers) < MIN_NUMBERS:
            raise ConfigError(
                f"sampler cmaes needs ranges of at least {MIN_NUMBERS} of the numbers that do not "
                f"shape the network, the space has {len(self.numbers)}; use sampler tpe"
            )

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the numbers, the same for each trial."""
        return dict(self.numbers)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw all numbers of a trial."""
        optimizer = self._replay(study)
        seeds = np.random.SeedSequence([self.seed, trial.number]).generate_state(1)
        optimizer.reseed_rng(int(seeds[0]))
        drawn = zip(self.numbers.items(), optimizer.ask().tolist(), strict=True)
        return {name: _from_unit(place, number) for (name, number), place in drawn}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Draw a choice, or a number that gives a stack its shape."""
        return self.others.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Tell the other sampler that a trial begins."""
        self.others.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Tell the other sampler that a trial ends."""
        self.others.after_trial(study, trial, state, values)

    def _replay(self, study: Study) -> CMA:
        """Return the optimizer after all full generations of finished trials."""
        size = len(self.numbers)
        bounds = np.tile([0.0, 1.0], (size, 1))
        optimizer = CMA(mean=np.full(size, 0.5), sigma=SIGMA, bounds=bounds, seed=0)
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
        solutions = [
            (self._to_unit(trial), -_value(trial))
            for trial in finished
            if math.isfinite(_value(trial)) and self.numbers.keys() <= trial.params.keys()
        ]
        population = optimizer.population_size
        for start in range(0, len(solutions) - population + 1, population):
            optimizer.tell(solutions[start : start + population])
        return optimizer

    def _to_unit(self, trial: FrozenTrial) -> NDArray[np.float64]:
        return np.array(
            [_to_unit(trial.params[name], number) for name, number in self.numbers.items()]
        )


def _value(trial: FrozenTrial) -> float:
    if trial.value is not None:
        return trial.value
    return max(trial.intermediate_values.values(), default=-math.inf)


def _to_unit(value: float, number: Number) -> float:
    """Place a value within its range, 0 to 1, by its logarithm in a log range."""
    low, high = number.low, number.high
    if number.log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low)


def _from_unit(place: float, number: Number) -> float:
    """Return the value at a place, rounded to the range's steps."""
    low, high = number.low, number.high
    if number.log:
        value = math.exp(math.log(low) + place * (math.log(high) - math.log(low)))
    else:
        value = low + place * (high - low)
    if number.step is not None:
        value = low + round((value - low) / number.step) * number.step
    value = min(max(value, low), high)
    return round(value) if isinstance(number, IntDistribution) else value
