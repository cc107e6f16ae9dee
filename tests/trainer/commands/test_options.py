"""Help texts: each stands alone as a sentence, and the defaults they name are the real ones."""

import inspect
import re

import pytest

from trainer.commands.cli import COMMANDS, train
from trainer.config import TrainConfig


def parameters():
    for command in COMMANDS:
        for name, parameter in inspect.signature(command).parameters.items():
            (option,) = parameter.annotation.__metadata__
            yield pytest.param(name, option, id=f"{command.__name__}-{name}")


@pytest.mark.parametrize(("name", "option"), list(parameters()))
def test_a_help_text_is_whole_sentences(name, option):
    assert re.fullmatch(r"[A-Z].*\.", option.help)
    assert len(option.help.split()) >= 6, option.help


def test_the_defaults_that_training_names_are_those_of_a_config():
    flags = inspect.signature(train).parameters
    fields = TrainConfig.model_fields.keys() - {"optimize_thresholds", "weight_method", "seed"}
    assert fields <= flags.keys()
    for field in fields:
        (option,) = flags[field].annotation.__metadata__
        shown = re.search(r"(\S+) by default", option.help)
        assert shown is not None, field
        default = TrainConfig.model_fields[field].default
        assert type(default)(shown[1]) == default, field


@pytest.mark.parametrize(("field", "shown"), [("val_size", 0.2), ("test_size", 0.2), ("seed", 0)])
def test_the_defaults_of_the_split_are_those_that_are_named(field, shown):
    parameter = inspect.signature(train).parameters[field]
    assert parameter.default == shown
    assert f"{shown} by default" in parameter.annotation.__metadata__[0].help
