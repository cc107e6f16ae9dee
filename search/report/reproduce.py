"""What it takes to get a study's results again: its definition as a file, and commands."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from studies.definition import StudyDefinition


def definition_toml(definition: StudyDefinition) -> str:
    """Return a definition as the TOML file that load_definition reads back to the same."""
    content = definition.model_dump(mode="json", exclude_none=True)
    tables = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    lines = [f"{key} = {_value(value)}" for key, value in content.items() if key not in tables]
    for name, table in tables.items():
        lines += ["", f"[{name}]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def commands(study: str, trial: int | None, best_folder: Path) -> str:
    """Return the commands that search, train and predict again, each under a comment.

    `best_folder` is WORKSPACE/STUDY/best, where the best trial's checkpoint lies.
    """
    workspace = best_folder.parent.parent
    where = "" if workspace == Path("runs") else f" --workspace {shlex.quote(str(workspace))}"
    lines = [
        "# the whole search anew, from the definition below",
        f"raretune search {study}.toml --workspace anew",
    ]
    if trial is not None:
        checkpoint = shlex.quote(str(best_folder))
        retrain = f"raretune retrain {study} --trial {trial}{where}"
        lines += [
            "# the best trial alone: the same bits, or why not",
            f"{retrain} --output again",
            "# its settings on train and validation rows",
            f"{retrain} --refit all --output final",
            "# new rows",
            f"raretune predict {checkpoint} --csv NEW.csv --output predictions.csv",
        ]
    return "\n".join(lines)


def _value(value: Any) -> str:
    """Return TOML of JSON types; a JSON string, number or list is TOML as it stands."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(part)}" for key, part in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
