"""Notes and figures that optuna-dashboard shows: one note a trial, one of the study, in Markdown.

A trial's note is written once, when it has ended. The study's note is renewed as the search goes
on, until a user edits it. What is there is never replaced but by ours.
"""

import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import optuna
import plotly.graph_objects as go
from optuna.trial import FrozenTrial

from search.evidence.evidence import Evidence, stored
from search.figures.choices import remedy_figure, strength_figure
from search.figures.shown import Shown, score_name
from search.report.verdict import flattery, loss_words, verdict, warnings
from search.store.attributes import (
    DEFINITION,
    EVIDENCE,
    FIGURE,
    LABELS,
    LOST,
    NOTE_TEXT,
    NOTE_VERSION,
    SIGNS,
    STOPPED,
    STUDY_NOTE,
    note_of_trial,
)
from search.store.complaints import without_password
from search.store.records import STATES, TrialRecord, complete
from search.store.storage import default_url
from search.store.transactions import set_study_attributes

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
    if DEFINITION not in study.user_attrs:
        return
    there = study._storage.get_study_system_attrs(study._study_id)
    trials = study.get_trials(deepcopy=False, states=tuple(STATES))
    options = reach(workspace, url)
    new: dict[str, Any] = {}
    for trial in trials:
        version, text = note_of_trial(trial._trial_id)
        if version not in there:
            new |= {version: 1, text: trial_note(study.study_name, trial, options)}
    evidence = there.get(f"{EVIDENCE}rest", {}).get("trial")
    source = [len(trials), evidence]
    if new or there.get(STUDY_NOTE, {}).get("source") != source:
        records = [TrialRecord.from_trial(trial) for trial in trials]
        new |= _study_note(study, there, records, options, source)
        new |= _figures(study, there, records)
        set_study_attributes(study, new)


def reach(workspace: Path, url: str) -> str:
    """Return the options with which a command finds the study from any folder, a space in front."""
    words = []
    if workspace != RUNS:
        words += ["--workspace", str(workspace.resolve())]
    if url != default_url(workspace):
        words += ["--storage", without_password(url)]
    return "".join(f" {shlex.quote(word)}" for word in words)


def trial_note(study: str, trial: FrozenTrial, options: str) -> str:
    """Return an ended trial's note: its outcome, signs of trouble, labels, and its command."""
    record, attributes = TrialRecord.from_trial(trial), trial.user_attrs
    parts = [_outcome(record, attributes)]
    if record.config:
        recipe = f" The known recipe **{_plain(record.recipe)}**." if record.recipe else ""
        config = record.config
        remedy = loss_words(replace(record, recipe=None))
        parts.append(
            f"{_plain(remedy)}; learning rate {config['lr']:.2g}, batches of "
            f"{config['batch_size']}, {config['num_layers']} hidden layers of "
            f"{config['hidden_dim']}, dropout {config['dropout']:.2g}.{recipe}"
        )
    parts += [_sign(sign) for sign in attributes.get(SIGNS, [])]
    if labels := attributes.get(LABELS):
        parts.append(_label_table(labels))
    if record.epochs:
        again = f"raretune retrain {shlex.quote(study)} --trial {record.number}"
        output = shlex.quote(f"{study}-trial-{record.number}")
        parts.append(f"Train it again:\n\n```\n{again} --output {output}{options}\n```")
    return "\n\n".join(parts)


def _outcome(record: TrialRecord, attributes: Mapping[str, Any]) -> str:
    if record.state == "lost":
        return f"**Lost**: {_plain(attributes[LOST])}."
    if record.state == "failed":
        return f"**Failed**: {_plain(record.failure or 'no reason is noted')}."
    if not record.best_epoch:
        return f"**{record.state.capitalize()}**, before any epoch had a score."
    score = f"validated macro-F1 {record.scores.get('macro_f1', 0):.4f} (cross-fitted)"
    best = f"at its best epoch, {record.best_epoch} of {record.epochs}"
    if record.state == "pruned":
        return f"**Pruned** as weak beside other trials; {score} {best}."
    why = ENDS.get(attributes.get(STOPPED, ""), "it was over")
    return f"**Complete**: {score} {best}; then {why}."


