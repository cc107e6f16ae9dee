"""A stack of K multilayer perceptrons of one shape, as plain tensors with a leading axis K.

Each member is one row of a flat (K, P) tensor; its layers are views of that row. Sizes that meet in
a product are padded to the width of a vector register, and padding stays zero for ever: members
then come out bit for bit the same whatever stands beside them.

There are few labels, and a product with few columns leaves most of a vector register empty. So the
last layer and the logits lie in memory label by label: their products run along batch and hidden
units instead, three to four times as fast. Shapes don't tell, strides do.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def _padded(size: int, multiple: int) -> int:
    """Return the least multiple that is at least `size`."""
    return -(-size // multiple) * multiple


@dataclass(frozen=True)
class Shape:
    """Sizes of one network: D features, `num_layers` hidden layers of width H, L labels.

    All that is padded is padded here: sizes, and tables of inputs and targets to fit them.
    """

    features: int
    labels: int
    hidden_dim: int
    num_layers: int

    @staticmethod
    def input_width(features: int) -> int:
        """Return D padded to a multiple of 16."""
        return _padded(features, 16)

    @staticmethod
    def pad_inputs(x: Tensor) -> Tensor:
        """Return inputs x (N, D) with columns of 0 up to (N, `inputs`)."""
        missing = Shape.input_width(x.shape[1]) - x.shape[1]
        return torch.nn.functional.pad(x, (0, missing)).contiguous()

    @staticmethod
    def pad_targets(y: Tensor) -> Tensor:
        """Return targets y (N, L) with columns of 1 up to (N, `outputs`), for a weight of 0."""
        missing = _padded(y.shape[1], 8) - y.shape[1]
        return torch.nn.functional.pad(y, (0, missing), value=1.0).contiguous()

    def room_for_rows(self, n_rows: int) -> Tensor:
        """Return zeros (N padded to a multiple of 32, `inputs`) to write N rows into.

        Two vector registers of rows: the last rows then go the way of all others, to the bit.
        """
        return torch.zeros(_padded(n_rows, 32), self.inputs)

    @property
    def inputs(self) -> int:
        """D padded to a multiple of 16."""
        return self.input_width(self.features)

    @property
    def hidden(self) -> int:
        """H padded to a multiple of 16."""
        return _padded(self.hidden_dim, 16)

    @property
    def outputs(self) -> int:
        """L padded to a multiple of 8."""
        return _padded(self.labels, 8)

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each layer, as stored."""
        widths = [self.inputs, *[self.hidden] * self.num_layers, self.outputs]
        return list(itertools.pairwise(widths))

    @property
    def parameters(self) -> int:
        """P: numbers a member holds, padded to a multiple of 64."""
        return _padded(sum((n_in + 1) * n_out for n_in, n_out in self.layers), 64)


Layer = tuple[Tensor, Tensor]  # weight (K, inputs, outputs), bias (K, 1, outputs)


def layers_of(flat: Tensor, shape: Shape) -> list[Layer]:
    """Return the layers of a flat (K, P) tensor, as views; the last one lies output by output."""
    layers, start = [], 0
    for i, (n_in, n_out) in enumerate(shape.layers):
        stored = flat[:, start : start + n_in * n_out]
        start += n_in * n_out
        if i < shape.num_layers:
            weight = stored.view(-1, n_in, n_out)
        else:
            weight = stored.view(-1, n_out, n_in).transpose(1, 2)
        bias = flat[:, start : start + n_out].view(-1, 1, n_out)
        start += n_out
        layers.append((weight, bias))
    return layers


