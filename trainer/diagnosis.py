"""Signs in a run's history: what went wrong, and which remedies to try.

    for sign in diagnose(result.history, config, prevalence):
        print(sign.words, *sign.flags, sep="\n  ")
        config = config.model_copy(update=sign.changes)

A sign is meant to be rare: what a sound run shows as well does not count, and a run of few epochs
has hardly any. The figures below were set on plain and guided runs of three clinical tables.

Source: docs/aggressive-training.md, "If Model Still Predicts All Negatives" and "Troubleshooting".
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from trainer import remedies
from trainer.config import TrainConfig
from trainer.loop.history import Row, best_row, is_finite
from trainer.remedies import Remedy
from trainer.scores.evaluation import Evaluation

ENOUGH_EPOCHS = 10  # the guide's patience with a network that predicts all negatives
FEW_EPOCHS = 5  # within these the guide expects the first positive predictions
AT_REST = 0.95  # a short run whose loss fell by more than 5 % in two epochs is still on its way
RECENT = 5  # epochs that count as lately: one alone is noise
SILENT = 0.1  # of the prevalence; the best thresholds predict about as many positives as there are
CHANCE_AUC = 0.55  # 0.5 and one standard error, 0.29 / sqrt(n), of some 35 positives
AUC_ERROR = 0.29  # standard error of the ROC AUC of chance, times the root of the positives
UNLIKELY = 2.5  # standard errors below 0.5
TOO_MANY = 5.0  # times the prevalence; sound runs stayed below 3
HIGH_RECALL = 0.6  # the upper end of what the guide expects
LOW_LIFT = 3.0  # precision over prevalence; sound runs came to 3.7 or more
LOW_PRECISION = 0.5  # with commoner positives: at least, most predicted ones must be wrong
JUMP = 0.5  # of the loss before, or the run's median if higher; small samples' noise stayed below
EXPLOSION = 3.0  # times the loss of a network that answers 0.5, where sound runs start
OVERFIT_RISE = 1.25  # of the validation loss since its minimum; plain runs stayed below 1.1
OVERFIT_FALL = 0.9  # of the training loss since then: it still learns, but by heart
OVERFIT_RANKING = 0.95  # of average precision since then: overconfidence alone raises the loss


@dataclass(frozen=True)
class Sign:
    """Something wrong in a run: a short stable name, one sentence with figures, what to change.

    `remedies` stand in the order to try them; there are none if the config already does all that
    is known.
    """

    name: str
    words: str
    remedies: tuple[Remedy, ...]

    @property
    def changes(self) -> dict[str, Any]:
        """All remedies as one update of a TrainConfig."""
        return {field: value for remedy in self.remedies for field, value in remedy.items()}

    @property
    def flags(self) -> tuple[str, ...]:
        """Each remedy as command-line flags."""
        return tuple(map(remedies.flags, self.remedies))


@dataclass(frozen=True)
class Case:
    """What every sign reads: a history, its config, and the share of positives of each label."""

    history: Sequence[Row]
    config: TrainConfig
    prevalence: Mapping[str, float]
    evaluation: Evaluation | None = None

    @cached_property
    def rows(self) -> list[Row]:
        """The epochs with finite losses."""
        return [row for row in self.history if is_finite(row)]

    @property
    def recent(self) -> list[Row]:
        """The last of these epochs."""
        return self.rows[-RECENT:]

    @property
    def lately(self) -> str:
        """The recent epochs in words."""
        return f"epochs {self.recent[0]['epoch']:.0f} to {self.recent[-1]['epoch']:.0f}"

    @cached_property
    def best(self) -> Row:
        """The epoch that trainer.loop.fit keeps: the first that no later one improves on."""
        return best_row(self.rows, self.config) or self.rows[0]

    @property
    def can_be_judged(self) -> bool:
        """Whether decisions and ranking say something yet.

        After ten epochs; after fewer if the config grants no more and the loss is at rest.
        """
        over = len(self.rows) >= max(self.config.epochs, FEW_EPOCHS)
        at_rest = over and self.rows[-1]["loss"] > AT_REST * self.rows[-3]["loss"]
        return len(self.rows) >= ENOUGH_EPOCHS or at_rest

    @property
    def ranks_by_chance(self) -> bool:
        """Whether ROC AUC is lately about 0.5, so that no threshold makes sense."""
        return self.can_be_judged and fmean(row["roc_auc"] for row in self.recent) < CHANCE_AUC


def diagnose(
    history: Sequence[Row],
    config: TrainConfig,
    prevalence: Mapping[str, float],
    evaluation: Evaluation | None = None,
) -> list[Sign]:
    """Return the signs in a history, most serious first; a sound run has none.

    history     a row an epoch, from the first, as in TrainResult.history
    config      what the run was trained with
    prevalence  share of positives of each label, in [0, 1]
    evaluation  of the best epoch on the validation rows, if there is one
    """
    case = Case(history, config, prevalence, evaluation)
    return [sign for look in SIGNS if (sign := look(case)) is not None]


def unjudged(history: Sequence[Row], config: TrainConfig, prevalence: Mapping[str, float]) -> str:
    """Return why a run without signs is not a sound one yet, in a sentence; nothing if it is.

    Arguments as in `diagnose`.
    """
    case = Case(history, config, prevalence)
    if case.can_be_judged or not case.rows:
        return ""
    silent = [label for label in prevalence if not case.best[f"predicted_share_{label}"]]
    which = "any label" if len(silent) == len(prevalence) else ", ".join(silent)
    nothing = f", and no row is predicted positive for {which}" if silent else ""
    epochs = "epoch is" if len(case.rows) == 1 else "epochs are"
    return (
        f"{len(case.rows)} {epochs} too few to judge{nothing}; give it {ENOUGH_EPOCHS} --epochs or "
        "more."
    )


def non_finite(case: Case) -> Sign | None:
    """Training or validation loss is infinite or not a number."""
    broken = next((row for row in case.history if not is_finite(row)), None)
    if broken is None:
        return None
    if case.rows:
        left = f"the best epoch before, {case.best['epoch']:.0f}, is kept"
    else:
        left = "no epoch can be kept; look first for infinite or huge values in the columns"
    return _sign(
        "non_finite",
        f"the loss is not finite in epoch {broken['epoch']:.0f} (training {broken['loss']:.3g}, "
        f"validation {broken['validation_loss']:.3g}): {left}",
        remedies.much_slower(case.config),
        remedies.lighter_weights(case.config),
    )


def all_negative(case: Case) -> Sign | None:
    """Labels are hardly ever predicted positive, at the best epoch or in any recent one."""
    if not case.can_be_judged:
        return None
    silent = {}
    for label, actual in case.prevalence.items():
        key = f"predicted_share_{label}"
        share = min(case.best[key], max(row[key] for row in case.recent))
        if share < SILENT * actual:
            silent[label] = f"{label} in {share:.1%} of the rows ({actual:.1%} are positive)"
    if not silent:
        return None
    return _sign(
        "all_negative",
        f"{len(silent)} of {len(case.prevalence)} labels are hardly ever predicted positive in the "
        f"best epoch, {case.best['epoch']:.0f}, or in {case.lately}: "
        f"{', '.join(silent.values())}",
        remedies.tuned_thresholds(case.config),
        remedies.heavier_weights(case.config),
        remedies.per_class_sampling(case.config),
        remedies.heaviest_weights(case.config),
    )


def no_ranking(case: Case) -> Sign | None:
    """The probabilities order the rows no better than chance; no threshold can mend that."""
    if not case.ranks_by_chance:
        return None
    return _sign(
        "no_ranking",
        f"ROC AUC is {fmean(row['roc_auc'] for row in case.recent):.2f} on average over "
        f"{case.lately}, about chance (0.5): either the settings keep the network from learning or "
        "the columns say nothing about the labels",
        *(remedies.usual_values(case.config) or [remedies.lighter_weights(case.config)]),
    )


def upside_down(case: Case) -> Sign | None:
    """The network kept ranks a label's positives below its negatives, beyond what chance does."""
    found = {}
    for label, scores in case.evaluation.labels.items() if case.evaluation else ():
        by_chance = 0.5 - UNLIKELY * AUC_ERROR / math.sqrt(max(scores.support, 1))
        if scores.roc_auc < by_chance:
            found[label] = f"{label} {scores.roc_auc:.2f} ({scores.support} positives)"
    if not found:
        return None
    return _sign(
        "upside_down",
        f"ROC AUC on the validation rows is far below 0.5 at the best epoch "
        f"{case.best['epoch']:.0f}: {', '.join(found.values())}; positives get lower "
        "probabilities than negatives, as where 0 and 1 are exchanged, or a column means something "
        "else, in a part of the rows",
        *remedies.usual_values(case.config),
        remedies.more_decay(case.config),
        remedies.smaller_network(case.config),
    )


