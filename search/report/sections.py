"""A report's sections besides its labels, each from plain records to HTML."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from search.evidence.evidence import Evidence
from search.figures.captioned import CaptionedFigure
from search.figures.words import count
from search.report.blocks import bullets, figure, section, tile
from search.report.diagnoses import group_failures, group_signs
from search.report.reproducibility import commands, definition_toml
from search.report.verdict import compared, flattery, remedy_words, verdict, warnings
from search.store.records import TrialRecord, count_states, summarise_choices
from studies.definition import StudyDefinition
from trainer.pages.html import DASH, breakable, number, table, with_interval

MOST_NUMBERS = 12  # trials named one by one


def found_section(
    evidence: Evidence | None,
    records: Sequence[TrialRecord],
    best: TrialRecord | None,
    score: str,
    figures: Mapping[str, CaptionedFigure],
) -> str:
    """Say what was found and how sure that is."""
    title = "What was found, and how sure that is"
    if best is None:
        return section(
            "found",
            title,
            '<p class="verdict">No trial has ended complete yet, so nothing was found.</p>',
            "<p>Search on; what went wrong until now is told below.</p>",
        )
    if evidence is None:
        return section(
            "found",
            title,
            f'<p class="verdict">Trial {best.number}, {escape(remedy_words(best))}, has the best '
            f"validated {escape(score)}: {number(best.value)}.</p>",
            "<p>What it is worth on test rows is not kept with the study; <code>raretune report"
            "</code> finds it out.</p>",
        )
    return section(
        "found",
        title,
        f'<p class="verdict">{escape(verdict(evidence, best))}</p>',
        f"<dl>{''.join(_tiles(evidence, best))}</dl>",
        f"<p>{escape(flattery(evidence, score, sum(count_states(records).values())))}</p>",
        bullets(warnings(evidence), "warnings"),
        figure("contenders", figures.get("contenders")),
        _contenders(evidence),
    )


def _tiles(evidence: Evidence, best: TrialRecord) -> list[str]:
    tiles = []
    if evidence.macro_f1 is not None and evidence.interval is not None:
        tiles.append(tile("Test macro-F1", with_interval(evidence.macro_f1, evidence.interval)))
    return [
        *tiles,
        tile("Validated macro-F1", number(evidence.validated)),
        tile(
            f"Best is trial {best.number}",
            f'<span class="small">{escape(remedy_words(best))}</span>',
        ),
    ]


def _contenders(evidence: Evidence) -> str:
    if not evidence.contenders:
        return ""
    rows = [
        (
            escape(one.name)
            + (f" <small>trial {one.trial}</small>" if one.trial is not None else ""),
            escape(f"Trial {evidence.trial} is {compared(one)}."),
            with_interval(one.macro_f1, one.interval),
            number(one.validated),
        )
        for one in evidence.contenders
    ]
    headings = ("held against", "in words", "test macro-F1", "validated")
    return f'<div class="words">{table(headings, rows)}</div>'


def remedies_section(records: Sequence[TrialRecord], figures: Mapping[str, CaptionedFigure]) -> str:
    """Say which remedies earned their place."""
    rows, before = [], ""
    for row in summarise_choices(records):
        name = row.parameter if row.parameter != before else ""
        before = row.parameter
        numbers = (f"{row.trials:,}", number(row.best, 4), number(row.median, 4))
        rows.append((breakable(name), escape(row.choice), *numbers))
    if not rows:
        return ""
    headings = ("setting", "choice", "trials", "best", "median")
    return section(
        "remedies",
        "Which remedies earned their place",
        "<p>Every trial with a score counts, pruned ones with their latest; class weights only "
        "where the loss uses them. A choice that was tried often has had more luck at its best, "
        "so look at the median too.</p>",
        f'<div class="choices">{table(headings, rows)}</div>',
        *(figure(key, figures.get(key)) for key in ("remedies", "strength", "importances")),
    )


def search_section(figures: Mapping[str, CaptionedFigure]) -> str:
    """Show how the search went."""
    keys = ("history", "learning_curves", "parallel_coordinates", "timeline")
    if not figures.keys() & set(keys):
        return ""
    return section("search", "The search", *(figure(key, figures.get(key)) for key in keys))


def trouble_section(records: Sequence[TrialRecord]) -> str:
    """Group the trials that collapsed or failed, and say what to change."""
    signs = [
        (
            escape(one.text.name),
            f"{escape(one.text.meaning)}<small>What helps: {escape(one.text.remedy)}</small>",
            _numbers(one.trials),
        )
        for one in group_signs(records)
    ]
    reasons = [
        ("failed", escape(reason), _numbers(trials)) for reason, trials in group_failures(records)
    ]
    notes = []
    diagnosed = sum(record.diagnosis is not None for record in records)
    if not diagnosed:
        notes.append("No diagnosis is noted with these trials.")
    elif not signs:
        notes.append(f"None of {count(diagnosed, 'diagnosed trial')} shows a sign.")
    if not reasons:
        notes.append("No trial failed.")
    rows = table(("sign", "what it means", "trials"), signs + reasons) if signs + reasons else ""
    return section(
        "trouble",
        "Collapses and failures",
        *(f"<p>{note}</p>" for note in notes),
        f'<div class="text">{rows}</div>',
    )


def _numbers(trials: Sequence[int]) -> str:
    """Return how many trials there are, and the first of their numbers."""
    named = ", ".join(map(str, trials[:MOST_NUMBERS]))
    rest = len(trials) - MOST_NUMBERS
    more = f" and {rest:,} more" if rest > 0 else ""
    return f"{len(trials):,}<small>{named}{more}</small>"


def again_section(
    study: str,
    evidence: Evidence | None,
    best: TrialRecord | None,
    definition: StudyDefinition | None,
    best_folder: Path,
) -> str:
    """Say all that it takes to get the results again."""
    text = commands(study, None if best is None else best.number, best_folder)
    parts = [f'<pre tabindex="0">{escape(text)}</pre>']
    if definition is not None:
        parts.append(
            f"<details><summary>The study's definition, {escape(study)}.toml</summary>"
            f'<pre tabindex="0">{escape(definition_toml(definition))}</pre></details>'
        )
    if best is not None:
        config = [(escape(k), escape(_setting(v))) for k, v in best.config.items()]
        versions = [
            (escape(name), f"<code>{escape(text)}</code>")
            for name, text in best.environment.items()
            if name not in ("table", "split")
        ]
        parts += [
            f"<h3>Settings of trial {best.number}</h3>",
            _facts(("setting", "value"), config),
            "<h3>Versions and machine</h3>",
            _facts(("what", "version"), versions),
        ]
    if evidence is not None:
        parts += ["<h3>The table and its split</h3>", _facts(("what", "value"), _table(evidence))]
    return section("again", "How to get this again", *parts)


def _table(evidence: Evidence) -> list[tuple[str, str]]:
    facts = evidence.table
    parts = {"train": facts.train, "validation": facts.validation, "test": facts.test}
    return [
        ("file", f"<code>{escape(facts.file)}</code>"),
        ("SHA-256", f"<code>{escape(facts.sha256)}</code>"),
        ("rows", f"{facts.rows:,}"),
        ("features", f"{facts.features:,}"),
        (
            "kept together by",
            DASH if facts.group is None else f"<code>{escape(facts.group)}</code>",
        ),
        *((f"{name} rows", f"{rows:,}") for name, rows in parts.items()),
        ("seed of the split", str(facts.split_seed)),
        *(
            (f"positives of {breakable(label)}", f"{100 * share:.2f}&nbsp;%")
            for label, share in facts.prevalence.items()
        ),
    ]


def _facts(headings: tuple[str, str], rows: Sequence[tuple[str, str]]) -> str:
    return f'<div class="text facts">{table(headings, rows)}</div>'


def _setting(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
