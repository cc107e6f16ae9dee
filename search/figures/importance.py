"""Which settings matter: the share of each in the variance of the score."""

from collections.abc import Mapping, Sequence

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances

from search.figures.shown import Shown, compact, count, listed, percent, scored
from search.store.records import TrialRecord, acts, complete
from trainer.pages.curves import BLUE, plain_figure

FEWEST = 4  # complete trials that an importance needs
ROUGH = 50  # complete trials below which it is a guess


def importance_figure(
    study: optuna.Study, records: Sequence[TrialRecord], score: str
) -> Shown | None:
    """Draw each searched setting's share in the variance of the score over the complete trials.

    None if too few trials, or none of their settings, differ. Source: Hutter et al. 2014, fANOVA,
    as in optuna, its forest kept small to stay within a second at 500 trials.
    """
    done = complete(scored(records))
    if len(done) < FEWEST or len({record.value for record in done}) < 2:
        return None
    evaluator = FanovaImportanceEvaluator(n_trees=32, max_depth=8, seed=0)
    found = get_param_importances(study, evaluator=evaluator)
    shares = {key: float(share) for key, share in found.items() if _varies(key, done)}
    if not shares or sum(shares.values()) == 0:
        return None
    figure = plain_figure("Share explained", "")
    figure.update_layout(height=80 + 24 * len(shares), margin_l=12)
    figure.update_xaxes(ticksuffix=" %", rangemode="tozero")
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False, ticksuffix=" ")
    figure.add_bar(
        x=compact(100 * share for share in shares.values()),
        y=list(shares),
        orientation="h",
        marker_color=BLUE,
        hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
    )
    return Shown("Which settings matter", figure, _sentence(shares, done, score))


def _varies(parameter: str, records: Sequence[TrialRecord]) -> bool:
    return len({record.params.get(parameter) for record in records}) > 1


def _sentence(shares: Mapping[str, float], done: Sequence[TrialRecord], score: str) -> str:
    ranked = sorted(shares, key=lambda key: -shares[key])
    top = ", then ".join(f"{key} ({percent(shares[key])})" for key in ranked[:2])
    sentence = f"Over {count(len(done), 'complete trial')}, {score} hangs most on {top}"
    sentence += "; so few trials allow a rough guess only." if len(done) < ROUGH else "."
    idle = [key for key in ranked if not all(acts(key, record.config) for record in done)]
    if idle:
        sentence += (
            f" Not every trial uses {listed(idle)}; where it acts, such a setting may matter more "
            "than is shown."
        )
    return sentence
