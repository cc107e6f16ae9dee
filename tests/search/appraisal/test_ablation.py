from types import SimpleNamespace

import pytest
import torch

from search.appraisal.ablation import certify, configurations, expected_seconds, removals
from search.appraisal.certificate import ALL
from search.store.records import read_records
from search.store.storage import load_study, open_storage
from search.waves.runs import StoppedError, train_runs
from trainer.config import TrainConfig
from trainer.loop.fit import fit
from trainer.stack.model import Shape
from trainer.stack.tensors import FoldData, TrainingData

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


def drawn(label, groups=None):
    """1000 train and 1000 validation rows, labelled by a function of four numbers and noise."""
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2000, 4, generator=generator), torch.randn(2000, generator=generator)
    y = label(x, noise).float()[:, None]
    fold = FoldData(
        x_train=Shape.pad_inputs(x[:1000]),
        y_train=Shape.pad_targets(y[:1000]),
        x_validation=Shape.pad_inputs(x[1000:]),
        y_validation=y[1000:].contiguous(),
        places=torch.arange(1000),
        features=4,
    )
    cross_fold = torch.arange(1000) % 5
    return TrainingData((fold,), fold.y_validation, cross_fold, groups, ("rare",))


def corners(x, noise):
    """Positive, 4 % of them, are four corners that a few epochs hardly find unless drawn often."""
    return (x[:, 0].abs() > 1.3) & (x[:, 1].abs() > 1.3)


def line(x, noise):
    """Positive, 4 % of them, is one side of a line, which logistic regression finds by itself."""
    return x[:, 0] + 0.5 * x[:, 1] + 0.7 * noise > 2.4


def certified(data, config, objective="macro_f1", **settings):
    record = SimpleNamespace(number=1, config=config.model_dump(), epochs=config.epochs)
    definition = SimpleNamespace(seed=0, objective=objective, workers=1, stack=8)
    experiment = SimpleNamespace(data=data)
    return certify(
        SimpleNamespace(definition=definition, experiment=experiment), record, **settings
    )


SHORT = TrainConfig(weight_method="per_class", epochs=4, hidden_dim=32, batch_size=64, lr=3e-3)


@pytest.mark.parametrize("objective", ["macro_f1", "average_precision", "f1:rare"])
def test_a_remedy_that_helps_by_construction_is_found_to_be_worth_something(objective):
    sampling, *others = certified(drawn(corners), SHORT, objective).remedies
    assert not others
    assert sampling.remedy == "row sampling"
    assert sampling.difference > 0.1
    assert sampling.sign == 1


def test_where_no_remedy_helps_none_is_found_to_be_worth_anything():
    long = TrainConfig(**FOCAL, **HEAVY, **SAMPLED, epochs=20, num_layers=0, batch_size=64, lr=5e-3)
    milder = long.model_copy(
        update={"class_weight_method": "balanced", "weight_method": "balanced"}
    )
    found = certified(drawn(line), milder)
    assert [one.remedy for one in found.remedies] == [
        "focal loss",
        "class weights",
        "row sampling",
        ALL,
    ]
    assert [one.sign for one in found.remedies] == [0, 0, 0, 0]


def test_a_trial_without_a_remedy_trains_nothing_and_claims_nothing():
    def never(ended, runs):
        raise AssertionError("something was trained")

    found = certified(drawn(line), TrainConfig(), on_run=never)
    assert found.remedies == []
    assert "no remedy" in found.verdict


def test_rows_that_are_one_group_tell_nothing():
    sampling, *_ = certified(drawn(corners, torch.zeros(1000).long().numpy()), SHORT).remedies
    assert sampling.interval == (None, None)
    assert sampling.sign == 0


def test_it_stops_when_asked_to_and_says_how_far_it_is():
    ended = []
    with pytest.raises(StoppedError):
        certified(drawn(line), SHORT, should_stop=lambda: True)
    certified(drawn(line), SHORT, seeds=2, on_run=lambda *far: ended.append(far))
    assert ended == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_what_it_will_take_grows_with_runs_and_epochs_and_is_nothing_without_a_remedy(
    searched, guide
):
    session, _ = searched
    plain = next(r for r in read_records(searched[1]) if r.recipe == "plain BCE")
    assert expected_seconds(session, plain, 3) == 0
    longer = type(guide)(**{**vars(guide), "epochs": 6000})
    assert 0 < expected_seconds(session, guide, 2) < expected_seconds(session, longer, 2)
