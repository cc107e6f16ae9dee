"""Notes and figures that optuna-dashboard shows: one note a trial, one of the study, in Markdown.

A trial's note is written once, when it has ended. The study's note is renewed as the search goes
on, until a user edits it. What is there is never replaced but by ours.
"""

import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import optuna
import plotly.graph_objects as go

from search.appraisal.certificate import Certificate, kept
from search.appraisal.corrected import corrected_macro_f1, validated_sentence
from search.evidence.evidence import Evidence, stored
from search.figures.captioned import CaptionedFigure
from search.figures.remedies import remedy_figure
from search.figures.strength import strength_figure
from search.report.verdict import verdict, warnings
from search.space.objective import in_words
from search.store.attributes import (
    FIGURE,
    NOTE_TEXT,
    NOTE_VERSION,
    STUDY_NOTE,
    note_of_trial,
)
from search.store.complaints import without_password
from search.store.identity import origin_of
from search.store.records import SignRecord, StudyRecord, TrialRecord, read_study
from search.store.storage import default_url
from search.store.transactions import set_study_attributes, study_attributes
from trainer.visible import visible
from trainer.wording import network, remedy, threshold

FIGURE_BYTES = 50_000  # every look at the study carries its figures
SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~$#])")
RUNS = Path("runs")
ENDS = {
    "patience": "it stopped improving",
    "epochs": "its epochs were over",
    "non_finite": "its loss was not finite",
    "caller": "the search was ended",
}


def annotate(study: optuna.Study, workspace: Path, url: str) -> None:
    """Write the notes and figures that are missing, at once; cheap where nothing is new.

    Studies that raretune did not search are left alone.
    """
    record = read_study(study)
    if record.definition is None:
        return
    there = study_attributes(study)
    options = location_options(workspace, url)
    new: dict[str, Any] = {}
    for trial in record.trials:
        version, text = note_of_trial(trial.trial_id)
        if version not in there:
            new |= {version: 1, text: trial_note(record.name, trial, options)}
    evidence = None if record.best is None else stored(study, record.best.number)
    source: list[Any] = [len(record.trials), None if evidence is None else evidence.trial]
    if record.best is not None:
        source += origin_of(study, record.best)
    certificate = kept(study, record.best)
    if certificate is not None:
        source.append(certificate.verdict)
    if new or _mark(there).get("source") != source:
        note = study_note(record, evidence, options, certificate)
        new |= _study_note(there, note, source)
        new |= _figures(there, record)
        set_study_attributes(study, new)


def location_options(workspace: Path, url: str) -> str:
    """Return the options with which a command finds the study from any folder, a space in front."""
    words = []
    if workspace != RUNS:
        words += ["--workspace", str(workspace.resolve())]
    if url != default_url(workspace):
        words += ["--storage", without_password(url)]
    return "".join(f" {shlex.quote(word)}" for word in words)


def trial_note(study: str, record: TrialRecord, options: str) -> str:
    """Return an ended trial's note: its outcome, signs of trouble, labels, and its command."""
    parts = [_outcome(record)]
    if record.config:
        recipe = f" This is the known recipe **{_plain(record.recipe)}**." if record.recipe else ""
        config = record.config
        parts.append(
            f"{_plain(remedy(config))}; learning rate {config['lr']:.2g}, batches of "
            f"{config['batch_size']} rows, network {network(config)}, dropout "
            f"{config['dropout']:.2g}.{recipe}"
        )
    parts += [_sign(sign) for sign in record.signs]
    if record.labels:
        parts.append(_label_table(record.labels))
    if record.epochs:
        again = f"raretune retrain {shlex.quote(study)} --trial {record.number}"
        output = shlex.quote(f"{study}-trial-{record.number}")
        parts.append(f"Train it again:\n\n```\n{again} --output {output}{options}\n```")
    return "\n\n".join(parts)


def _outcome(record: TrialRecord) -> str:
    if record.state == "lost":
        return f"**Lost**: {_plain(record.lost or 'no reason is noted')}."
    if record.state == "failed":
        return f"**Failed**: {_plain(record.failure or 'no reason is noted')}."
    if not record.best_epoch or "macro_f1" not in record.scores:
        return f"**{record.state.capitalize()}** before any epoch had a score."
    score = f"validated macro-F1 {record.scores['macro_f1']:.4f} (cross-fitted)"
    best = f"at its best epoch, {record.best_epoch} of {record.epochs}"
    if record.state == "pruned":
        return f"**Pruned** because it was weak compared with other trials; {score} {best}."
    why = ENDS.get(record.stopped or "", "it was over")
    return f"**Complete**: {score} {best}; then {why}."


def _sign(sign: SignRecord) -> str:
    remedies = " or ".join(f"`{remedy}`" for remedy in sign.remedies)
    advice = f" Try {remedies}." if remedies else ""
    return f"**{_plain(sign.name.replace('_', ' '))}**: {_plain(sign.words)}.{advice}"


def _label_table(labels: Mapping[str, Mapping[str, float]]) -> str:
    """Return labels as a table; scores are cross-fitted, shares are of the validation rows.

    Thresholds are those of the networks' own probabilities: only what is handed out is calibrated.
    """
    heads = ("raw threshold", "F1", "precision", "recall", "predicted", "positive")
    rows = [
        f"| {_plain(name)} | {one['threshold']:.3f} | {one['f1']:.3f} | {one['precision']:.3f} "
        f"| {one['recall']:.3f} | {one['predicted_share']:.1%} | {one['prevalence']:.1%} |"
        for name, one in labels.items()
    ]
    return "\n".join([*_head(*heads), *rows])


