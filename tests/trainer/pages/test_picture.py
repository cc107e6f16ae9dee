import math
import re
from itertools import chain
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.config import TrainConfig
from trainer.errors import RaretuneError
from trainer.loop.fit import fit
from trainer.pages.picture import COLOURS, MOST_EPOCHS, MOST_LABELS, draw_picture, write_picture

SVG = "{http://www.w3.org/2000/svg}"
WHOLE = {
    "training": "loss",
    "validation": "validation_loss",
    "validated": "macro_f1",
    "tuned on the same rows": "tuned_macro_f1",
    "ROC AUC": "roc_auc",
    "average precision": "average_precision",
    "recall": "macro_recall",
}


def history(epochs, labels, value=lambda epoch, place: (epoch + place) % 7 / 10 + 0.1):
    keys = [
        *WHOLE.values(),
        *(f"f1_{x}" for x in labels),
        *(f"predicted_share_{x}" for x in labels),
    ]
    return [
        {"epoch": epoch, **{key: value(epoch, place) for place, key in enumerate(keys)}}
        for epoch in range(1, epochs + 1)
    ]


def parse(text):
    """The root, and of each line drawn its name, its strokes' points and whether it is a dot."""
    root = ElementTree.fromstring(text)
    drawn = []
    for group in root.iter(f"{SVG}g"):
        title = group.find(f"{SVG}title")
        if title is not None:
            strokes = [
                [tuple(map(float, p.split(","))) for p in line.get("points").split()]
                for line in group.iter(f"{SVG}polyline")
            ]
            dots = [
                (float(dot.get("cx")), float(dot.get("cy"))) for dot in group.iter(f"{SVG}circle")
            ]
            drawn.append((title.text, strokes, dots))
    return root, drawn


def texts(root):
    return [element.text for element in root.iter(f"{SVG}text")]


def test_every_series_of_a_real_run_is_a_line_over_all_epochs(data):
    config = TrainConfig.create(batch_size=32, hidden_dim=32, epochs=5)
    result = fit(data, [config])[0]
    root, drawn = parse(draw_picture(result.history, data.labels, result.best_epoch))
    assert sorted(name for name, _, _ in drawn) == sorted([*WHOLE, *data.labels, *data.labels])
    assert all([len(points) for points in strokes] == [5] for _, strokes, _ in drawn)
    assert set(texts(root)) >= {*WHOLE, *data.labels}
    assert f"Epochs: 5; best: {result.best_epoch} (dashed)" in texts(root)


def test_points_lie_where_the_axis_says():
    rows = history(30, ["rare"])
    root, drawn = parse(draw_picture(rows, ["rare"], 12))
    panel = next(g for g in root.iter(f"{SVG}g") if "Macro-F1" in texts(g))
    ticks = {
        float(tick.text): float(tick.get("y")) - 4
        for tick in panel.iter(f"{SVG}text")
        if tick.get("class") == "y" and tick.text != "epoch"
    }
    (low, bottom), (high, top) = min(ticks.items()), max(ticks.items())
    points = next(strokes[0] for name, strokes, _ in drawn if name == "validated")
    for row, (_, y) in zip(rows, points, strict=True):
        value = low + (high - low) * (bottom - y) / (bottom - top)
        assert value == pytest.approx(row["macro_f1"], abs=1e-3)
    marks = [path.get("d") for path in root.iter(f"{SVG}path") if path.get("class") == "best"]
    assert marks == [f"M{points[11][0]:.1f} 50V230"] * 5


def test_values_that_are_not_finite_leave_gaps_and_lone_ones_are_dots():
    gone = {3: math.nan, 5: math.inf, 9: -math.inf}
    rows = history(10, ["rare"], lambda epoch, place: gone.get(epoch, 0.2 + epoch / 100))
    for _, strokes, dots in parse(draw_picture(rows, ["rare"], 1))[1]:
        assert [len(points) for points in strokes] == [2, 3]
        assert len(dots) == 2


