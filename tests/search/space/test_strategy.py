import logging

import optuna
import pytest
from optuna.trial import TrialState

from search.space.strategy import make_pruner, make_sampler
from search.store.storage import open_storage, open_study
from search.waves.optimize import Search
from studies.definition import load_definition
from trainer.errors import ConfigError


def define(**overrides):
    quick = {
        "name": "study",
        "stack": 3,
        "budget": {"trials": 15},
        "training": {"epochs": 6, "early_stop_patience": 5},
        "space": {"batch_size": [64, 128], "hidden_dim": [16, 32]},
    }
    return load_definition("default", {**quick, **overrides})


def search(definition, data):
    study = open_study(open_storage("memory"), "s", {}, pruner=make_pruner(definition))
    study.sampler = make_sampler(definition, 0)
    Search(study, data, definition).run()
    return study


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random", "qmc"])
def test_every_sampler_searches_in_waves_quietly_and_the_same_again(sampler, data, caplog):
    """All trials complete, so that the models behind tpe, gp and cmaes are in use by the end."""
    definition = define(sampler=sampler, pruner="none")
    optuna.logging.enable_propagation()
    try:
        with caplog.at_level(logging.WARNING):
            study, again = search(definition, data), search(definition, data)
    finally:
        optuna.logging.disable_propagation()
    assert not caplog.records
    assert [t.state for t in study.trials] == [TrialState.COMPLETE] * 15
    assert len({t.params["lr"] for t in study.trials}) >= 13  # two recipes have the same
    assert [(t.params, t.value) for t in again.trials] == [
        (t.params, t.value) for t in study.trials
    ]


@pytest.mark.parametrize("pruner", ["hyperband", "successive_halving", "median", "patient", "none"])
def test_every_pruner_ends_every_trial(pruner, data):
    study = search(define(pruner=pruner, sampler="random"), data)
    assert {t.state for t in study.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "random", "qmc"])
def test_a_continued_study_goes_on_with_fresh_draws(sampler, data):
    definition = define(sampler=sampler, pruner="none", budget={"trials": 9})
    study = search(definition, data)
    study.sampler = make_sampler(definition, len(study.trials))
    longer = define(sampler=sampler, pruner="none")
    Search(study, data, longer).run()
    assert len({t.params["lr"] for t in study.trials}) >= 13


def test_cmaes_needs_numbers_to_work_on():
    space = {"focal_gamma": [2.0], "class_weight_multiplier": [1.0], "dropout": [0.0], "lr": [0.1]}
    with pytest.raises(ConfigError, match=r"cmaes needs ranges of at least 2.*has 1; use sampler"):
        make_sampler(define(sampler="cmaes", space=space), 0)
