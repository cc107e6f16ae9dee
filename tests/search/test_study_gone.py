"""A study that is deleted, or renamed in the dashboard, while it is searched."""

from dataclasses import replace

import optuna
import pytest

from search.run import run_search
from search.store.storage import StudyGoneError, open_storage, while_it_exists


@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_whose_study_is_deleted_ends_in_one_line(searched_session, capfd, workers):
    session = searched_session("vanishing", budget={"trials": 4}, training={"epochs": 3})
    budget = session.definition.budget.model_copy(update={"trials": 400})
    more = session.definition.model_copy(update={"budget": budget, "workers": workers})
    deleted = []

    def delete(progress):
        if not deleted and progress.done > 8:
            deleted.append(True)
            optuna.delete_study(study_name="vanishing", storage=open_storage(session.url))

    with pytest.raises(StudyGoneError, match="'vanishing' was deleted or renamed") as told:
        run_search(replace(session, definition=more), should_stop=lambda: False, on_progress=delete)
    assert "\n" not in str(told.value)
    assert "Traceback" not in capfd.readouterr().err


def test_another_key_error_stays_what_it_is():
    with pytest.raises(KeyError, match="mistake"), while_it_exists(optuna.create_study()):
        raise KeyError("mistake")
