"""The speed comparisons compare like with like, and each script still runs."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from scipy import stats
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import fold_cost, folds, growth, shares
from benchmarks.job import guide_config, mixed_configs
from benchmarks.loops import best_f1, make_loss, predict, unpadded
from benchmarks.paired import Differences, Run, above_test, gaps, mean, paired
from benchmarks.plain_optuna import Objective, suggest
from benchmarks.throughput import OPTIONAL, PROGRAMS
from benchmarks.with_stacks import multiply
from search.space.space import distributions
from studies.definition import load_definition
from trainer.scores.metrics import confusion, rank
from trainer.scores.thresholds import best_thresholds, parse_threshold_metric
from trainer.stack.stack import member_losses, start_stack
from trainer.steps.epoch import train_epoch
from trainer.steps.in_torch import eager

ROOT = Path(__file__).parent.parent
PREVALENCE = 0.034  # of nafld's labels, on average


def run(script, *flags):
    command = [sys.executable, ROOT / f"benchmarks/{script}.py", "--json", *map(str, flags)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout)


def test_the_loops_losses_are_the_trainers(fold):
    rows = unpadded(fold)
    logits = torch.linspace(-4, 4, rows.y_train.numel()).view_as(rows.y_train)
    for config in mixed_configs(6, 32):
        stack = start_stack(fold, [config])
        expected = member_losses(logits[None], rows.y_train[None], stack)
        found = make_loss(rows, config)(logits, rows.y_train)
        torch.testing.assert_close(found[None], expected)


def test_the_loops_macro_f1_is_the_trainers_tuned_one(data):
    y = data.y_validation
    probabilities = torch.rand(y.shape, generator=torch.Generator().manual_seed(0))
    ranking = rank(probabilities[None], y)
    thresholds = best_thresholds(ranking, parse_threshold_metric("f1"))
    expected = confusion(probabilities[None], y, thresholds).f_beta().mean()
    assert best_f1(y.numpy(), probabilities.numpy())[0] == pytest.approx(float(expected))


def test_the_bound_has_the_products_of_a_stacks_epoch(data, fold):
    configs = mixed_configs(4, 32)
    with FlopCounterMode(display=False) as bound:
        multiply(data, configs, lambda score: False)
    with FlopCounterMode(display=False) as epoch:
        stack = start_stack(fold, configs)
        stack.program = eager(stack, fold)
        train_epoch(stack, fold)
    assert bound.get_total_flops() == epoch.get_total_flops() > 0


def test_members_of_a_measured_stack_share_a_shape_and_hold_all_remedies():
    configs = mixed_configs(8, 128)
    assert {config.stack_key for config in configs} == {guide_config(128).stack_key}
    assert len({(config.loss_type, config.weight_method) for config in configs}) == 6


def test_the_plain_search_has_the_space_of_every_study():
    trial = optuna.create_study().ask()
    suggest(trial)
    assert trial.distributions == distributions(load_definition("default", {"name": "s"}))


def test_the_plain_search_scores_the_pooled_rows_of_all_folds(data):
    rows = unpadded(data.folds[0])
    objective = Objective([rows, replace(rows, x_validation=rows.x_validation.flip(0))], epochs=2)
    study = optuna.create_study(direction="maximize")
    study.enqueue_trial({"weight_method": "none", "batch_size": 32})
    study.optimize(objective, n_trials=1)
    first, second = objective.best_networks
    pooled = [predict(first, rows.x_validation), predict(second, rows.x_validation.flip(0))]
    value, thresholds = best_f1(objective.y, np.concatenate(pooled))
    assert objective.y.shape == (400, 3)
    assert study.best_value == objective.best_value == value
    assert (objective.thresholds == thresholds).all()
    assert not torch.equal(first[0].weight, second[0].weight)


@pytest.fixture(scope="module")
def throughput():
    flags = ("--batch_size", 512, "--seconds", 0.1, "--rounds", 1, "--stack", 4)
    return run("throughput", *flags)["512"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_program_has_a_rate_and_learns(throughput, program):
    if program in OPTIONAL and find_spec(program) is None:
        pytest.skip(f"{program} is not installed: pip install -e '.[benchmarks]'")
    assert throughput[program] > 0
    if program != "bound":
        assert throughput["average_precision"][program] > 1.3 * PREVALENCE


@pytest.mark.parametrize("folds", [1, 2])
def test_a_whole_study_is_timed_both_ways(folds):
    found = run("search", "--trials", 1, "--epochs", 1, "--folds", folds)
    assert found["ratio"] > 0
    assert found["folds"] == folds
    for name in ("plain", "raretune"):
        assert found[name]["model_epochs"] >= found[name]["trials"] >= 1
        assert found[name]["test"] > PREVALENCE


def test_shares_are_looked_up_in_files_that_exist():
    own = [place for place in shares.PARTS if place.startswith(("trainer/", "search/"))]
    assert [place for place in (*own, *shares.IN_C) if not (ROOT / place).exists()] == []


def test_the_cost_of_folds_is_that_of_epochs_after_the_first(data, monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(fold_cost.time, "process_time", lambda: float(next(clock)))
    configs = mixed_configs(2, 512)
    assert fold_cost.seconds_an_epoch(data, configs) == 1 / len(configs)
    assert next(clock) == 1 + fold_cost.EPOCHS


def test_nothing_is_chosen_but_thresholds(table_csv, tmp_path):
    shutil.copy(table_csv, tmp_path / "small.csv")
    entry = {"labels": ["rare", "rarer"], "group": "family", "drop": ["person"]}
    (tmp_path / "manifest.json").write_text(json.dumps({"small": entry}), encoding="utf-8")
    (found,) = run("nothing_chosen", tmp_path, "--seeds", 1)
    assert (found["table"], found["seed"]) == ("small", 0)
    assert -1 < found["fixed"] < found["chosen"] < 1  # an epoch that is chosen flatters


def test_growth_gives_each_cost_as_a_factor_of_the_one_before(tmp_path):
    found = growth.measure(growth.series(200), rounds=1)
    assert [point["size"] for point in found["members"]] == [8, 16, 32, 64]
    first, last = found["rows"]
    assert last["factor"] == pytest.approx(last["seconds"] / first["seconds"])
    growth.plot(found, tmp_path / "growth.html")
    assert "proportional" in (tmp_path / "growth.html").read_text(encoding="utf-8")


def run_of(table, seed, variant, test_f1, **others):
    return Run(table, seed, variant, limit=60, test_f1=test_f1, test_ap=0.2, **others)


RUNS = [
    run_of("a", 0, "one part", 0.30, validated=0.36, uncorrected=0.38),
    run_of("a", 0, "folds", 0.33, validated=0.34, uncorrected=0.37),
    run_of("a", 0, "refit", 0.32),
    run_of("b", 0, "one part", 0.20, validated=0.25, uncorrected=0.26),
    run_of("b", 0, "folds", 0.19, validated=0.18, uncorrected=0.21),
    run_of("b", 1, "one part", 0.24, validated=0.25, uncorrected=0.30),
    run_of("b", 1, "folds", 0.29, validated=0.29, uncorrected=0.31),
    run_of("b", 2, "folds", 0.40),
]


def test_differences_pair_the_runs_of_one_table_and_seed_as_scipy_does():
    found = paired(RUNS, "folds", "one part", lambda run: run.test_f1)
    reference = stats.ttest_rel([0.33, 0.19, 0.29], [0.30, 0.20, 0.24])
    assert found.interval == pytest.approx(tuple(reference.confidence_interval(0.95)))
    assert found.by_pair == pytest.approx({("a", 0): 0.03, ("b", 0): -0.01, ("b", 1): 0.05})
    assert found.by_table == pytest.approx({"a": 0.03, "b": 0.02})
    assert found.mean == pytest.approx(0.07 / 3)
    assert ", n = 3, mean of sizes 0.0300, above 0 on 2 of 2 tables" in found.sentence
    assert paired(RUNS, "folds", "before", lambda run: run.test_f1) is None


def test_a_single_pair_has_no_interval():
    assert Differences({("a", 0): 0.1}).sentence.startswith("+0.1000, n = 1,")


def test_what_was_shown_is_compared_with_the_test_score_where_something_was_shown():
    validated, uncorrected = above_test("validated"), above_test("uncorrected")
    assert gaps(RUNS, "folds", validated).mean == pytest.approx((0.01 - 0.01 + 0.0) / 3)
    assert mean(RUNS[:1], uncorrected) == pytest.approx(0.08)
    assert mean(RUNS[2:3], validated) is None
    assert gaps(RUNS, "refit", validated) is None


def test_an_interrupted_comparison_goes_on_with_what_is_missing(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert folds.read_runs(path, 60) == []
    other = replace(RUNS[0], limit=3)
    path.write_text("".join(json.dumps(asdict(run)) + "\n" for run in (*RUNS, other)))
    assert folds.read_runs(path, 60) == RUNS
    assert folds.read_runs(path, 3) == [other]
    jobs = [folds.Job(table, 0, variant) for table in "ab" for variant in ("one part", "folds")]
    assert folds.left_to_do(jobs, RUNS) == [folds.Job("b", 0, "folds")]  # it lacks the refit
    assert folds.left_to_do(jobs, []) == jobs


def test_a_tables_search_has_the_columns_of_the_manifest(tmp_path):
    entry = {"labels": {"x": 0.1, "y": 0.2}, "group": "g", "sequence": None, "drop": ["id"]}
    assert folds.search_flags("t", entry, tmp_path, 3, 60.0)[:-8] == [
        *("--csv", f"{tmp_path}/t.csv", "--label", "x", "--label", "y"),
        *("--group", "g", "--drop", "id", "--workers", "2"),
    ]


def test_a_search_of_an_older_version_is_read_too():
    test = {"macro_f1": 0.3, "macro_average_precision": 0.2}
    old = {"validation": {"macro_f1": 0.4}, "test": test, "trials": {"complete": 2, "pruned": 3}}
    which = {"table": "t", "seed": 1, "variant": "before", "limit": 60}
    found = folds.searched(old | {"seconds": 61.0}, **which)
    assert (found.validated, found.uncorrected, found.folds, found.trials) == (0.4, 0.4, 1, 5)
    shown = {"macro_f1": 0.31, "uncorrected_macro_f1": 0.35, "folds": 5}
    found = folds.searched(old | {"seconds": 61.0, "validation": shown}, **which)
    assert (found.validated, found.uncorrected, found.folds) == (0.31, 0.35, 5)
    with pytest.raises(ChildProcessError, match="more --seconds"):
        folds.searched(old | {"validation": None, "test": None}, **which)
