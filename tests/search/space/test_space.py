import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from search.space.space import (
    conditional_choices,
    distributions,
    known_recipes,
    resolve_config,
    trial_seed,
)
from studies.definition import bundled_names, load_definition
from trainer.config import TrainConfig


def define(**overrides):
    return load_definition("default", {"name": "study", **overrides})


def test_lists_become_choices_and_ranges_keep_their_kind():
    space = distributions(define())
    assert isinstance(space["loss_type"], CategoricalDistribution)
    assert isinstance(space["num_layers"], IntDistribution)
    assert isinstance(space["lr"], FloatDistribution)
    assert space["lr"].log
    assert (space["num_layers"].low, space["num_layers"].high) == (0, 3)


def test_the_first_recipe_is_plain_bce_without_any_remedy():
    definition = define()
    name, (searched, fixed) = next(iter(known_recipes(definition).items()))
    config = resolve_config(definition, searched, fixed, 0)
    assert name == "plain BCE"
    assert config.loss_type == "bce"
    assert config.weight_method == config.class_weight_method == "none"
    assert config.class_weight_multiplier == 1.0


def test_the_guides_two_commands_follow_value_for_value():
    definition = define()
    _, first, second = (
        resolve_config(definition, searched, fixed, 0)
        for searched, fixed in known_recipes(definition).values()
    )
    common = {"weight_method": "per_class", "optimize_thresholds": True, "epochs": 100}
    expected_first = {
        "loss_type": "focal",
        "focal_gamma": 3.0,
        "class_weight_method": "aggressive",
        "class_weight_multiplier": 2.0,
        "early_stop_metric": "macro_f1",
        "early_stop_patience": 15,
        "batch_size": 32,
        "lr": 1e-3,
    }
    expected_second = {
        "loss_type": "weighted_bce",
        "class_weight_method": "very_aggressive",
        "class_weight_multiplier": 5.0,
        "early_stop_metric": "macro_recall",
        "early_stop_patience": 20,
        "batch_size": 16,
        "lr": 5e-4,
    }
    assert first.model_dump().items() >= (common | expected_first).items()
    assert second.model_dump().items() >= (common | expected_second).items()


def test_a_recipe_bends_to_a_narrow_space_but_plain_stays_plain():
    definition = define(
        training={"loss_type": "focal", "lr": 5e-3},
        space={"batch_size": [64, 256], "class_weight_multiplier": {"low": 3.0, "high": 4.0}},
    )
    plain, guide, _ = (
        resolve_config(definition, searched, fixed, 0)
        for searched, fixed in known_recipes(definition).values()
    )
    assert (plain.loss_type, plain.lr, plain.batch_size) == ("bce", 5e-3, 64)
    assert (guide.loss_type, guide.class_weight_multiplier) == ("focal", 3.0)


def test_a_recipe_of_the_guide_whose_remedy_the_space_does_not_hold_is_left_out():
    """Under another loss it would not be what its name says."""
    assert list(known_recipes(define(space={"loss_type": ["bce"]}))) == ["plain BCE"]
    assert list(known_recipes(define(space={"loss_type": ["bce", "focal"]}))) == [
        "plain BCE",
        "the guide",
    ]


@pytest.mark.parametrize("name", [name for name in bundled_names() if name != "aggressive"])
def test_no_choice_is_disputed_where_the_space_holds_plain_bce(name):
    assert conditional_choices(load_definition(name, {})) == {}


def test_plain_bce_comes_first_even_where_the_space_does_not_hold_it():
    definition = load_definition("aggressive", {})
    recipes = known_recipes(definition)
    assert list(recipes) == ["plain BCE", "the guide", "the guide, escalated"]
    searched, fixed = recipes["plain BCE"]
    config = resolve_config(definition, searched, fixed, 0)
    assert config.loss_type == "bce"
    assert config.weight_method == config.class_weight_method == "none"
    assert (config.batch_size, config.lr, config.dropout) == (32, 1e-3, 0.2)


def test_what_plain_bce_needs_and_the_space_lacks_is_disputed_and_no_parameter_of_it():
    definition = load_definition("aggressive", {})
    searched, fixed = known_recipes(definition)["plain BCE"]
    choices = conditional_choices(definition)
    assert choices == {
        "loss_type": ("focal", "weighted_bce"),
        "weight_method": ("per_class", "aggressive", "balanced"),
        "class_weight_method": ("inverse", "aggressive", "very_aggressive"),
    }
    assert searched.keys() == definition.space.keys() - choices.keys()
    assert choices.keys() <= fixed.keys()


def test_a_recipe_keeps_to_the_steps_of_a_range():
    definition = define(space={"dropout": {"low": 0.0, "high": 0.45, "step": 0.15}})
    searched, _ = known_recipes(definition)["plain BCE"]
    assert searched["dropout"] == pytest.approx(0.15)


def test_trial_seeds_differ_by_trial_and_study_and_fit_the_config():
    seeds = {trial_seed(study, number) for study in range(20) for number in range(50)}
    assert len(seeds) == 1000
    assert all(TrainConfig.create(seed=seed).seed == seed for seed in list(seeds)[:20])


@pytest.mark.parametrize("number", [0, 7])
def test_a_config_replays_from_what_a_finished_trial_holds(number):
    definition = define()
    params = {"lr": 0.002, "batch_size": 64, "loss_type": "focal"}
    one = resolve_config(definition, params, {}, number)
    assert one == resolve_config(definition, params, {}, number)
    assert one == TrainConfig.from_json(one.model_dump_json())
