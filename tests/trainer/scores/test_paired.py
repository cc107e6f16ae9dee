import math

import numpy as np
import pytest
import torch

from trainer.scores.bootstrap import compare_macro_f1
from trainer.scores.metrics import Counts
from trainer.scores.paired import differences
from trainer.scores.selection import Resamples

ROWS, SEEDS, POSITIVE = 1200, 3, 0.06


def macro_f1(decisions, positive):
    hits = (decisions & positive).sum(dim=0).double()
    return (2 * hits / (decisions.sum(dim=0) + positive.sum(dim=0))).mean()


def scored(ways, positive, groups=None, resamples=200):
    """Score decisions [ways][seeds] (V, L) on the rows as they are and on rows drawn anew."""
    drawn_anew = Resamples(positive.float(), groups, resamples=resamples)
    drawn = [[drawn_anew.decided(d, Counts.f_beta)[0].nanmean(1) for d in way] for way in ways]
    scores = [[macro_f1(d, positive) for d in way] for way in ways]
    return torch.tensor(scores).double(), torch.stack([torch.stack(way) for way in drawn])


def simulated(repeat, *, noise, shift=0.0, better=0.0, groups=None, ways=2):
    """Draw a table, and decisions of ways of training that are as good as each other.

    Each seed of each way sees what decides the labels through `noise` of its own, more or less of
    it by `shift`. The first way sees it better, by `better`.
    """
    generator = torch.Generator().manual_seed(repeat)

    def normal(*size):
        return torch.randn(*size, generator=generator)

    z = normal(ROWS, 2) if groups is None else normal(int(groups.max()) + 1, 2)[groups]
    positive = z + 0.7 * normal(ROWS, 2) > 2.0
    found = []
    for way in range(ways):
        of_seeds = []
        for _ in range(SEEDS):
            own = noise * math.exp(shift * float(normal(1))) * (1 - better * (way == 0))
            seen = z + own * normal(ROWS, 2)
            cut = seen.topk(int(POSITIVE * ROWS), dim=0).values[-1]
            of_seeds.append(seen >= cut)
        found.append(of_seeds)
    return found, positive


GROUPS = np.arange(ROWS) // 4


@pytest.mark.parametrize(
    "case",
    [
        {"noise": 0.5},
        {"noise": 1.0, "groups": GROUPS},
        {"noise": 0.5, "shift": 0.3},
        {"noise": 0.5, "shift": 0.3, "ways": 4},
    ],
    ids=["rows", "groups", "seeds", "four_ways"],
)
def test_where_none_is_better_the_interval_covers_0_in_95_of_100_repeats(case):
    covered = 0
    for repeat in range(200):
        ways, positive = simulated(repeat, **case)
        low, high = differences(*scored(ways, positive, case.get("groups")))[0].interval
        covered += low <= 0 <= high
    assert 182 <= covered <= 200  # 190, and twice and a half the spread of a binomial


def test_without_the_seeds_part_an_interval_would_be_too_narrow():
    covered = 0
    for repeat in range(200):
        ways, positive = simulated(repeat, noise=0.5, shift=0.3)
        _, drawn = scored(ways, positive)
        low, high = (drawn.mean(1)[0] - drawn.mean(1)[1]).quantile(
            torch.tensor([0.025, 0.975]).double()
        )
        covered += bool(low <= 0 <= high)
    assert covered < 175


def test_a_way_that_sees_better_is_found_to_be_ahead():
    ahead = 0
    for repeat in range(20):
        ways, positive = simulated(repeat, noise=1.5, better=0.8)
        one = differences(*scored(ways, positive))[0]
        assert one.interval[0] < one.value < one.interval[1]
        ahead += one.interval[0] > 0
    assert ahead >= 18


def test_where_seeds_change_nothing_it_is_the_paired_bootstrap_of_two_sets_of_decisions():
    ways, positive = simulated(0, noise=0.8, groups=GROUPS)
    alike = [[way[0]] * SEEDS for way in ways]
    scores, drawn = scored(alike, positive, GROUPS, resamples=1000)
    one = differences(scores, drawn)[0]
    _, other = compare_macro_f1(torch.stack([way[0] for way in ways]), positive.float(), GROUPS)
    assert one.value == pytest.approx(other.difference)
    assert one.interval == pytest.approx(other.difference_interval, abs=1e-6)


def test_two_ways_that_are_the_same_differ_by_0():
    ways, positive = simulated(0, noise=0.8)
    one = differences(*scored([ways[0], ways[0]], positive))[0]
    assert one.value == 0
    assert one.interval[0] <= 0 <= one.interval[1]


def test_each_way_is_compared_with_the_first_in_their_order():
    scores = torch.tensor([[0.5, 0.7], [0.5, 0.5], [0.7, 0.9]]).double()
    drawn = scores[..., None].expand(-1, -1, 50)
    found = differences(scores, drawn)
    assert [one.value for one in found] == pytest.approx([0.1, -0.2])
    assert found == differences(scores, drawn)


def test_resamples_without_a_score_count_for_nothing_and_none_at_all_tell_nothing():
    ways, positive = simulated(1, noise=0.8)
    scores, drawn = scored(ways, positive)
    holes = torch.cat([drawn, torch.full_like(drawn[..., :5], torch.nan)], dim=-1)
    assert differences(scores, holes) == differences(scores, drawn)
    none = differences(scores, drawn * torch.nan)[0]
    assert none.value == differences(scores, drawn)[0].value
    assert all(map(math.isnan, none.interval))
