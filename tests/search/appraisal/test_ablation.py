import pytest
import torch

from search.appraisal.ablation import configurations, removals
from search.appraisal.certificate import ALL
from search.store.records import read_records
from search.store.storage import load_study, open_storage
from search.waves.runs import train_runs
from trainer.config import TrainConfig
from trainer.loop.fit import fit

FOCAL = {"loss_type": "focal", "focal_gamma": 3.0}
HEAVY = {"class_weight_method": "aggressive", "class_weight_multiplier": 2.0}
SAMPLED = {"weight_method": "per_class"}
PLAIN = {
    "loss_type": "bce",
    "weight_method": "none",
    "class_weight_method": "none",
    "class_weight_multiplier": 1.0,
}
UNWEIGHTED = {"class_weight_method": "none", "class_weight_multiplier": 1.0}


@pytest.mark.parametrize(
    ("used", "taken_away"),
    [
        ({}, {}),
        ({"loss_type": "weighted_bce"}, {}),
        (HEAVY, {}),
        ({**FOCAL, "focal_gamma": 0.0}, {}),
        (FOCAL, {"focal loss": {"loss_type": "bce"}}),
        (SAMPLED, {"row sampling": {"weight_method": "none"}}),
        (
            {"loss_type": "weighted_bce", "class_weight_multiplier": 3.0},
            {"class weights": {"loss_type": "bce", **UNWEIGHTED}},
        ),
        (
            FOCAL | HEAVY | SAMPLED,
            {
                "focal loss": {"loss_type": "weighted_bce"},
                "class weights": UNWEIGHTED,
                "row sampling": {"weight_method": "none"},
                ALL: PLAIN,
            },
        ),
    ],
)
def test_only_remedies_that_act_are_taken_away_and_each_alone(used, taken_away):
    assert removals(TrainConfig(**used)) == taken_away


def test_what_is_left_without_the_focal_loss_is_focal_at_gamma_0(data):
    config = TrainConfig(**FOCAL, **HEAVY, epochs=2, hidden_dim=16, batch_size=64)
    without = config.model_copy(update=removals(config)["focal loss"])
    at_zero = config.model_copy(update={"focal_gamma": 0.0})
    one, other = fit(data, [without, at_zero])
    assert torch.equal(one.held_out, other.held_out)


@pytest.mark.parametrize("left", [FOCAL, FOCAL | HEAVY | SAMPLED])
def test_without_all_its_remedies_a_config_uses_none(left):
    config = TrainConfig(**left)
    *_, last = removals(config).values()
    assert removals(config.model_copy(update=last)) == {}


@pytest.fixture(scope="module")
def searched(searched_session):
    """A study whose best trial is searched with folds, and its records."""
    session = searched_session(
        "ablated",
        budget={"trials": 4},
        pruner="none",
        split={"folds": 3},
        training={"epochs": 6},
        space={"batch_size": [64], "hidden_dim": [16], "loss_type": ["focal", "weighted_bce"]},
    )
    return session, load_study(open_storage(session.url), "ablated")


@pytest.fixture(scope="module")
def guide(searched):
    """The record of the guide's recipe, which uses every remedy."""
    return next(r for r in read_records(searched[1]) if r.recipe == "the guide")


def test_both_sides_have_the_same_seeds_and_epochs_and_none_is_the_trials(searched, guide):
    session, _ = searched
    ways = configurations(session, guide, 3)
    assert len(ways) == 5
    seeds = [[config.seed for config in way] for way in ways]
    assert all(of_way == seeds[0] for of_way in seeds)
    assert len(set(seeds[0])) == 3
    assert guide.config["seed"] not in seeds[0]
    assert {config.epochs for way in ways for config in way} == {6}
    short = configurations(session, type(guide)(**{**vars(guide), "epochs": 2}), 3)
    assert {config.epochs for way in short for config in way} == {4}


@pytest.mark.parametrize("workers", [1, 2])
def test_each_run_trains_as_if_alone_and_the_trials_own_settings_give_its_own_bits(
    searched, guide, workers
):
    session, _ = searched
    data = session.experiment.data
    trial = TrainConfig.create(**guide.config)
    flat = [trial, *(config for way in configurations(session, guide, 2) for config in way)]
    ended = []
    runs = train_runs(data, flat, workers=workers, stack=4, on_run=ended.append)
    assert ended == list(range(1, len(flat) + 1))
    for config, run in zip(flat, runs, strict=True):
        assert torch.equal(run.held_out, fit(data, [config])[0].held_out)
    assert runs[0].scores["macro_f1"] == guide.value
