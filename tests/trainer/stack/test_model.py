import pytest
import torch
from torch import nn

from trainer.stack.model import (
    Shape,
    backward,
    flat_parameters,
    forward,
    initial_parameters,
    layers_of,
    named_parameters,
)

SHAPES = [Shape(5, 3, 16, 0), Shape(5, 3, 16, 1), Shape(33, 7, 48, 3), Shape(16, 8, 32, 2)]


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def reference(named, num_layers):
    """The same network as torch.nn builds it."""
    modules = []
    for i in range(num_layers + 1):
        weight = named[f"layers.{i}.weight"]
        linear = nn.Linear(*weight.shape)
        linear.weight.data, linear.bias.data = weight.T, named[f"layers.{i}.bias"]
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_member_is_torchs_own_network(shape):
    flat = initial_parameters(shape, generators(0, 1))
    x = torch.randn(50, shape.features)
    expected = reference(named_parameters(flat[1], shape), shape.num_layers)(x)
    found = forward(layers_of(flat, shape), Shape.pad_inputs(x).expand(2, -1, -1))[-1][
        1, :, : shape.labels
    ]
    torch.testing.assert_close(found, expected.detach())


@pytest.mark.parametrize("shape", SHAPES)
def test_naming_and_flattening_are_inverse(shape):
    flat = initial_parameters(shape, generators(3))
    assert torch.equal(flat_parameters(named_parameters(flat[0], shape), shape), flat)


def test_initial_parameters_are_bounded_and_depend_on_the_members_generator_only():
    shape = Shape(20, 3, 32, 2)
    both = initial_parameters(shape, generators(0, 1))
    alone = initial_parameters(shape, generators(1))
    assert torch.equal(both[1], alone[0])
    assert not torch.equal(both[0], both[1])
    first = named_parameters(both[0], shape)["layers.0.weight"]
    assert first.abs().max() <= 20**-0.5
    assert first.abs().max() > 0.9 * 20**-0.5


def test_padded_inputs_and_outputs_have_zero_weights():
    shape = Shape(5, 3, 16, 1)
    (first, _), (last, bias) = layers_of(initial_parameters(shape, generators(0)), shape)
    assert not first[:, 5:].any()
    assert not last[:, :, 3:].any()
    assert not bias[:, :, 3:].any()


@pytest.mark.parametrize("with_masks", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_backward_is_autograds(shape, with_masks):
    flat = initial_parameters(shape, generators(0, 1, 2)).double()
    layers = layers_of(flat, shape)
    x = torch.randn(3, 32, shape.inputs, dtype=torch.float64)
    masks = None
    if with_masks:
        kept = torch.rand(shape.num_layers, 3, 32, shape.hidden_dim) < 0.8
        masks = kept.double() / 0.8
    leaves = [(w.clone().requires_grad_(), b.clone().requires_grad_()) for w, b in layers]
    hidden = x
    for i, (weight, bias) in enumerate(leaves):
        hidden = torch.baddbmm(bias, hidden, weight)
        if i < shape.num_layers:
            hidden = torch.relu(hidden) * (masks[i] if with_masks else 1)
    slope = torch.randn_like(hidden)
    hidden.backward(slope)

    found = torch.full_like(flat, torch.nan)
    activations = forward(layers, x, masks)
    backward(layers, activations, slope, layers_of(found, shape), masks)
    torch.testing.assert_close(activations[-1], hidden.detach())
    for (weight, bias), (leaf_w, leaf_b) in zip(layers_of(found, shape), leaves, strict=True):
        torch.testing.assert_close(weight, leaf_w.grad)
        torch.testing.assert_close(bias, leaf_b.grad)


def test_masks_multiply_the_hidden_units():
    shape = Shape(5, 3, 16, 1)
    layers = layers_of(initial_parameters(shape, generators(0)), shape)
    x = torch.randn(1, 4, shape.inputs)
    dropped = forward(layers, x, torch.zeros(1, 1, 4, 16))[-1]
    assert torch.equal(dropped, layers[-1][1].expand(1, 4, -1))


@pytest.mark.parametrize("shape", SHAPES)
def test_inputs_and_targets_are_padded_to_the_sizes_of_the_network(shape):
    x, y = torch.rand(10, shape.features), torch.rand(10, shape.labels)
    inputs, targets = Shape.pad_inputs(x), Shape.pad_targets(y)
    assert inputs.shape == (10, shape.inputs)
    assert targets.shape == (10, shape.outputs)
    assert torch.equal(inputs[:, : shape.features], x)
    assert torch.equal(targets[:, : shape.labels], y)
    assert not inputs[:, shape.features :].any()
    assert (targets[:, shape.labels :] == 1).all()
    assert inputs.is_contiguous()
    assert targets.is_contiguous()


@pytest.mark.parametrize(("rows", "there"), [(1, 32), (32, 32), (33, 64)])
def test_room_for_rows_is_a_whole_number_of_registers(rows, there):
    assert SHAPES[2].room_for_rows(rows).shape == (there, SHAPES[2].inputs)
