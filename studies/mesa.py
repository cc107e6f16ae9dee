"""A SYNTHETIC table in the shape of the guide's mesa_final.csv; no row of it describes a person.

The guide, docs/aggressive-training.md, trains on sleep recordings of the Multi-Ethnic Study of
Atherosclerosis (MESA Sleep; Chen et al. 2015, Sleep 38:877; National Sleep Research Resource),
which a data use agreement protects. This module imitates the columns and their scales only: no
value, rate or correlation was taken from those data, and it teaches nothing about sleep.

How it is made: every sleeper gets independent standard normal traits. A Markov chain draws one
stage per epoch; the numbers are counted from the stages or follow from a trait; the labels are
noisy functions of traits. Three traits change how often a sleeper changes stage but not the share
of any stage: the numbers hardly show them, the stages do.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainer.commands.guide import ID, LABELS, SEQUENCE
from trainer.errors import ConfigError

NUMBERS = [
    "ahi_a0h3",
    "ai_all5",
    "odi35",
    "timest1p5",
    "timest2p5",
    "times34p5",
    "timeremp5",
    "slp_eff5",
    "waso5",
    "plmaslp5",
    "slpprdp5",
    "remlaiip5",
]

Floats = NDArray[np.float64]
Traits = dict[str, Floats]
Stages = NDArray[np.int8]

TRAITS = (
    "apnea",  # breathing stops: more apneas, desaturations, arousals
    "wakefulness",  # a larger share of the night awake
    "leg_movement",  # more periodic limb movements
    "fragmentation",  # stages only: all stages last shorter
    "broken_rem",  # stages only: REM episodes last shorter
    "early_restlessness",  # stages only: stages 1 and 2 last shorter in the first third
)
LABEL_RATES = {"insomnia": 0.08, "restless leg": 0.05, "apnea": 0.07}
LABEL_TRAITS = {
    "insomnia": {"fragmentation": 1.3, "wakefulness": 0.9},
    "restless leg": {"early_restlessness": 1.3, "leg_movement": 1.2},
    "apnea": {"apnea": 1.2, "broken_rem": 1.2},
}
MISSING_RATE = 0.03

MIN_EPOCHS, MAX_EPOCHS = 600, 1400
EPOCH_MINUTES = 0.5
WAKE, REM = 0, 5
AFTER_END = -1
LEAVE_RATE = np.array([0.20, 0.35, 0.09, 0.10, 0.06, 0.05])  # per epoch, by stage

MOST_ROWS = 1_000_000  # some 30 GB in memory


def build(rows: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Make the table: `rows` synthetic sleepers by 17 columns; the same seed gives the same table.

    What the columns imitate; numbers are missing in 3 % of the cells:

        insomnia, restless leg, apnea  labels 0/1; 8 %, 5 % and 7 % positive
        ahi_a0h3                       apneas and hypopneas per hour of sleep
        ai_all5                        arousals per hour of sleep
        odi35                          oxygen desaturations per hour of sleep
        timest1p5, timest2p5           % of sleep in stage 1, in stage 2
        times34p5, timeremp5           % of sleep in stages 3 and 4, in REM
        slp_eff5                       sleep efficiency, % of the recording asleep
        waso5                          minutes awake between sleep onset and the last sleep
        plmaslp5                       periodic limb movements per hour of sleep
        slpprdp5                       minutes asleep
        remlaiip5                      minutes from sleep onset to REM; missing without REM
        mesaid                         id, 1 to rows in random order
        sleep_stages                   text of 600 to 1,400 digits, one per epoch of 30 seconds:
                                       0 awake, 1 to 4 the stage, 5 REM

    Raises:
        ConfigError: rows < 1 or > MOST_ROWS.
    """
    if rows < 1:
        raise ConfigError(f"rows of the mesa example must be 1 or more, got {rows}; raise it")
    if rows > MOST_ROWS:
        raise ConfigError(
            f"rows of the mesa example must be {MOST_ROWS:,} or less, got {rows:,}; lower it"
        )
    rng = np.random.default_rng(seed)
    traits = {name: rng.standard_normal(rows) for name in TRAITS}
    stages = draw_stages(traits, rng)
    numbers = pd.DataFrame(_event_rates(traits, rng) | summarise(stages)).round(1)
    return pd.concat(
        [
            pd.DataFrame(_labels(traits, rng)),
            numbers[NUMBERS].mask(rng.random((rows, len(NUMBERS))) < MISSING_RATE),
            pd.DataFrame({ID: rng.permutation(rows) + 1, SEQUENCE: _text(stages)}),
        ],
        axis=1,
    )