def overfitting_to_positives(case: Case) -> Sign | None:
    """Far more rows are predicted positive than are."""
    if not case.can_be_judged or case.ranks_by_chance:
        return None
    predicted = fmean(case.best[f"predicted_share_{label}"] for label in case.prevalence)
    actual = fmean(case.prevalence.values())
    if not predicted > TOO_MANY * actual > 0:
        return None
    return _sign(
        "overfitting_to_positives",
        f"{predicted:.1%} of the rows are predicted positive at the best epoch "
        f"{case.best['epoch']:.0f}, {predicted / actual:.1f} times the {actual:.1%} that are "
        "(means over the labels)",
        remedies.lighter_weights(case.config),
        remedies.milder_sampling(case.config),
        remedies.more_dropout(case.config),
    )


def low_precision_high_recall(case: Case) -> Sign | None:
    """The positives are found, among many false alarms."""
    if not case.can_be_judged or case.ranks_by_chance:
        return None
    recall, precision = case.best["macro_recall"], case.best["macro_precision"]
    actual = fmean(case.prevalence.values())
    if recall < HIGH_RECALL or not precision < min(LOW_LIFT * actual, LOW_PRECISION):
        return None
    return _sign(
        "low_precision_high_recall",
        f"recall is {recall:.2f} but precision {precision:.2f} at the best epoch "
        f"{case.best['epoch']:.0f}, with {actual:.1%} positives; this is expected with severe "
        "imbalance, and higher thresholds raise precision at the price of recall",
        remedies.higher_thresholds(case.config),
    )


