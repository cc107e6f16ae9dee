import math

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import PartialFixedSampler, RandomSampler

from search.space.cma import CmaSampler, _from_unit, _to_unit

SPACE = {
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "dropout": FloatDistribution(0.0, 0.6),
    "loss_type": CategoricalDistribution(["bce", "focal"]),
    "num_layers": IntDistribution(0, 3),
}


def objective(params):
    """Best at lr = 1e-4, dropout = 0.1, far from the middle."""
    lr, dropout = math.log10(params["lr"]), params["dropout"]
    return -((lr + 4) ** 2) - 20 * (dropout - 0.1) ** 2


def optimise(sampler, trials=120, prune_below=-math.inf):
    study = optuna.create_study(direction="maximize", sampler=sampler)
    shared = {}
    for number in range(trials):
        study.sampler = PartialFixedSampler(shared, sampler) if number % 4 else sampler
        trial = study.ask(SPACE)
        shared = {"num_layers": trial.params["num_layers"]}
        value = objective(trial.params)
        if value < prune_below:
            trial.report(value, 1)
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, value)
    return study


def cma(seed=0):
    return CmaSampler(SPACE, RandomSampler(seed=seed), seed=seed)


@pytest.mark.parametrize("prune_below", [-math.inf, -1.0])
def test_it_closes_in_on_the_best_numbers_in_waves_that_share_a_shape(prune_below):
    params = [t.params for t in optimise(cma(), prune_below=prune_below).trials]
    late = params[-20:]
    assert np.mean([abs(math.log10(p["lr"]) + 4) for p in late]) < 0.2
    assert np.mean([abs(p["dropout"] - 0.1) for p in late]) < 0.03
    assert {p["num_layers"] for p in params} == {0, 1, 2, 3}
    assert {p["loss_type"] for p in params} == {"bce", "focal"}


def test_another_process_draws_the_same_from_the_same_trials_and_nothing_is_pickled():
    study = optimise(cma(), trials=30)
    copies = []
    for _ in range(2):
        copy = optuna.create_study(direction="maximize", sampler=cma())
        copy.add_trials(study.trials)
        copies.append(copy.ask(SPACE).params)
    assert copies[0] == copies[1]
    assert not study._storage.get_study_system_attrs(study._study_id)
    assert all(not t.system_attrs for t in study.trials)


@settings(max_examples=60, deadline=None)
@given(
    st.floats(0, 1),
    st.sampled_from(
        [
            FloatDistribution(1e-5, 1e-1, log=True),
            FloatDistribution(0.1, 0.7, step=0.15),
            FloatDistribution(-3.0, 5.0),
            IntDistribution(2, 11, step=3),
            IntDistribution(1, 500, log=True),
        ]
    ),
)
def test_every_place_is_a_value_of_its_range_and_the_way_back_is_near(place, number):
    value = _from_unit(place, number)
    assert number._contains(number.to_internal_repr(value))
    assert isinstance(value, int if isinstance(number, IntDistribution) else float)
    assert _from_unit(_to_unit(value, number), number) == pytest.approx(value)
