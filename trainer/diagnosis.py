"""Signs in a run's history: what went wrong, and which remedies to try.

    for sign in diagnose(result.history, config, prevalence):
        print(sign.words, *sign.remedies, sep="\n  ")
        config = config.model_copy(update=sign.changes)

A sign is meant to be rare: what a sound run may show too is none, and of a few epochs almost
nothing is said. The figures below were set on plain and guided runs of three clinical tables.

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
from trainer.remedies import Step

ENOUGH_EPOCHS = 10  # the guide's patience with a network that predicts all negatives
FEW_EPOCHS = 5  # within these the guide expects the first positive predictions
AT_REST = 0.95  # a short run whose loss fell by more than 5 % in two epochs is still on its way
RECENT = 5  # epochs that count as lately: one alone is noise
SILENT = 0.1  # of the prevalence; the best thresholds predict about as many positives as there are
CHANCE_AUC = 0.55  # 0.5 and one standard error, 0.29 / sqrt(n), of some 35 positives
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

    `steps` are the remedies in the order to try them; none if the config already does all that is
    known.
    """

    name: str
    words: str
    steps: tuple[Step, ...]

    @property
    def changes(self) -> dict[str, Any]:
        """All steps as one update of a TrainConfig."""
        return {field: value for step in self.steps for field, value in step.items()}

    @property
    def remedies(self) -> tuple[str, ...]:
        """Each step as command-line flags."""
        return tuple(remedies.flags(step) for step in self.steps)


@dataclass(frozen=True)
class Run:
    """What every sign reads: a history, its config, and the share of positives of each label."""

    history: Sequence[Row]
    config: TrainConfig
    prevalence: Mapping[str, float]

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
    history: Sequence[Row], config: TrainConfig, prevalence: Mapping[str, float]
) -> list[Sign]:
    """Return the signs in a history, most serious first; a sound run has none.

    history     a row an epoch, from the first, as in TrainResult.history
    config      what the run was trained with
    prevalence  share of positives of each label, in [0, 1]
    """
    run = Run(history, config, prevalence)
    return [sign for look in SIGNS if (sign := look(run)) is not None]


def non_finite(run: Run) -> Sign | None:
    """Training or validation loss is infinite or not a number."""
    broken = next((row for row in run.history if not is_finite(row)), None)
    if broken is None:
        return None
    if run.rows:
        left = f"the best epoch before, {run.best['epoch']:.0f}, is kept"
    else:
        left = "no epoch is left to keep, look for infinite or huge values in the columns first"
    return _sign(
        "non_finite",
        f"the loss is not finite in epoch {broken['epoch']:.0f} (training {broken['loss']:.3g}, "
        f"validation {broken['validation_loss']:.3g}): {left}",
        remedies.much_slower(run.config),
        remedies.lighter_weights(run.config),
    )


def all_negative(run: Run) -> Sign | None:
    """Labels are hardly ever predicted positive, at the best epoch or in any recent one."""
    if not run.can_be_judged:
        return None
    silent = {}
    for label, actual in run.prevalence.items():
        key = f"predicted_share_{label}"
        share = min(run.best[key], max(row[key] for row in run.recent))
        if share < SILENT * actual:
            silent[label] = f"{label} {share:.1%} of the rows ({actual:.1%} are positive)"
    if not silent:
        return None
    return _sign(
        "all_negative",
        f"{len(silent)} of {len(run.prevalence)} labels are hardly ever predicted positive, at the "
        f"best epoch {run.best['epoch']:.0f} or in {run.lately}: {', '.join(silent.values())}",
        remedies.tuned_thresholds(run.config),
        remedies.heavier_weights(run.config),
        remedies.per_class_sampling(run.config),
        remedies.heaviest_weights(run.config),
    )


def no_ranking(run: Run) -> Sign | None:
    """The probabilities order the rows no better than chance; no threshold can mend that."""
    if not run.ranks_by_chance:
        return None
    return _sign(
        "no_ranking",
        f"ROC AUC is {fmean(row['roc_auc'] for row in run.recent):.2f} on average over "
        f"{run.lately}, about chance (0.5): either the settings keep the network from learning or "
        "the columns say nothing about the labels",
        *(remedies.usual_settings(run.config) or [remedies.lighter_weights(run.config)]),
    )


