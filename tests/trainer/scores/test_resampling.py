import numpy as np
import pytest
import torch

from trainer.scores.resampling import drawn_units, draws, intervals


def test_a_row_is_drawn_with_its_group_or_alone():
    assert drawn_units(4, None).tolist() == [0, 1, 2, 3]
    assert drawn_units(4, np.array([7, 3, 7, 9])).tolist() == [1, 0, 1, 2]


def test_each_resample_draws_as_many_units_as_there_are():
    drawn = torch.cat(list(draws(30, 200, 64, seed=0)), dim=1)
    assert drawn.shape == (30, 200)
    assert (drawn.sum(dim=0) == 30).all()
    assert drawn.mean(dim=1).numpy() == pytest.approx(np.ones(30), abs=0.3)


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_the_chunk_changes_no_resample_and_the_seed_does(chunk):
    whole = next(draws(30, 20, 20, seed=1))
    assert torch.equal(torch.cat(list(draws(30, 20, chunk, seed=1)), dim=1), whole)
    assert not torch.equal(torch.cat(list(draws(30, 20, chunk, seed=2)), dim=1), whole)


def test_bounds_are_percentiles_over_what_is_defined():
    scores = torch.rand(2, 400, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    scores[1, ::3] = torch.nan
    found = intervals(scores)
    assert found[0] == pytest.approx(np.quantile(scores[0], [0.025, 0.975]))
    assert found[1] == pytest.approx(np.nanquantile(scores[1], [0.025, 0.975]))
