"""What each remedy of the best trial is worth, as a report shows it."""

from typing import Any

from search.appraisal.certificate import Certificate, told
from search.appraisal.interval import with_interval
from search.figures.words import count
from search.space.objective import in_words


def certificate_content(certificate: Certificate) -> dict[str, Any]:
    """Return what each remedy is worth, in a sentence and line by line."""
    return {
        "verdict": certificate.verdict,
        "score": in_words(certificate.objective),
        "how": f"The settings of trial {certificate.trial} were trained with {certificate.seeds} "
        "new seeds as they are and without each remedy, on the same folds and for at most "
        f"{count(certificate.epochs, 'epoch')}. The intervals are over resampled rows and over "
        "seeds. All other settings stay as they were tuned, which was with the remedy in place.",
        "remedies": [
            (one.remedy, with_interval(one.difference, one.interval), told(one))
            for one in certificate.remedies
        ],
    }
