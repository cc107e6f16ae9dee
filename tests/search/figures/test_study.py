import itertools
import json
import math
import random
import statistics
from datetime import datetime, timedelta

import numpy as np
import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial
from plotly.io.json import to_json_plotly

from search.figures.learning_curves import MOST_EPOCHS, MOST_LINES
from search.figures.study import study_figures
from search.figures.timeline import Span, cut_pauses, lanes
from search.figures.words import listed, settings_html
from search.space.space import KNOWN_RECIPES, PLAIN, distributions
from search.store.attributes import DEFINITION
from search.store.records import read_records, read_study, summarise_choices
from studies.definition import load_definition

SPACE = distributions(load_definition("default", {}))
NAMES = [
    "history",
    "learning_curves",
    "remedies",
    "strength",
    "importances",
    "parallel_coordinates",
    "timeline",
]
NINE = datetime(2026, 1, 5, 9)


def figures_of(study):
    return study_figures(read_study(study))


def study_of(*trials, objective="macro_f1"):
    study = optuna.create_study(direction="maximize")
    study.set_user_attr(DEFINITION, {"objective": objective})
    study.add_trials(trials)
    return study


def trial(value=None, state=TrialState.COMPLETE, *, curve=None, begin=0.0, seconds=8.0, **given):
    """A trial of plain BCE but for `given`, which may name a recipe, a failure or a loss."""
    marks = {key: given.pop(key) for key in ("recipe", "failure", "lost") if key in given}
    params = {key: PLAIN[key] for key in SPACE} | given
    curve = {1: value} if curve is None and value is not None else curve or {}
    best = max(curve, key=curve.get, default=0)
    about = {} if "lost" in marks else {"config": params, "best_epoch": best, "epochs": len(curve)}
    made = create_trial(
        state=state,
        value=value,
        params=params,
        distributions=SPACE,
        user_attrs={**about, **marks},
        intermediate_values=curve,
    )
    made.datetime_start = NINE + timedelta(seconds=begin)
    made.datetime_complete = NINE + timedelta(seconds=begin + seconds)
    return made


def drawn(draw, distribution):
    if hasattr(distribution, "choices"):
        return draw.choice(distribution.choices)
    if isinstance(distribution, optuna.distributions.IntDistribution):
        return draw.randint(distribution.low, distribution.high)
    if distribution.log:
        return math.exp(draw.uniform(math.log(distribution.low), math.log(distribution.high)))
    return draw.uniform(distribution.low, distribution.high)