def unstable_loss(case: Case) -> Sign | None:
    """The training loss explodes, or leaps up by more than its own level."""
    loss = [row["loss"] for row in case.rows]
    if len(loss) < FEW_EPOCHS:
        return None
    level = median(loss)
    rises = [(after - before) / max(before, level, 1e-12) for before, after in pairwise(loss)]
    jumps = {i: rise for i, rise in enumerate(rises, start=1) if rise > JUMP}
    bound = EXPLOSION * _ignorant_loss(case)
    explosions = {i for i, value in enumerate(loss) if value > bound}
    if sum(jumps.values()) <= 1 and not explosions:
        return None
    leaps = explosions | set(jumps)
    worst = max(leaps, key=loss.__getitem__)
    return _sign(
        "unstable_loss",
        f"the training loss leaps up in {len(leaps)} of {len(loss)} epochs, as far as "
        f"{loss[worst]:.3g} in epoch {case.rows[worst]['epoch']:.0f}; its median over the run is "
        f"{level:.3g}",
        remedies.slower(case.config),
        remedies.smaller_batches(case.config),
        remedies.lighter_weights(case.config),
    )


def overfitting(case: Case) -> Sign | None:
    """The network learns the training rows by heart and gets worse at the others."""
    if len(case.rows) <= RECENT:
        return None
    turn = min(case.rows, key=lambda row: row["validation_loss"])
    names = ("validation_loss", "loss", "average_precision")
    now = {name: median(row[name] for row in case.recent) for name in names}
    if not (
        turn["epoch"] < case.recent[0]["epoch"]
        and now["validation_loss"] > OVERFIT_RISE * turn["validation_loss"]
        and now["loss"] < OVERFIT_FALL * turn["loss"]
        and now["average_precision"] < OVERFIT_RANKING * turn["average_precision"]
    ):
        return None
    validation, training, ranking = (f"{turn[name]:.3g} to {now[name]:.3g}" for name in names)
    return _sign(
        "overfitting",
        f"since epoch {turn['epoch']:.0f} the validation loss has risen from {validation} (median "
        f"of {case.lately}), while the training loss has fallen from {training} and the average "
        f"precision on the validation rows from {ranking}",
        remedies.more_dropout(case.config),
        remedies.more_decay(case.config),
        remedies.smaller_network(case.config),
    )


SIGNS: tuple[Callable[[Case], Sign | None], ...] = (
    non_finite,
    all_negative,
    no_ranking,
    upside_down,
    overfitting_to_positives,
    low_precision_high_recall,
    unstable_loss,
    overfitting,
)


def _ignorant_loss(case: Case) -> float:
    """Return the most that answering 0.5 can cost, in nats, however the rows are drawn.

    The heaviest of the guide's class weights is 5 n_neg / n_pos times the multiplier.
    """
    heaviest = 1.0
    if case.config.loss_type != "bce":
        rarest = min((share for share in case.prevalence.values() if share > 0), default=1.0)
        heaviest = max(1.0, case.config.class_weight_multiplier * 5 / rarest)
    return math.log(2) * heaviest


def _sign(name: str, words: str, *found: Remedy) -> Sign:
    return Sign(name, words, tuple(remedy for remedy in found if remedy))
