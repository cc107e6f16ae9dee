"""AdamW and gradient clipping for a stack, each member with its own rate, decay and norm.

A member's parameters lie in one row of a (K, P) tensor, so that its whole update is a single fused
kernel that reads nothing of its neighbours.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8
CLIP_NORM = 1.0


@dataclass
class AdamWState:
    """Moments and step counts of K members.

    Shapes: `mean` and `square` (K, P), `steps` (K,) float32, counted from 0.
    """

    mean: Tensor
    square: Tensor
    steps: Tensor

    @classmethod
    def zeros(cls, parameters: Tensor) -> "AdamWState":
        """Return the state before the first step of `parameters` (K, P)."""
        return cls(
            torch.zeros_like(parameters),
            torch.zeros_like(parameters),
            torch.zeros(len(parameters), device=parameters.device),
        )

    def select(self, members: Tensor) -> "AdamWState":
        """Return the state of the given members (indices into K) alone."""
        return AdamWState(self.mean[members], self.square[members], self.steps[members])

    def join(self, other: "AdamWState") -> "AdamWState":
        """Return the state of these members and then the other's."""
        return AdamWState(
            torch.cat([self.mean, other.mean]),
            torch.cat([self.square, other.square]),
            torch.cat([self.steps, other.steps]),
        )


def clip_divisors(gradients: Tensor, max_norm: float) -> Tensor:
    """Return what each member's gradient is divided by so that its 2-norm is at most `max_norm`.

    Shapes: gradients (K, P), returns (K,), at least 1. Padding must be zero.
    Source: Pascanu et al. 2013, arXiv:1211.5063, algorithm 1.
    """
    norms: Tensor = torch.linalg.vector_norm(gradients, dim=1)
    return (norms / max_norm).clamp_min(1.0)


def adamw(
    parameters: Tensor,
    gradients: Tensor,
    state: AdamWState,
    *,
    lr: Sequence[float],
    weight_decay: Sequence[float],
    max_norm: float,
) -> Callable[[], None]:
    """Return the function that takes one AdamW step in place for every member.

    Each call reads the gradients anew, clips them in place to `max_norm` by `clip_divisors`, and
    changes parameters and state. Shapes: parameters and gradients (K, P); lr and weight_decay hold
    K numbers. On a CPU each member is one fused kernel; elsewhere, where many small kernels would
    take longer, all members go through the same few.
    Source: Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2; as torch.optim.AdamW.
    """
    if parameters.device.type != "cpu":
        return _all_at_once(parameters, gradients, state, lr, weight_decay, max_norm)
    divisors = torch.ones_like(state.steps)
    tensors = (parameters, gradients, state.mean, state.square, state.steps, divisors)
    members = list(zip(lr, weight_decay, *(tensor.unbind() for tensor in tensors), strict=True))

    def step() -> None:
        state.steps.add_(1)
        divisors.copy_(clip_divisors(gradients, max_norm))
        too_long = divisors.gt(1).tolist()  # dividing the others by 1 would only cost time
        for clips, member in zip(too_long, members, strict=True):
            rate, decay, parameter, gradient, mean, square, steps, divisor = member
            torch._fused_adamw_(
                [parameter],
                [gradient],
                [mean],
                [square],
                [],
                [steps],
                lr=rate,
                beta1=BETA1,
                beta2=BETA2,
                weight_decay=decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
                grad_scale=divisor if clips else None,
            )

    return step


def _all_at_once(
    parameters: Tensor,
    gradients: Tensor,
    state: AdamWState,
    lr: Sequence[float],
    weight_decay: Sequence[float],
    max_norm: float,
) -> Callable[[], None]:
    """Return the same step for all members together; see `adamw`."""
    rates = parameters.new_tensor(lr)[:, None]
    shrinks = 1 - rates * parameters.new_tensor(weight_decay)[:, None]

    def step() -> None:
        steps = state.steps.add_(1)[:, None]
        gradients.div_(clip_divisors(gradients, max_norm)[:, None])
        state.mean.lerp_(gradients, 1 - BETA1)
        state.square.mul_(BETA2).addcmul_(gradients, gradients, value=1 - BETA2)
        root = (state.square / -torch.expm1(steps * math.log(BETA2))).sqrt_().add_(EPSILON)
        parameters.mul_(shrinks)
        parameters.sub_((state.mean * (rates / -torch.expm1(steps * math.log(BETA1)))).div_(root))

    return step