def initial_parameters(shape: Shape, generators: Sequence[torch.Generator]) -> Tensor:
    """Draw each member's parameters (K, P) from its own generator, uniform in +-1/sqrt(inputs).

    Source: the default of torch.nn.Linear; after LeCun et al. 1998, Efficient BackProp.
    """
    flat = torch.zeros(len(generators), shape.parameters, device=generators[0].device)
    real = [shape.features, *[shape.hidden_dim] * shape.num_layers, shape.labels]
    for member, generator in zip(flat, generators, strict=True):
        for i, (weight, bias) in enumerate(layers_of(member[None], shape)):
            n_in, n_out = real[i], real[i + 1]
            bound = n_in**-0.5
            for target in (weight[0, :n_in, :n_out], bias[0, :, :n_out]):
                drawn = torch.empty(target.shape, device=flat.device)
                target.copy_(drawn.uniform_(-bound, bound, generator=generator))
    return flat


def forward(layers: Sequence[Layer], x: Tensor, masks: Tensor | None = None) -> list[Tensor]:
    """Return what each layer reads, x (K, B, inputs) first, and last the logits (K, B, outputs).

    Hidden layers are ReLU. `masks` (hidden layers, K, B, H), if any, multiply them: 0 drops a unit,
    1 / (1 - rate) keeps it (Srivastava et al. 2014, inverted as in torch.nn.Dropout).
    """
    activations = [x]
    for i, (weight, bias) in enumerate(layers[:-1]):
        hidden = torch.baddbmm(bias, activations[-1], weight).clamp_min_(0)
        activations.append(hidden.mul_(masks[i]) if masks is not None else hidden)
    weight, bias = (part.transpose(1, 2) for part in layers[-1])
    logits = torch.baddbmm(bias, weight, activations[-1].transpose(1, 2))
    return [*activations, logits.transpose(1, 2)]


def backward(
    layers: Sequence[Layer],
    activations: Sequence[Tensor],
    slope: Tensor,
    gradients: Sequence[Layer],
    masks: Tensor | None = None,
) -> None:
    """Write each member's gradients into `gradients`, views shaped as `layers`.

    `activations` and `masks` are those of `forward`, `slope` (K, B, outputs) the loss's derivative
    by the logits. Spelled out, as the chain rule of so plain a network is short: autograd would
    allocate each gradient anew and then copy it into the optimizer's flat row.
    """
    for i in reversed(range(len(layers))):
        weight_gradient, bias_gradient = gradients[i]
        if i == len(layers) - 1:
            torch.bmm(slope.transpose(1, 2), activations[i], out=weight_gradient.transpose(1, 2))
        else:
            torch.bmm(activations[i].transpose(1, 2), slope, out=weight_gradient)
        torch.sum(slope, 1, keepdim=True, out=bias_gradient)
        if i:
            slope = torch.bmm(slope, layers[i][0].transpose(1, 2))
            slope = torch.ops.aten.threshold_backward(slope, activations[i], 0)
            if masks is not None:
                slope.mul_(masks[i - 1])


def named_parameters(member: Tensor, shape: Shape) -> dict[str, Tensor]:
    """Return one member's (P,) row as contiguous tensors without padding, for keeping.

    Names and shapes: layers.I.weight (inputs, outputs), layers.I.bias (outputs,).
    """
    sizes = [shape.features, *[shape.hidden_dim] * shape.num_layers, shape.labels]
    named = {}
    for i, (weight, bias) in enumerate(layers_of(member[None], shape)):
        n_in, n_out = sizes[i], sizes[i + 1]
        named[f"layers.{i}.weight"] = weight[0, :n_in, :n_out].clone()
        named[f"layers.{i}.bias"] = bias[0, 0, :n_out].clone()
    return named


def flat_parameters(named: Mapping[str, Tensor], shape: Shape) -> Tensor:
    """Return the flat (1, P) tensor of what `named_parameters` returned."""
    flat = torch.zeros(1, shape.parameters)
    for i, (weight, bias) in enumerate(layers_of(flat, shape)):
        kept_weight, kept_bias = named[f"layers.{i}.weight"], named[f"layers.{i}.bias"]
        n_in, n_out = kept_weight.shape
        weight[0, :n_in, :n_out] = kept_weight
        bias[0, 0, :n_out] = kept_bias
    return flat
