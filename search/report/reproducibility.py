"""What it takes to get a study's results again: its definition as a file, and commands."""

import shlex
from pathlib import Path

from studies.definition import StudyDefinition
from studies.toml import toml_text


def definition_toml(definition: StudyDefinition) -> str:
    """Return a definition as the TOML file that load_definition reads back to the same."""
    return toml_text(definition.model_dump(mode="json", exclude_none=True))


def commands(study: str, trial: int | None, best_folder: Path, *, exported: bool = True) -> str:
    """Return the commands that search, train and predict again, each under a comment.

    `best_folder` is WORKSPACE/STUDY/best, where the best trial's checkpoint lies if it is
    `exported`; else a command that writes it elsewhere comes first.
    """
    workspace = best_folder.parent.parent
    where = "" if workspace == Path("runs") else f" --workspace {shlex.quote(str(workspace))}"
    lines = [
        "# search again from the definition below, in a workspace of its own",
        f"raretune search {shlex.quote(f'{study}.toml')} --workspace repeated",
    ]
    if trial is not None:
        checkpoint = shlex.quote(str(best_folder)) if exported else "exported"
        of_trial = f"{shlex.quote(study)} --trial {trial}{where}"
        retrain = f"raretune retrain {of_trial}"
        export = [
            "# write the best trial's checkpoint",
            f"raretune export {of_trial} --output exported",
        ]
        lines += [
            "# train the best trial again, and say whether it came out the same",
            f"{retrain} --output again",
            "# train its settings on the train and validation rows together",
            f"{retrain} --refit all --output final",
            *([] if exported else export),
            "# predict new rows",
            f"raretune predict {checkpoint} --csv NEW.csv --output predictions.csv",
        ]
    return "\n".join(lines)