def _head(*numbers: str) -> tuple[str, str]:
    """Return a table's first lines, wide enough: the dashboard sets columns without a gap."""
    wide = (name.rjust(max(len(name) + 3, 9), "\N{NO-BREAK SPACE}") for name in numbers)
    return f"| label | {' | '.join(wide)} |", "|---|" + "---:|" * len(numbers)


def _study_note(there: Mapping[str, Any], note: str, source: list[Any]) -> dict[str, Any]:
    """Return the attributes of the study's note; without its text if a user has written there."""
    old = "".join(map(str, _pieces(there, NOTE_TEXT)))
    version, mark = there.get(NOTE_VERSION), _mark(there)
    if version is not None and mark.get("sha256") != _sha256(old):
        return {STUDY_NOTE: {**mark, "source": source}}
    written = {NOTE_VERSION: version + 1 if isinstance(version, int) else 1, f"{NOTE_TEXT}0": note}
    return {**written, STUDY_NOTE: {"source": source, "sha256": _sha256(note)}}


def _mark(there: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is noted of the study's note; nothing if that is not as raretune writes it."""
    mark = there.get(STUDY_NOTE)
    return dict(mark) if isinstance(mark, Mapping) else {}


def study_note(
    study: StudyRecord,
    evidence: Evidence | None,
    options: str,
    certificate: Certificate | None = None,
) -> str:
    """Return a study's note: what it found, once that is known, its table, its split, what next."""
    definition, score = study.definition or {}, in_words(study.objective)
    name = shlex.quote(study.name)
    parts = [_plain(definition["description"])] if definition["description"] else []
    if evidence is not None and study.best is not None:
        if certificate is not None:
            parts.append(f"**{_plain(certificate.verdict)}**")
        parts.append(
            f"**{_plain(verdict(evidence, study.best, certified=certificate is not None))}**"
        )
        corrected, trials = corrected_macro_f1(study.trials), len(study.trials)
        told = validated_sentence(evidence.validated, corrected, trials, score)
        parts.append(_plain(told))
        parts += [_plain(warning) for warning in warnings(evidence)]
        parts += [_table_facts(evidence), _prevalence(evidence)]
    else:
        table, split = definition["table"], definition["split"]
        source = Path(table["csv"]).name if table["csv"] else f"the example {table['example']}"
        parts.append(
            f"Table: {_plain(source)}, labels {_plain(', '.join(table['labels']))}. "
            f"{split['val_size']:.0%} of the rows validate, {split['test_size']:.0%} test and are "
            f"locked until the search is over; seed {definition['seed']}."
        )
    parts.append(
        f"Maximised: {_plain(score)} on the validation rows, cross-fitted. "
        f"Sampler {definition['sampler']}, pruner {_plain(definition['pruner'])}."
    )
    commands = [f"raretune {command} {name}{options}" for command in ("best", "report", "confirm")]
    parts.append("```\n" + "\n".join(commands) + "\n```")
    return "\n\n".join(parts)


def _table_facts(evidence: Evidence) -> str:
    table = evidence.table
    groups = f", groups of {_plain(table.group)} kept whole" if table.group else ""
    parts = f"{table.train:,} train, {table.validation:,} validation"
    if table.folds > 1:
        times = f" {table.repeats} times" if table.repeats > 1 else ""
        parts = f"{table.validation:,} rows in {table.folds} folds{times}"
    return (
        f"Table: {_plain(table.file)}, {table.rows:,} rows, {table.features} features, SHA-256 "
        f"`{table.sha256[:12]}`. Split: {parts} and {table.test:,} test rows, "
        f"stratified{groups}; seed {table.split_seed}."
    )


def _prevalence(evidence: Evidence) -> str:
    rows = []
    for one in evidence.labels:
        test = f"{one.test.f1:.3f}" if one.test is not None else "-"
        share = evidence.table.prevalence[one.label]
        cut = threshold(one.threshold_in_use)
        rows.append(f"| {_plain(one.label)} | {share:.1%} | {cut} | {test} |")
    heads = ("positive", f"threshold of trial {evidence.trial}", "its test F1")
    return "\n".join([*_head(*heads), *rows])


def _figures(there: Mapping[str, Any], study: StudyRecord) -> dict[str, Any]:
    """Return the attributes of the figures that have changed."""
    score = in_words(study.objective)
    drawn = {
        "remedies": remedy_figure(study.trials, score),
        "strength": strength_figure(study.trials, score),
    }
    texts = {
        f"{FIGURE}{name}:0": _figure_json(figure)
        for name, figure in drawn.items()
        if figure is not None
    }
    return {key: text for key, text in texts.items() if text != there.get(key)}


def _figure_json(captioned: CaptionedFigure) -> str:
    """Return a figure as the dashboard draws it; of one that is too large its title only."""
    text = _titled(captioned.figure, captioned.title)
    if len(text) <= FIGURE_BYTES:
        return text
    return _titled(go.Figure(), f"{captioned.title}: see the page that raretune report writes")


def _titled(figure: go.Figure, title: str) -> str:
    figure.update_layout(title={"text": title, "y": 0.98}, height=450, margin={"t": 80})
    text: str = figure.update_layout(template="none").to_json()
    return text


def _pieces(there: Mapping[str, Any], prefix: str) -> Iterator[Any]:
    for i in count():
        if f"{prefix}{i}" not in there:
            return
        yield there[f"{prefix}{i}"]


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return SPECIAL.sub(r"\\\1", visible(" ".join(text.split())))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
