"""A report's sections: what each tells, as plain values that the template of its name shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search.appraisal.baselines import Comparison, better_sentence
from search.appraisal.certificate import Certificate
from search.appraisal.corrected import corrected_macro_f1, validated_sentence
from search.appraisal.ensemble import Ensemble
from search.evidence.evidence import Evidence
from search.figures.captioned import CaptionedFigure
from search.figures.words import count
from search.report.baselines import baseline_rows
from search.report.certificate import certificate_content
from search.report.diagnoses import group_failures, group_signs
from search.report.ensemble import ensemble_content
from search.report.labels import label_content, trust
from search.report.reproducibility import commands, definition_toml
from search.report.verdict import compared, confirmation, remedy_words, verdict, warnings
from search.space.objective import in_words
from search.store.records import (
    StudyRecord,
    TrialRecord,
    count_states,
    read_definition,
    summarise_choices,
)
from trainer.errors import ConfigError
from trainer.scores.selection import Corrected

Figures = Mapping[str, CaptionedFigure]


@dataclass(frozen=True)
class Section:
    """A section's title, the short one that links to it, and what its template shows."""

    title: str
    link: str
    content: Mapping[str, Any]


def sections(
    study: StudyRecord,
    evidence: Evidence | None,
    figures: Figures,
    best_folder: Path,
    *,
    exported: bool,
    comparison: Comparison | None = None,
    ensemble: Ensemble | None = None,
    certificate: Certificate | None = None,
) -> dict[str, Section]:
    """Return all sections that have something to tell, by the name of their template.

    `exported` is whether the best trial's checkpoint lies in `best_folder`; `comparison` holds
    baselines against that trial, and `certificate` is what its remedies are worth.
    """
    found = Section(
        "What was found, and how sure that is",
        "What was found",
        {
            **_found(study, evidence, certificate),
            "better": better_sentence(comparison),
        },
    )
    content = {"found": found}
    if ensemble is not None:
        content["ensemble"] = Section(
            "The best trial or an ensemble",
            "Ensemble",
            ensemble_content(study, ensemble, best_folder),
        )
    if comparison is not None:
        content["baselines"] = Section(
            "Ordinary models on the same folds", "Ordinary models", baseline_rows(comparison)
        )
    if evidence is not None:
        labels = [
            label_content(label, figures, evidence.doubts.get(label.label, ""))
            for label in evidence.labels
        ]
        shown = {"labels": labels, "trust": trust(evidence.labels)}
        content["labels"] = Section("Label by label", "Labels", shown)
    if choices := summarise_choices(study.trials):
        content["remedies"] = Section(
            "Which remedies earned their place", "Remedies", {"choices": choices}
        )
    if figures.keys() & {"history", "learning_curves", "parallel_coordinates", "timeline"}:
        content["search"] = Section("The search", "The search", {})
    content["trouble"] = Section("What went wrong", "What went wrong", _trouble(study.trials))
    content["again"] = Section(
        "How to get this again", "Repeat it", _again(study, evidence, best_folder, exported)
    )
    return content


def _found(
    study: StudyRecord, evidence: Evidence | None, certificate: Certificate | None
) -> dict[str, Any]:
    best, score = study.best, in_words(study.objective)
    content: dict[str, Any] = dict.fromkeys(("tiles", "sentences", "warnings", "contenders"), ())
    content |= {"best": best, "confirmed": study.confirmed, "confirmation": ""}
    content["certificate"] = certificate and certificate_content(certificate)
    if best is None:
        return content | {
            "verdict": "No trial has ended complete yet, so nothing was found.",
            "sentences": ["Search on; what went wrong until now is told below."],
        }
    if study.confirmed:
        content["confirmation"] = confirmation(study.confirmed, best, score)
    if evidence is None:
        told = (
            "What it is worth on test rows is not kept with the study; raretune report finds out."
        )
        return content | {
            "verdict": f"Trial {best.number}, {remedy_words(best)}, has the best validated "
            f"{score}: {best.value:.3f}.",
            "sentences": [told],
        }
    corrected, trials = corrected_macro_f1(study.trials), sum(count_states(study.trials).values())
    return content | {
        "verdict": verdict(evidence, best, certified=certificate is not None),
        "tiles": _tiles(evidence, corrected),
        "remedy": remedy_words(best),
        "sentences": [validated_sentence(evidence.validated, corrected, trials, score)],
        "warnings": warnings(evidence),
        "contenders": [
            {**one.model_dump(), "words": f"Trial {evidence.trial} is {compared(one)}."}
            for one in evidence.contenders
        ],
    }


def _tiles(
    evidence: Evidence, corrected: Corrected | None
) -> list[tuple[str, float, tuple[float | None, float | None]]]:
    none = (None, None)
    tiles = []
    if evidence.macro_f1 is not None and evidence.interval is not None:
        tiles.append(("Test macro-F1", evidence.macro_f1, evidence.interval))
    if corrected is None:
        return [*tiles, ("Validated macro-F1", evidence.validated, none)]
    return [*tiles, ("Validated macro-F1, corrected", corrected.value, corrected.interval)]


def _trouble(records: list[TrialRecord]) -> dict[str, Any]:
    signs, failures = group_signs(records), group_failures(records)
    diagnosed = sum(record.diagnosis is not None for record in records)
    sentences = []
    if not diagnosed:
        sentences.append("No diagnosis is noted with these trials.")
    elif not signs:
        sentences.append(f"None of {count(diagnosed, 'diagnosed trial')} shows a sign of trouble.")
    if not failures:
        sentences.append("No trial failed.")
    return {"signs": signs, "failures": failures, "sentences": sentences}


def _again(
    study: StudyRecord, evidence: Evidence | None, best_folder: Path, exported: bool
) -> dict[str, Any]:
    best = study.best
    number = None if best is None else best.number
    content: dict[str, Any] = dict.fromkeys(("toml", "unreadable", "settings"), "")
    content |= {
        "commands": commands(study.name, number, best_folder, exported=exported),
        "table": None if evidence is None else evidence.table,
    }
    try:
        if study.definition is not None:
            content["toml"] = definition_toml(read_definition(study.name, study.definition))
    except ConfigError as error:
        content["unreadable"] = f"There is no definition to repeat the search from: {error}."
    if best is not None:
        content |= {
            "number": best.number,
            "settings": [(name, _setting(value)) for name, value in best.config.items()],
            "versions": [
                (name, version)
                for name, version in best.environment.items()
                if name not in ("table", "split")
            ],
        }
    return content


def _setting(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
