"""A study as one HTML page: what was found, how sure that is, and how to get it again.

study -> records, figures, evidence -> sections -> page. The page stands alone: styles, figures and
plotly.js are within it, nothing is fetched.
"""

from collections.abc import Mapping
from html import escape
from importlib.metadata import version
from pathlib import Path
from string import Template

import optuna
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from search.evidence.evidence import Evidence, stored
from search.figures.captioned import CaptionedFigure
from search.figures.study import evidence_figures, study_figures
from search.figures.words import count
from search.report.labels import labels_section
from search.report.sections import (
    again_section,
    found_section,
    remedies_section,
    search_section,
    trouble_section,
)
from search.space.objective import in_words
from search.store.records import StudyRecord, count_states, read_study
from search.store.storage import load_study, open_storage
from studies.definition import StudyDefinition
from trainer.pages.html import STYLE
from trainer.writing import write_whole

NAV = {
    "found": "What was found",
    "labels": "Labels",
    "remedies": "Remedies",
    "search": "The search",
    "trouble": "Collapses",
    "again": "Again",
}


def figures(study_name: str, storage: str) -> dict[str, go.Figure]:
    """Return a stored study's figures by name; raises RaretuneError if there is no such one.

    With evidence stored there are "contenders" and, for each label, "precision_recall:LABEL",
    "reliability:LABEL" and "columns:LABEL" besides those of search.figures.study. `storage` is
    a URL.
    """
    study = load_study(open_storage(storage), study_name)
    record = read_study(study)
    evidence = None if record.best is None else stored(study, record.best.number)
    return {key: one.figure for key, one in _figures(record, evidence).items()}


def write_report(
    path: Path, study: optuna.Study, evidence: Evidence | None, best_folder: Path
) -> None:
    """Write a study's page to `path`, whole or not at all; raises RaretuneError.

    `best_folder` is where its best checkpoint lies, to be named in commands.
    """
    write_whole(path, report_page(read_study(study), evidence, best_folder))


def report_page(study: StudyRecord, evidence: Evidence | None, best_folder: Path) -> str:
    """Return a study's page as HTML; without evidence it tells of the search alone."""
    records, best = study.trials, study.best
    figures = _figures(study, evidence)
    score = in_words(study.objective)
    kept = study.definition
    definition = None if kept is None else StudyDefinition.model_validate(kept)
    sections = {
        "found": found_section(evidence, records, best, score, figures),
        "labels": "" if evidence is None else labels_section(evidence.labels, figures),
        "remedies": remedies_section(records, figures),
        "search": search_section(figures),
        "trouble": trouble_section(records),
        "again": again_section(study.name, evidence, best, definition, best_folder),
    }
    return _fill(study.name, _summary(study, evidence, score), sections)


def _figures(study: StudyRecord, evidence: Evidence | None) -> dict[str, CaptionedFigure]:
    figures = study_figures(study)
    return figures if evidence is None else figures | evidence_figures(evidence)


def _summary(study: StudyRecord, evidence: Evidence | None, score: str) -> str:
    counts = count_states(study.trials)
    states = ", ".join(f"{n:,} {state}" for state, n in counts.items() if n)
    ended = count(sum(counts.values()), "trial") + (f" ({states})" if states else "")
    words = f"{ended}, searched for the best {score}"
    if evidence is not None:
        facts = evidence.table
        labels = count(len(facts.prevalence), "label")
        words = f"{facts.file}: {count(facts.rows, 'row')}, {labels}. {words}"
    return f"{words}."


def _fill(name: str, summary: str, sections: Mapping[str, str]) -> str:
    nav = "".join(f'<a href="#{key}">{NAV[key]}</a>' for key, html in sections.items() if html)
    return Template(_part("html")).substitute(
        version=version("raretune"),
        name=escape(name),
        summary=escape(summary),
        style=STYLE + _part("css"),
        nav=nav,
        sections="\n".join(filter(None, sections.values())),
        plotly=get_plotlyjs(),
        script=_part("js"),
    )


def _part(suffix: str) -> str:
    return Path(__file__).with_suffix(f".{suffix}").read_text(encoding="utf-8")
