"""A study with evidence as a search leaves them, made in a moment: its scores are drawn."""

import json
from datetime import datetime, timedelta

import numpy as np
import optuna
import torch
from optuna.trial import TrialState, create_trial

from search.evidence.evaluation import counts_along_cuts
from search.evidence.evidence import (
    ColumnImportance,
    Contender,
    Evidence,
    LabelCalibration,
    LabelEvidence,
    LabelTest,
    TableFacts,
)
from search.space.space import KNOWN_RECIPES, distributions
from search.store.attributes import DEFINITION
from studies.definition import load_definition
from trainer.checkpoint import json_text
from trainer.config import TrainConfig
from trainer.pages.calibration import CALIBRATED, RAW
from trainer.pages.curves import wilson_interval
from trainer.scores.reliability import before_and_after, decision_curve, reliability

HOSTILE = "</script><b>"
LABELS = (HOSTILE, 'rare & "co"', "never")
SIGNS = ("", "", "overfitting", "all_negative; unstable_loss")
TEST_KEYS = ("precision", "recall", "f1", "average_precision", "roc_auc")


def make_study(trials=30, name="clinic", storage=None, epochs=12):
    """A study of complete, pruned and failed trials; the first three are the known recipes."""
    study = optuna.create_study(direction="maximize", study_name=name, storage=storage)
    definition = load_definition("nafld", {"name": name})
    study.set_metric_names(["macro_f1"])
    study.set_user_attr(DEFINITION, definition.model_dump(mode="json"))
    random = np.random.default_rng(0)
    space = distributions(definition)
    recipes = list(KNOWN_RECIPES.items())
    study.add_trials([_trial(n, random, space, recipes, epochs) for n in range(trials)])
    return study


def _trial(number, random, space, recipes, epochs):
    sampler = optuna.samplers.RandomSampler(seed=number)
    draw = optuna.create_study(sampler=sampler).ask(space)
    params = dict(draw.params)
    attributes = {"environment": {"python": "3.11.7", "torch": "2.13.0"}, "seconds": 2.0}
    if number < len(recipes):
        name, values = recipes[number]
        params, attributes["recipe"] = {key: values[key] for key in space}, name
    config = TrainConfig.create(**params, seed=number)
    attributes |= {"config": config.model_dump(mode="json"), "epochs": epochs, "best_epoch": 3}
    start = datetime(2026, 1, 1) + timedelta(seconds=number)
    shared = {"params": params, "distributions": space, "user_attrs": attributes}
    if number % 10 == 9:
        attributes["failure"] = f"the loss was not finite in epoch 1 {HOSTILE}"
        trial = create_trial(state=TrialState.FAIL, **shared)
    else:
        attributes["diagnosis"] = SIGNS[number % len(SIGNS)]
        pruned = number % 3 == 2 and number >= len(recipes)
        values = 0.1 + 0.1 * random.random(epochs) + (0.2 if number == 3 else 0)
        trial = create_trial(
            state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
            value=float(values.max()),
            intermediate_values={i + 1: float(v) for i, v in enumerate(values)},
            **shared,
        )
    trial.datetime_start, trial.datetime_complete = start, start + timedelta(seconds=2)
    return trial


def make_evidence(trial=3, names=LABELS, rows=600, low=-0.004):
    """Evidence of a trial that beats plain BCE by 0.012, from `low`; "never" has no positives."""
    generator = torch.Generator().manual_seed(0)
    return Evidence(
        trial=trial,
        validated=0.24,
        macro_f1=0.212,
        interval=(0.18, 0.24),
        table=TableFacts(
            file=f"{HOSTILE}.csv",
            sha256="ab" * 32,
            rows=3 * rows,
            features=9,
            group="family",
            train=rows,
            validation=rows,
            test=rows,
            split_seed=0,
            prevalence=dict.fromkeys(names, 0.1),
        ),
        labels=[_label(name, rows, generator) for name in names],
        contenders=[
            _contender("plain BCE", 0, 0.2, 0.012, (low, 0.028)),
            _contender("the guide", 1, 0.15, 0.062, (0.04, 0.08)),
            _contender("every row positive", None, 0.3, -0.088, (-0.1, -0.07)),
        ],
    )


def _contender(name, trial, score, difference, interval):
    return Contender(
        name=name,
        trial=trial,
        validated=None if trial is None else 0.19,
        macro_f1=score,
        interval=(score - 0.02, score + 0.02),
        difference=difference,
        difference_interval=interval,
    )


def _label(name, rows, generator):
    y = (torch.rand(rows, generator=generator) < 0.1).float()
    if name == "never":
        y[:] = 0
    p = torch.sigmoid(torch.randn(rows, generator=generator) + 2 * y - 2)
    bins = reliability(p, y)
    low, high = wilson_interval(bins.observed, bins.rows)
    (scores,) = before_and_after(p[:, None], p[:, None] / 2, y[:, None], [name]).values()
    scores = json.loads(json_text(scores))
    halved = reliability(p / 2, y)
    calibration = LabelCalibration(
        **{"a": 1.2, "b": 0.9, "c": -0.7, "scores": scores},
        predicted=halved.predicted.tolist(),
        observed=halved.observed.tolist(),
        bin_rows=halved.rows.tolist(),
        decisions=decision_curve({RAW: p, CALIBRATED: p / 2}, y),
    )
    return LabelEvidence(
        label=name,
        **counts_along_cuts(p, y, 0.3),
        predicted=bins.predicted.tolist(),
        observed=bins.observed.tolist(),
        bin_rows=bins.rows.tolist(),
        low=low.tolist(),
        high=high.tolist(),
        columns=[
            ColumnImportance(column=f"{column}{HOSTILE}", drop=0.05 / (i + 1), spread=0.01)
            for i, column in enumerate(("age", "a_column_with_a_very_long_name_indeed"))
        ],
        test=LabelTest(
            precision=0.2,
            recall=0.4,
            f1=0.267,
            average_precision=0.3,
            roc_auc=None if name == "never" else 0.8,
            support=12,
            true_positives=5,
            false_positives=20,
            false_negatives=7,
            true_negatives=568,
            intervals=dict.fromkeys(TEST_KEYS, (0.1, 0.5)),
            calibration=scores,
        ),
        calibration=calibration,
    )
