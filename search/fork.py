"""A new study that begins with the trials of an old one, where only the space has changed."""

from collections.abc import Iterator, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from search.space.space import distributions
from search.store.attributes import FORKED_FROM, FORKED_ID
from search.store.identity import identity_of
from search.store.records import read_fingerprint
from search.store.storage import differences
from studies.definition import StudyDefinition
from trainer.errors import ConfigError


def fork(old_study: optuna.Study, new_study: optuna.Study, definition: StudyDefinition) -> int:
    """Import an old study's complete and pruned trials that fit the new space; return how many.

    A trial fits if it has the new space's parameters, no other ones, all within their
    distributions. It gets a new number and keeps its value, reports and user attributes: its
    `config` still holds the seed that it was trained with. What was imported before is not imported
    again; another study of the same name is another.

    Both studies have their fingerprints, as `open_study` stores them. Raises ConfigError if they
    differ in more than the space, for then a value would not mean the same.
    """
    _check_alike(old_study, new_study)
    space = distributions(definition)
    there = {_origin(trial) for trial in new_study.get_trials(deepcopy=False)}
    imported = [
        trial
        for trial in _fitting(old_study, space)
        if not there & {_origin(trial), (trial.user_attrs[FORKED_FROM], None)}
    ]
    new_study.add_trials(imported)
    return len(imported)


def _origin(trial: FrozenTrial) -> tuple[Any, Any]:
    """Return where a trial was imported from; an earlier version did not note the study's UUID."""
    return trial.user_attrs.get(FORKED_FROM), trial.system_attrs.get(FORKED_ID)


def _check_alike(old_study: optuna.Study, new_study: optuna.Study) -> None:
    old, new = _without_space(old_study), _without_space(new_study)
    if changes := "; ".join(differences(old, new)):
        raise ConfigError(
            f"study {old_study.study_name!r} can't be forked: only the space may differ, but so "
            f"does {changes}; undo that, or start without --fork"
        )


def _without_space(study: optuna.Study) -> Mapping[str, Any]:
    fingerprint = read_fingerprint(study)
    if fingerprint is None:
        raise ConfigError(f"study {study.study_name!r} was not made by raretune; fork another one")
    return {key: value for key, value in fingerprint.items() if key != "space"}


def _fitting(study: optuna.Study, space: dict[str, BaseDistribution]) -> Iterator[FrozenTrial]:
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    known = identity_of(study)
    for trial in study.get_trials(deepcopy=False, states=states):
        try:
            yield create_trial(
                state=trial.state,
                values=trial.values,
                params=trial.params,
                distributions=space,
                user_attrs={**trial.user_attrs, FORKED_FROM: f"{study.study_name}/{trial.number}"},
                system_attrs={} if known is None else {FORKED_ID: known},
                intermediate_values=trial.intermediate_values,
            )
        except ValueError:  # other parameters, or a value outside its distribution
            continue