def searched(number, draw):
    """A random trial whose score falls with the learning rate's distance from 1e-3."""
    params = {key: drawn(draw, distribution) for key, distribution in SPACE.items()}
    if number < len(KNOWN_RECIPES):
        name = list(KNOWN_RECIPES)[number]
        params = {key: KNOWN_RECIPES[name][key] for key in SPACE} | {"recipe": name}
    ends = draw.random() if number >= len(KNOWN_RECIPES) else 1.0
    top = 0.2 - 0.05 * abs(math.log10(params["lr"]) + 3) + draw.gauss(0, 0.004)
    epochs = draw.randint(1, 100)
    curve = {at: top * (1 - math.exp(-at / 5)) for at in range(1, epochs + 1)}
    times = {"begin": number // 8 * 50.0, "seconds": epochs / 2}
    if ends < 0.03:
        return trial(state=TrialState.FAIL, failure="the loss was not finite", **params, **times)
    if ends < 0.05:
        return trial(state=TrialState.FAIL, lost="without a word", **params, **times)
    state = TrialState.PRUNED if ends < 0.5 else TrialState.COMPLETE
    return trial(curve[epochs], state, curve=curve, **params, **times)


@pytest.fixture(scope="module")
def study():
    draw = random.Random(0)
    return study_of(*(searched(number, draw) for number in range(500)))


@pytest.fixture(scope="module")
def shown(study):
    return figures_of(study)


def traces(shown):
    return {trace.name: trace for trace in shown.figure.data}


def test_a_full_study_has_all_figures_in_order_and_each_says_what_to_see(shown):
    assert list(shown) == NAMES
    for one in shown.values():
        assert one.title
        assert one.caption.endswith(".")
        assert "nan" not in one.caption


def test_figures_of_500_trials_stay_small_and_are_the_same_each_time(study, shown):
    text = to_json_plotly({name: one.figure for name, one in shown.items()})
    assert len(text) < 600_000
    again = figures_of(study)
    assert json.loads(text) == json.loads(to_json_plotly({n: s.figure for n, s in again.items()}))
    assert [s.caption for s in shown.values()] == [s.caption for s in again.values()]


def test_only_the_parallel_coordinates_need_a_width_of_their_own(shown):
    fixed = [name for name, one in shown.items() if one.figure.layout.width]
    assert fixed == ["parallel_coordinates"]


def test_the_best_so_far_is_the_running_maximum_of_the_complete_trials(study, shown):
    done = [r for r in read_records(study) if r.state == "complete"]
    line = traces(shown["history"])["best so far"]
    assert list(line.x[:-1]) == [r.number for r in done]
    np.testing.assert_allclose(line.y[:-1], np.maximum.accumulate([r.value for r in done]))
    assert line.y[-1] == pytest.approx(study.best_value)
    assert line.x[-1] == 499


def test_history_marks_every_trial_by_how_it_ended(study, shown):
    marks = traces(shown["history"])
    records = [r for r in read_records(study) if r.recipe is None]
    for state in ("complete", "pruned", "failed", "lost"):
        ended = [r for r in records if r.state == state]
        assert list(marks[state].x) == [r.number for r in ended]
        if state in ("complete", "pruned"):
            np.testing.assert_allclose(marks[state].y, [r.value for r in ended], rtol=1e-6)
    floor = min(r.value for r in records if r.value is not None)
    assert max(marks["failed"].y) < floor
    for number, name in enumerate(KNOWN_RECIPES):
        assert list(marks[name].x) == [number]
    assert f"was reached by trial {study.best_trial.number}" in shown["history"].caption
    assert f"{study.best_value:.4f}" in shown["history"].caption


def test_a_learning_curve_is_what_the_trial_reported(study, shown):
    best = study.best_trial
    line = traces(shown["learning_curves"])["best"]
    assert list(line.x[:-1]) == list(best.intermediate_values)
    np.testing.assert_allclose(line.y[:-1], list(best.intermediate_values.values()), rtol=1e-6)
    assert set(line.customdata) == {best.number}


def test_of_many_learning_curves_a_choice_is_drawn_with_gaps_between(study, shown):
    lines = [t for t in shown["learning_curves"].figure.data if t.mode == "lines"]
    numbers = {number for line in lines for number in line.customdata}
    assert len(numbers) == MOST_LINES
    assert f"The figure shows {MOST_LINES} of " in shown["learning_curves"].caption
    by_rank = sorted(study.get_trials(states=[TrialState.COMPLETE]), key=lambda t: -t.value)
    assert {t.number for t in by_rank[:20]} <= numbers
    for line in lines:
        gaps = np.flatnonzero(np.isnan(line.y))
        assert len(gaps) == len(set(line.customdata))
        assert gaps[-1] == len(line.y) - 1


def test_a_long_learning_curve_keeps_its_peak_and_its_ends():
    curve = {at: 0.1 + 1e-5 * at for at in range(1, 3001)} | {1234: 0.5}
    line = traces(figures_of(study_of(trial(0.5, curve=curve)))["learning_curves"])["best"]
    points = dict(zip(line.x[:-1].tolist(), line.y[:-1].tolist(), strict=True))
    assert len(points) <= MOST_EPOCHS + 1
    assert {1, 1234, 3000} <= points.keys()
    assert points[1234] == 0.5


def test_remedies_show_the_medians_of_the_records(study, shown):
    choices = [c for c in summarise_choices(read_records(study)) if c.trials]
    medians = traces(shown["remedies"])["median"]
    np.testing.assert_allclose(medians.x, [c.median for c in choices], rtol=1e-6)
    dots = [traces(shown["remedies"])[state] for state in ("complete", "pruned")]
    assert sum(len(t.x) for t in dots) == sum(c.trials for c in choices)
    first, second = [c for c in choices if c.parameter == "loss_type"][:2]
    told = f"loss_type {first.choice} {first.best:.4f}, then {second.choice} {second.best:.4f}"
    assert told in shown["remedies"].caption


def test_a_remedy_that_was_not_varied_is_not_compared():
    trials = [trial(0.1), trial(0.2, weight_method="balanced"), trial(0.15, lr=0.002)]
    ticks = figures_of(study_of(*trials))["remedies"].figure.layout.yaxis.ticktext
    assert ticks == ("<b>weight_method</b>", "balanced (1)", "none (2)")


def test_strength_shows_a_setting_only_where_it_acts(study, shown):
    panels = {"x1": "class_weight_multiplier", "x2": "focal_gamma"}
    valued = [r for r in read_records(study) if r.value is not None]
    for axis, parameter in panels.items():
        points = [t for t in shown["strength"].figure.data if t.xaxis in (axis, axis.rstrip("1"))]
        acting = ("focal",) if parameter == "focal_gamma" else ("focal", "weighted_bce")
        found = [r.config[parameter] for r in valued if r.config["loss_type"] in acting]
        np.testing.assert_allclose(sorted(x for t in points for x in t.x), sorted(found), rtol=1e-6)


def test_strength_tells_the_median_of_the_best_quarter():
    gammas = [0.5, 1.0, 1.5, 2.0, 3.0, 3.5, 4.0, 4.5]
    trials = [trial(0.3 - gamma / 20, loss_type="focal", focal_gamma=gamma) for gamma in gammas]
    sentence = figures_of(study_of(*trials))["strength"].caption
    best, others = statistics.median(gammas[:2]), statistics.median(gammas[2:])
    assert f"trials that use focal_gamma, the best quarter has a median of {best:.2g}" in sentence
    assert f"the others one of {others:.2g}" in sentence
    assert "multiplier" not in sentence


def test_the_setting_that_decides_is_the_most_important(study, shown):
    bars = shown["importances"].figure.data[0]
    assert bars.y[0] == "lr"
    assert bars.x[0] > 50
    assert sum(bars.x) == pytest.approx(100, abs=0.01)
    done = len(study.get_trials(states=[TrialState.COMPLETE]))
    caption = shown["importances"].caption
    assert f"best of {done} complete trials by macro-F1 from all of them. Most does lr (" in caption
    assert "PED-ANOVA" in caption
    assert "focal_gamma" in caption.partition("Some trials make no use of")[2]


def test_parallel_coordinates_hold_the_best_100_and_mark_what_does_not_act(study, shown):
    axes = {d.label: d for d in shown["parallel_coordinates"].figure.data[0].dimensions}
    by_rank = sorted(study.get_trials(states=[TrialState.COMPLETE]), key=lambda t: -t.value)[:100]
    np.testing.assert_allclose(axes["macro-F1"].values, [t.value for t in by_rank], rtol=1e-6)
    rates = [math.log10(t.params["lr"]) for t in by_rank]
    np.testing.assert_allclose(axes["learning rate"].values, rates, rtol=1e-6)
    weights = axes["class weights"]
    plain = [t.params["loss_type"] == "bce" for t in by_rank]
    texts = [weights.ticktext[weights.tickvals.index(value)] for value in weights.values]
    assert [text == "-" for text in texts] == plain


RECORD = read_records(study_of(trial(0.1)))[0]
times = st.tuples(st.integers(0, 500), st.integers(1, 60)).map(lambda s: (s[0], s[0] + s[1]))
spans = st.lists(times, min_size=1, max_size=30).map(sorted)


@given(spans)
def test_spans_of_a_lane_do_not_overlap_and_lanes_are_as_few_as_can_be(spans):
    rows = lanes(spans)
    for row in set(rows):
        mine = [span for span, at in zip(spans, rows, strict=True) if at == row]
        assert all(first[1] <= then[0] for first, then in itertools.pairwise(mine))
    busiest = max(sum(start <= at < end for start, end in spans) for at, _ in spans)
    assert set(rows) == set(range(busiest))


@given(spans)
def test_a_clock_without_pauses_keeps_how_long_trials_took_and_their_order(spans):
    cut, _ = cut_pauses([Span(RECORD, float(start), float(end)) for start, end in spans])
    assert sorted(s.end - s.start for s in cut) == sorted(end - start for start, end in spans)
    starts = [s.start for s in cut]
    assert starts[0] == 0
    assert starts == sorted(starts)
    assert max(s.end for s in cut) <= spans[-1][1] + 60


def test_a_study_that_rested_for_days_is_shown_without_the_rest():
    rest = 3 * 86_400.0
    trials = [trial(0.1), trial(0.2, begin=20), trial(0.3, begin=rest)]
    shown = figures_of(study_of(*trials))["timeline"]
    assert shown.caption == "3 trials in 36 s; 1 pause between them left out (dotted line)."
    assert list(traces(shown)["complete"].base) == [0, 20, 28]
    assert [line.x0 for line in shown.figure.layout.shapes] == [28]


def test_a_trial_lost_before_a_rest_does_not_fill_it():
    rest = 3 * 86_400.0
    lost = trial(state=TrialState.FAIL, lost="without a word", begin=4, seconds=rest - 4)
    shown = figures_of(study_of(trial(0.1), lost, trial(0.2, begin=rest)))["timeline"]
    assert shown.caption.startswith("3 trials in 16 s, up to 2 side by side; 1 pause")
    assert list(traces(shown)["lost"].x) == [4]


def test_pruning_is_told_by_the_time_it_took():
    trials = [trial(0.2, seconds=30), trial(0.1, TrialState.PRUNED, begin=1, seconds=10)]
    sentence = figures_of(study_of(*trials))["timeline"].caption
    assert sentence == (
        "2 trials in 30 s, up to 2 side by side. "
        "Of the trials, 50 % were pruned; they took 25 % of the time."
    )


@pytest.mark.parametrize(
    ("trials", "names"),
    [
        ([], []),
        ([trial(state=TrialState.FAIL, failure="no")] * 3, ["timeline"]),
        ([trial(state=TrialState.FAIL, lost="no")], ["timeline"]),
        ([trial(0.2, recipe="plain BCE")], ["history", "learning_curves", "timeline"]),
        ([trial(0.2, curve={1: math.nan, 2: 0.2})] * 6, ["history", "learning_curves", "timeline"]),
        ([trial(0.1, TrialState.PRUNED)], ["history", "learning_curves", "timeline"]),
        ([trial(-math.inf, curve={1: math.nan})] * 5, ["timeline"]),
        ([trial(None, TrialState.PRUNED, curve={1: 0.1, 2: math.nan})], ["timeline"]),
    ],
)
def test_a_figure_without_data_is_left_out(trials, names):
    shown = figures_of(study_of(*trials))
    assert list(shown) == names
    assert "nan" not in "".join(one.caption for one in shown.values())


def test_one_trial_is_told_in_the_singular():
    shown = figures_of(study_of(trial(0.2, recipe="plain BCE")))
    assert shown["history"].caption == (
        "The best macro-F1, 0.2000, was reached by trial 0 (plain BCE). 1 trial: 1 complete."
    )
    assert shown["timeline"].caption == "1 trial in 8 s."


def test_trials_that_are_not_raretunes_own_are_shown_as_far_as_they_are_known():
    bare = [create_trial(state=TrialState.COMPLETE, value=at / 10) for at in range(6)]
    study = optuna.create_study(direction="maximize")
    study.add_trials(bare)
    shown = figures_of(study)
    assert list(shown) == ["history", "timeline"]
    assert shown["history"].figure.layout.yaxis.title.text == "score"


def test_the_best_is_held_against_plain_bce():
    shown = figures_of(study_of(trial(0.18, recipe="plain BCE"), trial(0.2, lr=0.002)))
    assert (
        "0.2000, was reached by trial 1, 0.0200 above plain BCE (0.1800)"
        in shown["history"].caption
    )


def test_a_users_label_is_escaped_in_figures_and_plain_in_sentences():
    shown = figures_of(study_of(trial(0.2), objective="f1:a<b"))
    assert shown["history"].figure.layout.yaxis.title.text == "F1 of a&lt;b"
    assert "The best F1 of a<b, 0.2000" in shown["history"].caption


def test_settings_name_only_what_acts():
    told = settings_html({"loss_type": "bce", "focal_gamma": 2.0, "lr": 0.00123, "num_layers": 0})
    assert told == "loss_type bce<br>lr 0.00123<br>num_layers 0"


def test_a_list_reads_as_one_says_it():
    assert [listed(list("abc"[:n])) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
