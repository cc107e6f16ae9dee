import pytest
import torch

from trainer.stack.model import Shape, forward, initial_parameters, layers_of
from trainer.steps.compiler import build
from trainer.steps.inference import predict_logits, predict_probabilities

SHAPES = [Shape(5, 3, 16, 0), Shape(5, 3, 21, 1), Shape(33, 20, 48, 3), Shape(16, 8, 128, 2)]


@pytest.fixture(params=["C", "torch"])
def language(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr("trainer.steps.inference.library", lambda: None)
    elif build().library is None:
        pytest.skip(build().how)


def networks(shape, count=2):
    generators = [torch.Generator().manual_seed(seed) for seed in range(count)]
    return initial_parameters(shape, generators)


def rows_for(shape, count):
    return torch.randn(count, shape.inputs, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("rows", [1, 64, 150])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_member_answers_as_its_layers_do(shape, rows, language):
    flat, x = networks(shape), rows_for(shape, rows)
    expected = forward(layers_of(flat, shape), x.expand(2, -1, -1))[-1][..., : shape.labels]
    torch.testing.assert_close(predict_logits(flat, shape, x), expected)
    torch.testing.assert_close(predict_probabilities(flat, shape, x), expected.sigmoid())


@pytest.mark.parametrize("shape", SHAPES)
def test_a_member_answers_to_the_bit_as_if_alone(shape, language):
    flat, x = networks(shape, 3), rows_for(shape, 150)
    assert torch.equal(predict_logits(flat, shape, x)[1], predict_logits(flat[1:2], shape, x)[0])


@pytest.mark.skipif(build().library is None, reason=build().how)
@pytest.mark.parametrize("shape", SHAPES)
def test_in_c_a_row_is_answered_to_the_bit_as_if_alone(shape):
    flat, x = networks(shape), rows_for(shape, 75)
    together = predict_logits(flat, shape, x)
    alone = torch.cat([predict_logits(flat, shape, row[None]) for row in x], dim=1)
    assert torch.equal(together, alone)


def test_rows_that_do_not_lie_together_are_answered_alike(language):
    shape = SHAPES[1]
    flat, x = networks(shape), rows_for(shape, 40)
    assert torch.equal(predict_logits(flat, shape, x[::2]), predict_logits(flat, shape, x)[:, ::2])
