"""`raretune retrain`: one trial trained again, compared with what was stored, and written."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.text import Text

from search.commands.trials import pick
from search.export import kept_of
from search.reopen import reopen
from search.retrain import OverSeeds, Retrained, over_seeds, refit
from search.retrain import retrain as retrain_trial
from search.store.records import TrialRecord, read_records
from search.workspace import Place
from trainer.checkpoint import Checkpoint, check_replaceable, json_text, save_checkpoint
from trainer.commands.device import one_thread
from trainer.commands.terminal import label_grid, result_console, score_sentence
from trainer.errors import ConfigError

MOST = 1000  # seeds, or trials, that are trained again


@one_thread()
def retrain(
    place: Place,
    output: Path,
    trial: str,
    *,
    refit_rows: str | None,
    seeds: int,
    as_json: bool,
) -> None:
    """Train a trial alone, compare with what was stored, and write its checkpoint."""
    if refit_rows not in (None, "all"):
        raise ConfigError(f"--refit {refit_rows!r} is not known; the only choice is all")
    check_count("--seeds", seeds)
    check_replaceable(output)
    study, session = reopen(place)
    record = pick(read_records(study), trial)
    kept, broken = kept_of(study, session, record)
    again = retrain_trial(session, record, kept)
    if broken:
        again = replace(again, difference="; ".join(filter(None, (again.difference, broken))))
    checkpoint = again.checkpoint if refit_rows is None else refit(session, record)
    save_checkpoint(output, checkpoint)
    spread = over_seeds(session, [record], seeds)[0] if seeds > 1 else None
    test = checkpoint.record.test_as_handed_out
    if as_json:
        found = {
            "study": place.name,
            "number": record.number,
            "reproduced": not again.difference,
            "difference": again.difference,
            "not_compared": list(again.unknown),
            "refit": refit_rows,
            "validation": {"macro_f1": checkpoint.record.validation["macro_f1"]},
            "test": test,
            "seeds": None if spread is None else seeds_json(spread),
            "checkpoint": str(output),
        }
        print(json_text(found))
        return
    console = result_console()
    if test is not None:
        console.print(label_grid("Test rows", test, checkpoint.record.doubts))
    lines = [_compared(place.name, record, again)]
    if refit_rows:
        lines.append("Then refitted on train and validation rows; thresholds are cross-fitted.")
    lines += _scores(checkpoint, spread)
    lines.append(f"Its checkpoint is {output}")
    console.print(Text("\n".join(lines)), soft_wrap=True)


def _compared(name: str, record: TrialRecord, again: Retrained) -> str:
    if again.difference:
        return f"Trial {record.number} of {name} came out differently: {again.difference}."
    told = f"Trial {record.number} of {name}: reproduced exactly."
    if again.unknown:
        nothing = " and ".join(again.unknown)
        told += f" Not compared, since none are kept of this trial: {nothing}."
    return told


def _scores(checkpoint: Checkpoint, spread: OverSeeds | None) -> list[str]:
    lines = []
    if spread is not None:
        searched = "none" if spread.searched is None else f"{spread.searched:.4f}"
        lines.append(
            f"Over {len(spread.values)} new seeds: mean {spread.mean:.4f}, standard deviation "
            f"{spread.spread:.4f}; its value in the search was {searched}."
        )
    test = checkpoint.record.test
    if test is not None:
        macro = test["intervals"]["macro"]["f1"]
        lines.append(score_sentence("Test", test["macro_f1"], macro) + ".")
    return lines


def check_count(flag: str, count: int) -> None:
    """Refuse a number of trainings that is none, or that no one would wait for."""
    if not 1 <= count <= MOST:
        raise ConfigError(f"{flag} must be from 1 to {MOST}, got {count}")


def seeds_json(one: OverSeeds) -> dict[str, Any]:
    """Return a trial's objective over seeds as JSON types."""
    return {**asdict(one), "mean": one.mean, "spread": one.spread}
