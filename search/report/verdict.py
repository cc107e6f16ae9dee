"""What a study found and how sure that is, in plain sentences: no HTML here."""

from collections.abc import Sequence

from search.appraisal.interval import signed
from search.evidence.evidence import Contender, Evidence, LabelEvidence
from search.figures.words import count
from search.space.space import BASELINE
from search.store.records import Confirmation, TrialRecord
from trainer.wording import doubt_sentences, remedy

FEW_POSITIVES = 20


def verdict(evidence: Evidence, best: TrialRecord, *, certified: bool = False) -> str:
    """Say in one sentence whether the best trial beats plain BCE on the test rows.

    It has other settings than plain BCE besides its remedies. Where it is `certified` what these
    are worth, nothing is said of them here.
    """
    if best.recipe == BASELINE:
        return f"No remedy beat {BASELINE}: the best trial is {BASELINE} itself."
    if evidence.macro_f1 is None:
        return (
            f"Trial {evidence.trial} has the best validated score; no rows were held out for test, "
            f"so whether it beats {BASELINE} on fresh rows is not known."
        )
    rival = next((one for one in evidence.contenders if one.name == BASELINE), None)
    if rival is None:
        return (
            f"Trial {evidence.trial} reached a test macro-F1 of {evidence.macro_f1:.3f}; "
            f"{BASELINE} did not end complete, so nothing says whether a remedy was needed."
        )
    low, high = rival.difference_interval
    scores = f"{evidence.macro_f1:.3f} against {rival.macro_f1:.3f}"
    if low > 0:
        if certified:
            return (
                f"On the test rows, trial {evidence.trial} with all its settings beats {BASELINE}, "
                f"{scores}."
            )
        return f"A remedy earned its place: trial {evidence.trial} beats {BASELINE}, {scores}."
    if high < 0:
        return f"{BASELINE} is the better choice: trial {evidence.trial} falls behind it, {scores}."
    return (
        f"Trial {evidence.trial} is not shown to beat {BASELINE}: {scores}, "
        "a difference within chance."
    )


def compared(contender: Contender) -> str:
    """Say how far the best trial is ahead of a contender or behind it, and whether that is sure."""
    low, high = contender.difference_interval
    ahead = contender.difference >= 0
    near, far = (low, high) if ahead else (-high, -low)
    sure = "" if near > 0 else ": not sure"
    return (
        f"{'better' if ahead else 'worse'} than {contender.name} by "
        f"{signed(abs(contender.difference))} ({signed(near)} to {signed(far)}){sure}"
    )


def confirmation(confirmed: Sequence[Confirmation], best: TrialRecord, score: str) -> str:
    """Say which trial is best by its mean over fresh seeds, and whether that is the best trial."""
    first = max(confirmed, key=lambda one: one.mean)
    seeds = count(len(first.values), "fresh seed")
    sentence = (
        f"raretune confirm trained {count(len(confirmed), 'trial')} again with {seeds} each. "
        f"Trial {first.number} has the best mean validated {score}, {first.mean:.4f}"
    )
    if first.number == best.number:
        return f"{sentence}, so the best trial stays the best."
    return f"{sentence}. Part of what trial {best.number} reached in the search was luck."


def warnings(evidence: Evidence) -> list[str]:
    """Return what makes the numbers less sure than they look, a sentence each."""
    found = []
    if evidence.table.test == 0:
        found.append("No rows were held out for test: every score here is of validation rows.")
    found += doubt_sentences(evidence.doubts)
    certain = [label for label in evidence.labels if label.label not in evidence.doubts]
    found += filter(None, map(_few, certain))
    if evidence.interval is not None and evidence.macro_f1:
        low, high = evidence.interval
        if high - low > evidence.macro_f1 / 2:
            found.append(
                f"The interval of the test macro-F1, {low:.3f} to {high:.3f}, is wide compared "
                "with the score: there are few positives, so small differences mean little."
            )
    return found


def _few(label: LabelEvidence) -> str:
    few = []
    if label.positives < FEW_POSITIVES:
        few.append(f"{label.positives} among the validation rows, where its threshold was chosen")
    if label.test is not None and label.test.support < FEW_POSITIVES:
        few.append(f"{label.test.support} among the test rows, which its test scores depend on")
    return f"{label.label} has few positives: {'; '.join(few)}." if few else ""


def remedy_words(record: TrialRecord) -> str:
    """Return a trial's remedy in a few words, by the name of its recipe if it has one."""
    return remedy(record.config) if record.recipe is None else record.recipe
