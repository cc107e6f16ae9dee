"""A storage as optuna-dashboard is to see it: without nested attributes, and fast.

In its table of trials a nested attribute would make the rows as high as a page. And for every trial
it walks over all of a study's attributes to find the trial's note and artifacts; here it walks over
the trial's own.
"""

import copy
import re
from collections.abc import Container, Mapping
from functools import cached_property
from typing import Any

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from search.store.attributes import (
    AVERAGE_PRECISION,
    BEST_EPOCH,
    DIAGNOSIS,
    EPOCHS,
    FAILURE,
    MACRO_F1,
    OWNER,
    PREDICTED_SHARE,
    RECALL,
    RECIPE,
    SECONDS,
    STOPPED,
)
from search.store.records import id_of

FIRST = (  # columns of the table of trials, in this order, before all others
    *(MACRO_F1, AVERAGE_PRECISION, RECALL, PREDICTED_SHARE),
    *(BEST_EPOCH, EPOCHS, SECONDS, DIAGNOSIS, RECIPE, STOPPED, FAILURE),
)
OF_A_TRIAL = re.compile(r"dashboard:(?:artifacts:)?(\d+):")


class ByTrial(dict[str, Any]):
    """A study's system attributes, which know those of each trial."""

    @cached_property
    def trials(self) -> dict[int, dict[str, Any]]:
        """The attributes of each trial that has any, by its id."""
        found: dict[int, dict[str, Any]] = {}
        for key, value in self.items():
            if match := OF_A_TRIAL.match(key):
                found.setdefault(int(match[1]), {})[key] = value
        return found


def readable(storage: BaseStorage) -> BaseStorage:
    """Return the storage, whose trials and studies now come with plain attributes only."""
    trials, studies = storage.get_all_trials, storage.get_all_studies

    def get_all_trials(
        study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return [_plain(trial) for trial in trials(study_id, deepcopy, states)]

    def get_all_studies() -> list[Any]:
        return [_by_trial(_plain(study)) for study in studies()]

    storage.get_all_trials = get_all_trials  # type: ignore[method-assign]
    storage.get_all_studies = get_all_studies  # type: ignore[method-assign]
    return storage


def _plain(one: Any) -> Any:
    """Return a copy of a trial or a study with its plain attributes, those of FIRST in front."""
    shortened = copy.copy(one)
    shortened.user_attrs = _shown(one.user_attrs)
    return shortened


def _by_trial(study: Any) -> Any:
    study.system_attrs = ByTrial(study.system_attrs)
    return study


def _shown(attributes: Mapping[str, Any]) -> dict[str, Any]:
    first = {key: attributes[key] for key in FIRST if key in attributes}
    plain = {k: v for k, v in attributes.items() if not isinstance(v, dict | list) and k != OWNER}
    return first | plain


def look_at_each_trials_own_attributes() -> None:
    """Make optuna-dashboard look for a trial's note and artifacts among the trial's attributes.

    A version without these functions stays as slow as it is.
    """
    from optuna_dashboard import _note, _serializer

    for module, name in (
        (_note, "get_note_from_system_attrs"),
        (_serializer, "list_trial_artifacts"),
    ):
        whole = getattr(module, name, None)
        if whole is not None and not hasattr(whole, "own"):
            setattr(module, name, _of_its_trial(whole))


def _of_its_trial(whole: Any) -> Any:
    def own(system_attrs: dict[str, Any], *about: Any) -> Any:
        """As the function it stands for, whose last argument is a trial, its id, or None."""
        *_, of = about
        trial_id = id_of(of) if isinstance(of, FrozenTrial | Trial) else of
        if isinstance(system_attrs, ByTrial) and trial_id is not None:
            system_attrs = system_attrs.trials.get(trial_id, {})
        return whole(system_attrs, *about)

    own.own = True  # type: ignore[attr-defined]
    return own
