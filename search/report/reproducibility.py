"""What it takes to get a study's results again: its definition as a file, and commands."""

import shlex
from pathlib import Path

from studies.definition import StudyDefinition
from studies.toml import toml_text


def definition_toml(definition: StudyDefinition) -> str:
    """Return a definition as the TOML file that load_definition reads back to the same."""
    return toml_text(definition.model_dump(mode="json", exclude_none=True))


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
