"""A study as one HTML page: what was found, how sure that is, and how to get it again.

study -> records, figures, evidence -> sections -> templates -> page. The page stands alone: styles,
figures and plotly.js are within it, nothing is fetched.
"""

from pathlib import Path

import optuna
import plotly.graph_objects as go

from search.appraisal import baselines
from search.appraisal.baselines import Comparison
from search.appraisal.certificate import Certificate, kept
from search.appraisal.ensemble import Ensemble
from search.appraisal.ensemble import stored as ensemble_of
from search.evidence.evidence import Evidence, stored
from search.figures.captioned import CaptionedFigure
from search.figures.study import evidence_figures, study_figures
from search.figures.words import count
from search.report.sections import sections
from search.space.objective import in_words
from search.store.identity import misfit_of_folder
from search.store.records import StudyRecord, count_states, read_study
from search.store.storage import load_study, open_storage
from trainer.pages.html import render
from trainer.writing import write_whole

PAGE = Path(__file__).parent / "templates" / "page.html"


def figures(study_name: str, storage: str) -> dict[str, go.Figure]:
    """Return a stored study's figures by name; raises RaretuneError if there is no such one.

    Names are those of search.figures.study; with evidence stored there are also "contenders" and,
    for each label, "precision_recall:LABEL", "reliability:LABEL", "decision_curve:LABEL" and
    "columns:LABEL". `storage` is a URL.
    """
    study = load_study(open_storage(storage, writable=False), study_name)
    record = read_study(study)
    evidence = None if record.best is None else stored(study, record.best.number)
    return {key: one.figure for key, one in _figures(record, evidence).items()}


def write_report(
    path: Path, study: optuna.Study, evidence: Evidence | None, best_folder: Path
) -> None:
    """Write a study's page to `path`, whole or not at all; raises RaretuneError.

    `best_folder` is where its best checkpoint lies, to be named in commands, if it is that one.
    """
    record = read_study(study)
    exported = record.best is not None and not misfit_of_folder(best_folder, study, record.best)
    comparison = None if record.best is None else baselines.stored(study, record.best.number)
    ensemble = ensemble_of(study, record.trials)
    if comparison is not None:
        score = None if ensemble is None else ensemble.macro_f1.ensemble
        comparison = comparison.with_ensemble(score)
    page = report_page(
        record,
        evidence,
        best_folder,
        exported=exported,
        comparison=comparison,
        ensemble=ensemble,
        certificate=kept(study, record.best),
    )
    write_whole(path, page)


def report_page(
    study: StudyRecord,
    evidence: Evidence | None,
    best_folder: Path,
    *,
    exported: bool = True,
    comparison: Comparison | None = None,
    ensemble: Ensemble | None = None,
    certificate: Certificate | None = None,
) -> str:
    """Return a study's page as HTML; without evidence it tells of the search alone.

    `exported` is whether the best trial's checkpoint lies in `best_folder`; `comparison` holds
    baselines against that trial, and `certificate` is what its remedies are worth.
    """
    drawn = _figures(study, evidence)
    return render(
        PAGE,
        name=study.name,
        summary=_summary(study, evidence),
        sections=sections(
            study,
            evidence,
            drawn,
            best_folder,
            exported=exported,
            comparison=comparison,
            ensemble=ensemble,
            certificate=certificate,
        ),
        figures=drawn,
    )


def _figures(study: StudyRecord, evidence: Evidence | None) -> dict[str, CaptionedFigure]:
    drawn = study_figures(study)
    return drawn if evidence is None else drawn | evidence_figures(evidence)


def _summary(study: StudyRecord, evidence: Evidence | None) -> str:
    counts = count_states(study.trials)
    states = ", ".join(f"{n:,} {state}" for state, n in counts.items() if n)
    ended = count(sum(counts.values()), "trial") + (f" ({states})" if states else "")
    words = f"{ended}, searched for the best {in_words(study.objective)}"
    if evidence is not None:
        facts = evidence.table
        labels = count(len(facts.prevalence), "label")
        words = f"{facts.file}: {count(facts.rows, 'row')}, {labels}. {words}"
    return f"{words}."
