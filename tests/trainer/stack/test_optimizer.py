import pytest
import torch

from trainer.stack.optimizer import AdamWState, _all_at_once, adamw, clip_divisors

K, P, STEPS = 4, 48, 12
RATES = [1e-3, 3e-4, 1e-1, 1e-2]
DECAYS = [0.0, 1e-2, 0.3, 1e-4]


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("all_at_once", [False, True])
@pytest.mark.parametrize("member", range(K))
def test_each_member_steps_as_torchs_adamw_with_its_own_rate_and_decay(member, all_at_once):
    stacked, gradients = draw(K, P), [draw(K, P, seed=s) for s in range(1, STEPS + 1)]
    own = stacked[member].clone().requires_grad_()
    reference = torch.optim.AdamW([own], lr=RATES[member], weight_decay=DECAYS[member])
    read = torch.empty(K, P)
    make = _all_at_once if all_at_once else adamw  # as on a GPU, as on a CPU
    state = AdamWState.zeros(stacked)
    step = make(stacked, read, state, lr=RATES, weight_decay=DECAYS, max_norm=1.0)
    for gradient in gradients:
        own.grad = gradient[member].clone()
        torch.nn.utils.clip_grad_norm_([own], 1.0)
        reference.step()
        read.copy_(gradient)
        step()
    torch.testing.assert_close(stacked[member], own.detach(), rtol=1e-5, atol=1e-6)


def test_a_member_steps_bitwise_alike_alone():
    stacked, gradient = draw(K, P), draw(K, P, seed=1)
    alone = stacked[2:3].clone()
    for parameters, rows in ((stacked, slice(None)), (alone, slice(2, 3))):
        state, read = AdamWState.zeros(parameters), torch.empty_like(parameters)
        rates = {"lr": RATES[rows], "weight_decay": DECAYS[rows]}
        step = adamw(parameters, read, state, **rates, max_norm=1.0)
        for _ in range(3):
            read.copy_(gradient[rows])
            step()
    assert torch.equal(stacked[2], alone[0])


def test_clipping_shortens_only_long_gradients():
    gradients = torch.stack([torch.full((P,), 0.01), torch.full((P,), 10.0)])
    clipped = gradients / clip_divisors(gradients, 1.0)[:, None]
    assert torch.equal(clipped[0], gradients[0])
    torch.testing.assert_close(clipped[1].norm(), torch.tensor(1.0))


def test_selected_members_keep_their_moments():
    parameters = draw(K, P)
    state = AdamWState.zeros(parameters)
    gradients = draw(K, P, seed=1)
    adamw(parameters, gradients, state, lr=RATES, weight_decay=DECAYS, max_norm=1.0)()
    kept = state.select(torch.tensor([3, 1]))
    assert torch.equal(kept.mean, state.mean[[3, 1]])
    assert torch.equal(kept.square, state.square[[3, 1]])
    assert kept.steps.tolist() == [1, 1]