def overfitting_to_positives(run: Run) -> Sign | None:
    """Far more rows are predicted positive than are."""
    if not run.can_be_judged or run.ranks_by_chance:
        return None
    predicted = fmean(run.best[f"predicted_share_{label}"] for label in run.prevalence)
    actual = fmean(run.prevalence.values())
    if not predicted > TOO_MANY * actual > 0:
        return None
    return _sign(
        "overfitting_to_positives",
        f"{predicted:.1%} of the rows are predicted positive at the best epoch "
        f"{run.best['epoch']:.0f}, {predicted / actual:.1f} times the {actual:.1%} that are "
        "(means over the labels)",
        remedies.lighter_weights(run.config),
        remedies.milder_sampling(run.config),
        remedies.more_dropout(run.config),
    )


def low_precision_high_recall(run: Run) -> Sign | None:
    """The positives are found, among many false alarms."""
    if not run.can_be_judged or run.ranks_by_chance:
        return None
    recall, precision = run.best["macro_recall"], run.best["macro_precision"]
    actual = fmean(run.prevalence.values())
    if recall < HIGH_RECALL or not precision < min(LOW_LIFT * actual, LOW_PRECISION):
        return None
    return _sign(
        "low_precision_high_recall",
        f"recall is {recall:.2f} but precision {precision:.2f} at the best epoch "
        f"{run.best['epoch']:.0f}, with {actual:.1%} positives; this is expected with severe "
        "imbalance, and higher thresholds trade the one for the other",
        remedies.higher_thresholds(run.config),
    )


def unstable_loss(run: Run) -> Sign | None:
    """The training loss explodes, or leaps up by more than its own level."""
    loss = [row["loss"] for row in run.rows]
    if len(loss) < FEW_EPOCHS:
        return None
    level = median(loss)
    rises = [(after - before) / max(before, level, 1e-12) for before, after in pairwise(loss)]
    jumps = {i: rise for i, rise in enumerate(rises, start=1) if rise > JUMP}
    bound = EXPLOSION * _ignorant_loss(run)
    explosions = {i for i, value in enumerate(loss) if value > bound}
    if sum(jumps.values()) <= 1 and not explosions:
        return None
    leaps = explosions | set(jumps)
    worst = max(leaps, key=loss.__getitem__)
    return _sign(
        "unstable_loss",
        f"the training loss leaps in {len(leaps)} of {len(loss)} epochs, to {loss[worst]:.3g} in "
        f"epoch {run.rows[worst]['epoch']:.0f}, where its median over the run is {level:.3g}",
        remedies.slower(run.config),
        remedies.smaller_batches(run.config),
        remedies.lighter_weights(run.config),
    )


def overfitting(run: Run) -> Sign | None:
    """The network learns the training rows by heart and gets worse at the others."""
    if len(run.rows) <= RECENT:
        return None
    turn = min(run.rows, key=lambda row: row["validation_loss"])
    names = ("validation_loss", "loss", "average_precision")
    now = {name: median(row[name] for row in run.recent) for name in names}
    if not (
        turn["epoch"] < run.recent[0]["epoch"]
        and now["validation_loss"] > OVERFIT_RISE * turn["validation_loss"]
        and now["loss"] < OVERFIT_FALL * turn["loss"]
        and now["average_precision"] < OVERFIT_RANKING * turn["average_precision"]
    ):
        return None
    validation, training, ranking = (f"{turn[name]:.3g} to {now[name]:.3g}" for name in names)
    return _sign(
        "overfitting",
        f"from epoch {turn['epoch']:.0f} to {run.lately} the validation loss rose from "
        f"{validation} while the training loss fell from {training}, and average precision on the "
        f"validation rows fell from {ranking}",
        remedies.more_dropout(run.config),
        remedies.more_decay(run.config),
        remedies.smaller_network(run.config),
    )


SIGNS: tuple[Callable[[Run], Sign | None], ...] = (
    non_finite,
    all_negative,
    no_ranking,
    overfitting_to_positives,
    low_precision_high_recall,
    unstable_loss,
    overfitting,
)


def _ignorant_loss(run: Run) -> float:
    """Return the most that answering 0.5 can cost, in nats, however the rows are drawn.

    The heaviest of the guide's class weights is 5 n_neg / n_pos times the multiplier.
    """
    heaviest = 1.0
    if run.config.loss_type != "bce":
        rarest = min((share for share in run.prevalence.values() if share > 0), default=1.0)
        heaviest = max(1.0, run.config.class_weight_multiplier * 5 / rarest)
    return math.log(2) * heaviest


def _sign(name: str, words: str, *steps: Step) -> Sign:
    return Sign(name, words, tuple(step for step in steps if step))
