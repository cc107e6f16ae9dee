"""All figures of a study, from the study alone."""

import math
from collections.abc import Iterator

import optuna

from search.figures.choices import remedy_figure, strength_figure
from search.figures.course import history, learning_curves
from search.figures.importance import importance_figure
from search.figures.parallel import parallel_figure
from search.figures.shown import Shown, score_name
from search.figures.timeline import timeline
from search.store.records import STATES, TrialRecord

__all__ = ["Shown", "study_figures"]


def study_figures(study: optuna.Study) -> dict[str, Shown]:
    """Return the figures of a study by name, in the order to show them.

    Names are history, learning_curves, remedies, strength, importances, parallel_coordinates and
    timeline; one for which there are no data is left out.
    """
    return {name: shown for name, shown in _figures(study) if shown is not None}


def _figures(study: optuna.Study) -> Iterator[tuple[str, Shown | None]]:
    trials = study.get_trials(deepcopy=False, states=tuple(STATES))
    records = [TrialRecord.from_trial(trial) for trial in trials]
    curves = {
        trial.number: {
            epoch: value
            for epoch, value in trial.intermediate_values.items()
            if math.isfinite(value)
        }
        for trial in trials
    }
    times = {
        trial.number: (trial.datetime_start, trial.datetime_complete)
        for trial in trials
        if trial.datetime_start is not None and trial.datetime_complete is not None
    }
    score = score_name(study)
    yield "history", history(records, score)
    yield "learning_curves", learning_curves(records, curves, score)
    yield "remedies", remedy_figure(records, score)
    yield "strength", strength_figure(records, score)
    yield "importances", importance_figure(study, records, score)
    yield "parallel_coordinates", parallel_figure(records, score)
    yield "timeline", timeline(records, times)
