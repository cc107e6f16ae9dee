import pytest
import torch

from trainer.steps.cuda_graph import recorded

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device at hand")


def test_a_recording_does_what_the_function_does():
    """State that the function changes in place moves on with every call, whatever the shapes."""
    expected, state = torch.zeros(3, device="cuda"), torch.zeros(3, device="cuda")

    def add_to(total, x, y):
        total += x.sum(0) if y is None else x.sum(0) * y
        return total * 2

    add = recorded(lambda x, y: add_to(state, x, y))
    scale = torch.full((3,), 0.5, device="cuda")
    for rows in (4, 4, 2, 4, 4):
        x = torch.randn(rows, 3, device="cuda")
        torch.testing.assert_close(add(x, scale), add_to(expected, x, scale))
    torch.testing.assert_close(state, expected)