def _sign(sign: Mapping[str, Any]) -> str:
    remedies = " or ".join(f"`{remedy}`" for remedy in sign["remedies"])
    advice = f" Try {remedies}." if remedies else ""
    return f"**{_plain(sign['name'].replace('_', ' '))}**: {_plain(sign['words'])}.{advice}"


def _label_table(labels: Mapping[str, Mapping[str, float]]) -> str:
    """Return labels as a table; scores are cross-fitted, shares are of the validation rows."""
    heads = ("threshold", "F1", "precision", "recall", "predicted", "positive")
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


def _study_note(
    study: optuna.Study,
    there: Mapping[str, Any],
    records: list[TrialRecord],
    options: str,
    source: list[Any],
) -> dict[str, Any]:
    """Return the attributes of the study's note; without its text if a user has written there."""
    old = "".join(_pieces(there, NOTE_TEXT))
    version, mark = there.get(NOTE_VERSION), there.get(STUDY_NOTE, {})
    if version is not None and mark.get("sha256") != _sha256(old):
        return {STUDY_NOTE: {**mark, "source": source}}
    note = study_note(study, records, options)
    written = {NOTE_VERSION: (version or 0) + 1, f"{NOTE_TEXT}0": note}
    return {**written, STUDY_NOTE: {"source": source, "sha256": _sha256(note)}}


def study_note(study: optuna.Study, records: list[TrialRecord], options: str) -> str:
    """Return a study's note: what it found, once that is known, its table, its split, what next."""
    definition, ranked = study.user_attrs[DEFINITION], complete(records)
    evidence = stored(study, ranked[0].number) if ranked else None
    name = shlex.quote(study.study_name)
    parts = [_plain(definition["description"])] if definition["description"] else []
    if evidence is not None:
        parts.append(f"**{_plain(verdict(evidence, ranked[0]))}**")
        parts.append(_plain(flattery(evidence, score_name(study), len(records))))
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
        f"Maximised: {_plain(score_name(study))} on the validation rows, cross-fitted. "
        f"Sampler {definition['sampler']}, pruner {_plain(definition['pruner'])}."
    )
    commands = [f"raretune {command} {name}{options}" for command in ("best", "report", "confirm")]
    parts.append("```\n" + "\n".join(commands) + "\n```")
    return "\n\n".join(parts)


def _table_facts(evidence: Evidence) -> str:
    table = evidence.table
    groups = f", groups of {_plain(table.group)} whole" if table.group else ""
    return (
        f"Table: {_plain(table.file)}, {table.rows:,} rows, {table.features} features, SHA-256 "
        f"`{table.sha256[:12]}`. Split: {table.train:,} train, {table.validation:,} validation and "
        f"{table.test:,} test rows, stratified{groups}; seed {table.split_seed}."
    )


def _prevalence(evidence: Evidence) -> str:
    rows = []
    for one in evidence.labels:
        test = f"{one.test.f1:.3f}" if one.test is not None else "-"
        share = evidence.table.prevalence[one.label]
        rows.append(f"| {_plain(one.label)} | {share:.1%} | {one.threshold:.3f} | {test} |")
    heads = ("positive", f"threshold of trial {evidence.trial}", "its test F1")
    return "\n".join([*_head(*heads), *rows])


def _figures(
    study: optuna.Study, there: Mapping[str, Any], records: list[TrialRecord]
) -> dict[str, Any]:
    """Return the attributes of the figures that have changed."""
    score = score_name(study)
    drawn = {"remedies": remedy_figure(records, score), "strength": strength_figure(records, score)}
    texts = {
        f"{FIGURE}{name}:0": _figure_json(figure)
        for name, figure in drawn.items()
        if figure is not None
    }
    return {key: text for key, text in texts.items() if text != there.get(key)}


def _figure_json(shown: Shown) -> str:
    """Return a figure as the dashboard draws it; of one that is too large its title only."""
    text = _titled(shown.figure, shown.title)
    if len(text) <= FIGURE_BYTES:
        return text
    return _titled(go.Figure(), f"{shown.title}: see the page that raretune report writes")


def _titled(figure: go.Figure, title: str) -> str:
    figure.update_layout(title={"text": title, "y": 0.98}, height=450, margin={"t": 80})
    text: str = figure.update_layout(template="none").to_json()
    return text


def _pieces(there: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for i in count():
        if f"{prefix}{i}" not in there:
            return
        yield there[f"{prefix}{i}"]


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
