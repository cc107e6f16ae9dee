"""A study as one HTML page: what was found, how sure that is, and how to get it again.

study -> records, figures, evidence -> sections -> page. The page stands alone: styles, figures and
plotly.js are within it, nothing is fetched.
"""

from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from string import Template

import optuna
import plotly.graph_objects as go
from optuna.trial import TrialState
from plotly.offline import get_plotlyjs

from search.evidence.evidence import Evidence, stored
from search.figures.contenders import evidence_figures
from search.figures.shown import Shown, count, score_name
from search.figures.study import study_figures
from search.report.labels import labels_section
from search.report.sections import (
    again_section,
    found_section,
    remedies_section,
    search_section,
    trouble_section,
)
from search.store.attributes import DEFINITION, DIAGNOSIS
from search.store.records import TrialRecord, complete, count_states, read_records
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
    best = next(iter(complete(read_records(study))), None)
    evidence = None if best is None else stored(study, best.number)
    return {key: one.figure for key, one in _shown(study, evidence).items()}


def write_report(
    path: Path, study: optuna.Study, evidence: Evidence | None, best_folder: Path
) -> None:
    """Write a study's page to `path`, whole or not at all; raises RaretuneError.

    `best_folder` is where its best checkpoint lies, to be named in commands.
    """
    write_whole(path, report_page(study, evidence, best_folder))


def report_page(study: optuna.Study, evidence: Evidence | None, best_folder: Path) -> str:
    """Return a study's page as HTML; without evidence it tells of the search alone."""
    records = read_records(study)
    best = next(iter(complete(records)), None)
    shown = _shown(study, evidence)
    score = score_name(study)
    kept = study.user_attrs.get(DEFINITION)
    definition = None if kept is None else StudyDefinition.model_validate(kept)
    sections = {
        "found": found_section(evidence, records, best, score, shown),
        "labels": "" if evidence is None else labels_section(evidence.labels, shown),
        "remedies": remedies_section(records, shown),
        "search": search_section(shown),
        "trouble": trouble_section(records, _diagnoses(study)),
        "again": again_section(study.study_name, evidence, best, definition, best_folder),
    }
    return _fill(study.study_name, _summary(records, evidence, score), sections)


def _shown(study: optuna.Study, evidence: Evidence | None) -> dict[str, Shown]:
    shown = study_figures(study)
    return shown if evidence is None else shown | evidence_figures(evidence)


def _diagnoses(study: optuna.Study) -> dict[int, str]:
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return {
        trial.number: trial.user_attrs[DIAGNOSIS]
        for trial in trials
        if DIAGNOSIS in trial.user_attrs
    }


def _summary(records: Sequence[TrialRecord], evidence: Evidence | None, score: str) -> str:
    counts = count_states(records)
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