def test_a_run_of_one_epoch_is_dots_in_the_middle():
    root, drawn = parse(draw_picture(history(1, ["rare"]), ["rare"], 1))
    assert all(not strokes and len(dots) == 1 for _, strokes, dots in drawn)
    assert texts(root).count("1") >= 5


def test_a_run_without_a_finite_score_says_so_and_marks_nothing():
    rows = history(2, ["rare"], lambda epoch, place: math.nan)
    text = draw_picture(rows, ["rare"], 0)
    assert "none, no score is finite" in text
    assert 'class="best"' not in text
    assert not any(strokes or dots for _, strokes, dots in parse(text)[1])


def test_of_very_many_epochs_some_are_left_out_but_never_first_best_or_last():
    rows = history(10 * MOST_EPOCHS, ["rare"], lambda epoch, place: epoch)
    text = draw_picture(rows, ["rare"], 4321)
    best = re.search(r'class="best" d="M([\d.]+) ', text)[1]
    for _, (points,), _ in parse(text)[1]:
        assert MOST_EPOCHS <= len(points) <= MOST_EPOCHS + 2
        assert (points[0][0], points[-1][0]) == (52, 366)
        assert best in {f"{x:.1f}" for x, _ in points}


@pytest.mark.parametrize("n_labels", [1, len(COLOURS) + 1, MOST_LABELS, MOST_LABELS + 7])
def test_labels_are_told_apart_as_far_as_that_goes(n_labels):
    labels = [f"label {i}" for i in range(n_labels)]
    root, _ = parse(draw_picture(history(3, labels), labels, 1))
    styles = [
        (group.get("stroke"), group.get("stroke-dasharray"))
        for group in root.iter(f"{SVG}g")
        if (title := group.find(f"{SVG}title")) is not None and title.text in labels
    ]
    assert len(set(styles)) == min(n_labels, MOST_LABELS + 1)
    named = [text for text in texts(root) if text in labels]
    assert named == labels[:MOST_LABELS]
    assert ("7 more" in texts(root)) == (n_labels > MOST_LABELS)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.floats(width=32), min_size=9, max_size=9), min_size=1, max_size=6),
    st.text(min_size=1, max_size=60),
)
def test_any_history_and_any_label_make_a_well_formed_picture_within_its_frame(values, label):
    rows = history(len(values), [label], lambda epoch, place: values[epoch - 1][place])
    root, drawn = parse(draw_picture(rows, [label], len(values)))
    for _, strokes, dots in drawn:
        for x, y in chain(*strokes, dots):
            assert 52 <= x <= 366
            assert 49.9 <= y <= 230.1
    for tick in root.iter(f"{SVG}text"):
        if tick.get("class") in ("x", "y") and tick.text != "epoch":
            assert math.isfinite(float(tick.text))


def test_names_are_escaped():
    label = "</title><script>alert(1)</script>&\x00"
    text = draw_picture(history(2, [label]), [label], 1)
    assert "<script" not in text
    assert "</title><script>alert(1)</script>&?" in texts(parse(text)[0])


def test_the_picture_loads_nothing_and_suits_dark_pages():
    text = draw_picture(history(2, ["rare"]), ["rare"], 1)
    assert not re.search(r"href|url\(|@import|<script|<image", text)
    assert text.count("http") == 1
    assert "@media (prefers-color-scheme: dark)" in text


def test_the_file_is_the_picture_and_nothing_else_is_left_in_its_folder(tmp_path):
    path = tmp_path / "new" / "history.svg"
    path.parent.mkdir()
    path.write_text("old")
    rows = history(3, ["größe"])
    write_picture(path, rows, ["größe"], 2)
    assert path.read_text(encoding="utf-8") == draw_picture(rows, ["größe"], 2)
    assert [entry.name for entry in path.parent.iterdir()] == ["history.svg"]


def test_a_picture_that_can_not_be_written_is_one_line_and_leaves_the_folder_as_it_was(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(RaretuneError, match="name another --output_dir") as raised:
        write_picture(tmp_path / "taken", history(1, ["rare"]), ["rare"], 1)
    assert "\n" not in str(raised.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]