def draw_stages(traits: Traits, rng: np.random.Generator) -> Stages:
    """Draw a night for each of N sleepers; (N, MAX_EPOCHS), AFTER_END behind a night's last epoch.

    A sleeper leaves the present stage at a rate of its own and then draws the next one in
    proportion to share x rate, so that the time spent in a stage goes with its share, whatever the
    rates (detailed balance).
    """
    n = len(traits["fragmentation"])
    length = rng.normal(960, 120, n).clip(MIN_EPOCHS, MAX_EPOCHS).astype(np.int64)
    onset = rng.lognormal(3.4, 0.5, n).clip(2, MIN_EPOCHS // 4)
    cycle = rng.normal(180, 15, n).clip(140, 220)
    wake_share = 0.12 * np.exp(0.35 * traits["wakefulness"])
    early_rate, late_rate = _leave_rates(traits)

    stages = np.full((n, MAX_EPOCHS), AFTER_END, dtype=np.int8)
    stage = np.full(n, WAKE)
    for epoch in range(MAX_EPOCHS):
        stages[:, epoch] = np.where(epoch < length, stage, AFTER_END)
        rate = np.where((epoch < length / 3)[:, None], early_rate, late_rate)
        leaves = rng.random(n) < rate[np.arange(n), stage]
        moving = np.flatnonzero(leaves & (epoch >= onset) & (epoch < length))
        asleep_for = (epoch - onset[moving]) / cycle[moving]
        weights = _shares(asleep_for, wake_share[moving]) * rate[moving]
        cuts = weights.cumsum(axis=1)
        stage[moving] = (rng.random((len(moving), 1)) * cuts[:, -1:] > cuts).sum(axis=1)
    return stages


def summarise(stages: Stages) -> Traits:
    """Count the columns that follow from the stages, (N, epochs) to (N,) each; unrounded.

    Without any sleep the percentages and the REM latency are nan.
    """
    asleep = stages > WAKE
    n_asleep = asleep.sum(axis=1).astype(float)
    sleep = np.where(n_asleep > 0, n_asleep, np.nan)
    onset = asleep.argmax(axis=1)
    last = stages.shape[1] - 1 - asleep[:, ::-1].argmax(axis=1)
    rem = stages == REM
    return {
        "timest1p5": 100 * (stages == 1).sum(axis=1) / sleep,
        "timest2p5": 100 * (stages == 2).sum(axis=1) / sleep,
        "times34p5": 100 * ((stages == 3) | (stages == 4)).sum(axis=1) / sleep,
        "timeremp5": 100 * rem.sum(axis=1) / sleep,
        "slp_eff5": 100 * n_asleep / (stages > AFTER_END).sum(axis=1),
        "waso5": EPOCH_MINUTES * np.where(n_asleep > 0, last - onset + 1 - n_asleep, 0),
        "slpprdp5": EPOCH_MINUTES * n_asleep,
        "remlaiip5": EPOCH_MINUTES * np.where(rem.any(axis=1), rem.argmax(axis=1) - onset, np.nan),
    }


def _leave_rates(traits: Traits) -> tuple[Floats, Floats]:
    """Chance per epoch to leave each stage, (N, 6): in the night's first third, and after it."""
    late = LEAVE_RATE * np.exp(0.35 * traits["fragmentation"])[:, None]
    late[:, REM] *= np.exp(0.6 * traits["broken_rem"])
    early = late.copy()
    early[:, 1:3] *= np.exp(0.5 * traits["early_restlessness"])[:, None]
    return early.clip(max=0.95), late.clip(max=0.95)


def _shares(asleep_for: Floats, wake_share: Floats) -> Floats:
    """Share of the stages, (M, 6), at a time in sleep cycles (M,): first deep sleep, then REM.

    Deep sleep fades from cycle to cycle while REM grows, as in a human night.
    """
    cycle, phase = np.divmod(asleep_for, 1)
    deep = np.exp(-0.5 * ((phase - 0.4) / 0.15) ** 2 - 0.5 * cycle)
    rem = np.exp(-0.5 * ((phase - 0.9) / 0.12) ** 2) * np.minimum(0.6 + 0.3 * cycle, 1.5)
    constant = np.ones_like(phase)
    return np.stack(
        [wake_share, 0.08 * constant, 0.5 * constant, 0.6 * deep, 0.3 * deep, 0.8 * rem], axis=1
    )


def _event_rates(traits: Traits, rng: np.random.Generator) -> Traits:
    """Events per hour of sleep; log-normal, as such rates are, and 0 for many a sleeper's legs."""
    noise = rng.standard_normal((4, len(traits["apnea"])))
    ahi = np.exp(2.4 + 0.8 * traits["apnea"] + 0.4 * noise[0])
    legs = np.exp(1.9 + 0.9 * traits["leg_movement"] + 0.4 * noise[1])
    return {
        "ahi_a0h3": ahi,
        "ai_all5": np.exp(2.9 + 0.2 * traits["apnea"] + 0.35 * noise[2]),
        "odi35": ahi * np.exp(-0.1 + 0.25 * noise[3]),
        "plmaslp5": np.maximum(legs - 3, 0),
    }


def _labels(traits: Traits, rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
    """Mark the rows whose traits plus logistic noise are highest: a fixed share of each label."""
    labels = {}
    for label in LABELS:
        score = rng.logistic(size=len(traits["apnea"]))
        for trait, weight in LABEL_TRAITS[label].items():
            score += weight * traits[trait]
        labels[label] = (score > np.quantile(score, 1 - LABEL_RATES[label])).astype(np.int64)
    return labels


def _text(stages: Stages) -> list[str]:
    """One string of digits per row, without the epochs behind its end."""
    digits = (stages + ord("0")).astype(np.uint8)
    lengths = (stages > AFTER_END).sum(axis=1)
    return [
        night[:length].tobytes().decode("ascii")
        for night, length in zip(digits, lengths, strict=True)
    ]
