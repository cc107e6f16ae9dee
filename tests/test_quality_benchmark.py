"""The exam reads what a search says, pairs what belongs together, and goes on where it ended."""

import json
from dataclasses import asdict, replace
from importlib.util import find_spec

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score

from benchmarks import quality
from benchmarks.folds import search_flags
from benchmarks.quality import Job, Scored

WHICH = {"table": "t", "seed": 1, "program": "raretune", "limit": 60}
TEST = {
    "macro_f1": 0.3,
    "macro_average_precision": 0.2,
    "macro_roc_auc": 0.8,
    "labels": {"x": {"calibration_error": 0.01}, "y": {"calibration_error": 0.03}},
}
BASELINE = {
    "macro_f1": 0.28,
    "macro_average_precision": 0.19,
    "macro_roc_auc": 0.79,
    "calibration_error": 0.005,
}
FOUND = {
    "validation": {"macro_f1": 0.31},
    "test": TEST,
    "seconds": 61.0,
    "ensemble": {
        "validation": {"macro_f1": 0.32},
        "test": {**TEST, "macro_f1": 0.33},
    },
    "baselines": {
        "forest": {
            "validation": {"macro_f1": 0.29},
            "test": BASELINE,
            "seconds": 3.0,
            "failed": "",
        },
        "broken": {"validation": None, "test": None, "seconds": 0.0, "failed": "ValueError: no"},
    },
}


def run_of(table, seed, variant, macro_f1, **others):
    given = {"average_precision": 0.2, "roc_auc": 0.8, "calibration_error": 0.01, **others}
    which = {"program": "raretune", "limit": 60, "validated": 0.3, "took": 61.0}
    return Scored(table, seed, variant=variant, macro_f1=macro_f1, **which, **given)


def test_a_search_hands_over_its_best_trial_its_ensemble_and_the_baselines(capsys):
    best, ensemble, forest = quality.searched(FOUND, "best", **WHICH)
    assert (best.variant, best.macro_f1, best.validated) == ("best", 0.3, 0.31)
    assert best.calibration_error == pytest.approx(0.02)
    assert (ensemble.variant, ensemble.macro_f1, ensemble.validated) == ("ensemble", 0.33, 0.32)
    assert (forest.variant, forest.macro_f1, forest.took) == ("forest", 0.28, 3.0)
    assert "broken failed: ValueError: no" in capsys.readouterr().err


def test_a_version_without_ensemble_and_baselines_has_its_best_trial():
    old = {key: FOUND[key] for key in ("validation", "test", "seconds")}
    (only,) = quality.searched(old, "before", **WHICH)
    assert only.variant == "before"
    with pytest.raises(ChildProcessError, match="more --seconds"):
        quality.searched({**old, "test": None}, "before", **WHICH)


def test_differences_are_paired_by_table_and_seed():
    ensemble, rival = [0.30, 0.33, 0.20], [0.28, 0.34, 0.16]
    pairs = [("a", 0), ("a", 1), ("b", 0)]
    runs = [run_of(*p, "ensemble", f1) for p, f1 in zip(pairs, ensemble, strict=True)]
    runs += [run_of(*p, "forest", f1) for p, f1 in zip(pairs, rival, strict=True)]
    low, high = stats.ttest_rel(ensemble, rival).confidence_interval(0.95)
    mean = np.mean(np.subtract(ensemble, rival))
    lines = quality.markdown(runs).splitlines()
    (difference,) = [line for line in lines if line.startswith("| forest |")]
    assert f"| {mean:+.4f} ({low:+.4f} to {high:+.4f}) |" in difference
    assert difference.endswith("| 2 of 2, 0 of 2 |")
    assert "| a | ensemble | 2 | 0.3150 |" in quality.markdown(runs)
    assert "| all | forest | 2 | 0.2600 |" in quality.markdown(runs)


def test_an_interrupted_exam_goes_on_with_what_is_missing(tmp_path):
    path, runs = tmp_path / "quality.jsonl", [run_of("a", 0, "best", 0.3)]
    assert quality.read_runs(path, 60) == []
    other = replace(runs[0], limit=3)
    path.write_text("".join(json.dumps(asdict(run)) + "\n" for run in (*runs, other)))
    assert quality.read_runs(path, 60) == runs
    jobs = [Job("a", 0, "raretune"), Job("a", 0, "LightGBM"), Job("b", 0, "raretune")]
    assert quality.left_to_do(jobs, runs) == jobs[1:]


def test_the_baselines_are_fitted_by_a_search_that_trains_nothing_more(tmp_path):
    flags = search_flags("t", {"labels": {"x": 0.1}}, tmp_path, 3, 60.0)
    more, none = flags.index("--trials") + 1, quality.no_more_trials(flags)
    assert none[more] == "1"
    assert none[:more] + none[more + 1 :] == flags[:more] + flags[more + 1 :]


def test_lightgbm_tuned_has_the_columns_of_the_manifest(tmp_path):
    entry = {"labels": {"x": 0.1, "y": 0.2}, "group": "g", "sequence": None, "drop": ["id"]}
    assert quality.tuned_flags(Job("t", 3, "LightGBM"), entry, tmp_path, 60.0) == [
        *(tmp_path / "t.csv", "--seconds", 60.0, "--seed", 3),
        *("--label", "x", "--label", "y", "--drop", "id", "--group", "g"),
    ]


@pytest.mark.skipif(find_spec("lightgbm") is None, reason="LightGBM is not installed")
def test_tuning_begins_with_the_baseline_and_keeps_what_its_best_trial_predicts():
    from benchmarks.tuned_lightgbm import LIGHTGBM, LabelRows, tune

    random = np.random.default_rng(0)
    x = random.normal(size=(400, 3)).astype(np.float32)
    y = (x[:, 0] + random.normal(size=400) > 1.5).astype(np.float32)
    halves = np.arange(400) % 2
    folds = [(x[halves != k], y[halves != k], x[halves == k], x[:5]) for k in range(2)]
    rows = LabelRows(folds, [np.flatnonzero(halves == k) for k in range(2)], y)
    first = tune(rows, 0.0, seed=0)
    assert first.trials == 1
    baseline = LIGHTGBM.make(0).set_params(reg_lambda=1e-3, reg_alpha=1e-3)
    for k, places in enumerate(rows.places):
        own = baseline.fit(*folds[k][:2]).predict_proba(x[places])[:, 1]
        np.testing.assert_allclose(first.held_out[places], own, atol=1e-6)
    longer = tune(rows, 1.0, seed=0)
    assert longer.trials > 1
    better, start = (average_precision_score(y, one.held_out) for one in (longer, first))
    assert better >= start
    assert longer.test.shape == (5,)
