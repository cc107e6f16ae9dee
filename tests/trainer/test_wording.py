import pytest

from trainer import wording
from trainer.config import TrainConfig

GUIDE = {
    "loss_type": "focal",
    "focal_gamma": 3.0,
    "weight_method": "per_class",
    "class_weight_method": "aggressive",
    "class_weight_multiplier": 2.0,
}


def fields(**values):
    return TrainConfig.create(**values).model_dump()


def test_the_guide_in_words():
    config = fields(**GUIDE)
    assert wording.loss(config) == "focal 3.0"
    assert wording.class_weights(config) == "aggressive x 2"
    assert wording.sampling(config) == "per_class sampling"
    assert wording.network(config) == "2 x 128"
    assert wording.remedy(config) == "focal 3.0, aggressive weights x 2, per_class sampling"


def test_what_does_not_act_is_not_named():
    config = fields(**{**GUIDE, "loss_type": "bce"})
    assert wording.loss(config) == "bce"
    assert wording.class_weights(config) == ""
    assert wording.remedy(config) == "bce, per_class sampling"
    assert wording.remedy(fields(loss_type="weighted_bce")) == "weighted_bce"
    assert wording.network(fields(num_layers=0)) == "linear"


@pytest.mark.parametrize(("multiplier", "expected"), [(1.0, ""), (3.55, "equal x 3.5")])
def test_equal_weights_act_through_their_multiplier_alone(multiplier, expected):
    config = fields(loss_type="weighted_bce", class_weight_multiplier=multiplier)
    assert wording.class_weights(config) == expected
