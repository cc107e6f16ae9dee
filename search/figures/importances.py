"""Which settings matter: the share of each in what sets the best trials apart."""

import warnings
from collections.abc import Mapping, Sequence

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import create_trial

from search.figures.captioned import CaptionedFigure, compact, scored
from search.figures.words import count, listed, percent
from search.space.space import is_active
from search.store.records import TrialRecord, complete
from trainer.pages.curves import BLUE, plain_figure

FEWEST = 8  # complete trials that an importance needs
ROUGH = 50  # complete trials below which it is a guess
BEST_SHARE, BEST_TRIALS = 0.1, 5  # of the complete trials are the best ones, at least so many


def importance_figure(records: Sequence[TrialRecord], score: str) -> CaptionedFigure | None:
    """Draw how much each searched setting tells the best tenth of the complete trials from all.

    None if too few trials, or none of their settings, differ.
    """
    done = complete(scored(records))
    if len(done) < FEWEST or len({record.value for record in done}) < 2:
        return None
    shares = importances(done)
    if not shares or sum(shares.values()) == 0:
        return None
    figure = plain_figure("Share", "")
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
    return CaptionedFigure("Which settings matter", figure, _caption(shares, done, score))


def importances(done: Sequence[TrialRecord]) -> dict[str, float]:
    """Return each varied setting's share of importance over complete trials, highest first.

    The shares of all settings add up to 1. Source: PED-ANOVA, Watanabe et al. 2023,
    arXiv:2304.10255, as in optuna.
    """
    study = _in_memory(done)
    evaluator = PedAnovaImportanceEvaluator(target_quantile=_best_trials(done) / len(done))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a setting that is fixed in one trial is no cause for one
        found = get_param_importances(study, evaluator=evaluator)
    varied = {key: float(share) for key, share in found.items() if _varies(key, done)}
    return dict(sorted(varied.items(), key=lambda item: (-item[1], item[0])))


def _in_memory(done: Sequence[TrialRecord]) -> optuna.Study:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it tells of each study that it makes
    try:
        study = optuna.create_study(direction="maximize")
    finally:
        optuna.logging.set_verbosity(verbosity)
    study.add_trials(
        create_trial(value=one.value, params=one.params, distributions=one.distributions)
        for one in done
    )
    return study


def _best_trials(done: Sequence[TrialRecord]) -> int:
    return max(round(BEST_SHARE * len(done)), min(BEST_TRIALS, len(done) // 2))


def _varies(parameter: str, records: Sequence[TrialRecord]) -> bool:
    return len({record.params.get(parameter) for record in records}) > 1


def _caption(shares: Mapping[str, float], done: Sequence[TrialRecord], score: str) -> str:
    ranked = list(shares)
    top = ", then ".join(f"{key} ({percent(shares[key])})" for key in ranked[:2])
    caption = (
        f"Measured by PED-ANOVA: which settings tell the {_best_trials(done)} best of "
        f"{count(len(done), 'complete trial')} by {score} from all of them. Most does {top}"
    )
    caption += "; with this few trials it is a rough guess." if len(done) < ROUGH else "."
    idle = [key for key in ranked if not all(is_active(key, record.config) for record in done)]
    if idle:
        caption += (
            f" Some trials make no use of {listed(idle)}; in those that do, such a setting may "
            "matter more than is shown."
        )
    return caption
