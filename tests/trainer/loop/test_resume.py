import dataclasses
import json
import math
import os
import stat

import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from trainer.config import TrainConfig
from trainer.errors import CheckpointError
from trainer.loop.fit import fit
from trainer.loop.history import columns
from trainer.loop.resume import STATE, load_state, misfit, save_state

CONFIG = TrainConfig.create(
    batch_size=32,
    hidden_dim=32,
    epochs=9,
    lr=1e-2,
    loss_type="focal",
    weight_method="balanced",
    early_stop_patience=9,
)


@pytest.fixture(scope="module")
def run(data):
    """An uninterrupted run and its state after each epoch."""
    states = []
    return fit(data, [CONFIG], on_state=states.append)[0], states


@pytest.mark.parametrize("epoch", range(1, 9))
def test_a_run_goes_on_from_any_epoch_to_the_same_bits(data, run, tmp_path, epoch):
    whole, states = run
    save_state(tmp_path, states[epoch - 1], {"csv": "t.csv"})
    state, plan = load_state(tmp_path)
    resumed = fit(data, [CONFIG], resume=state)[0]
    assert plan == {"csv": "t.csv"}
    assert resumed.history == whole.history
    assert resumed.thresholds == whole.thresholds
    assert (resumed.best_epoch, resumed.stopped) == (whole.best_epoch, whole.stopped)
    for name, tensor in whole.networks[0].items():
        assert torch.equal(resumed.networks[0][name], tensor)


def test_a_run_that_had_ended_is_only_finished(data, run):
    whole, states = run
    epochs = []
    again = fit(data, [CONFIG], lambda report: epochs.append(report), resume=states[-1])[0]
    assert epochs == []
    assert again.evaluation == whole.evaluation


def test_a_state_of_another_shape_is_refused(data, run):
    other = CONFIG.model_copy(update={"hidden_dim": 48})
    with pytest.raises(CheckpointError, match="another shape"):
        fit(data, [other], resume=run[1][0])


def test_a_state_is_replaced_whole(run, tmp_path):
    for state in run[1][:2]:
        save_state(tmp_path, state, {})
    assert [path.name for path in tmp_path.iterdir()] == [STATE]
    assert len(load_state(tmp_path)[0].history) == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:500]),
        lambda path: path.write_bytes(b"\x80\x04\x95 a pickle, perhaps"),
    ],
)
def test_a_broken_state_is_refused_in_one_line(run, tmp_path, spoil):
    save_state(tmp_path, run[1][0], {})
    spoil(tmp_path / STATE)
    with pytest.raises(CheckpointError) as caught:
        load_state(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_state_with_torn_tensors_is_refused(run, tmp_path):
    state = run[1][0]
    member = dataclasses.replace(state.members[0], mean=torch.zeros(3))
    torn = dataclasses.replace(state, members=(member,))
    save_state(tmp_path, torn, {})
    with pytest.raises(CheckpointError, match="unexpected shapes"):
        load_state(tmp_path)


def test_a_state_has_the_modes_of_its_neighbours(run, tmp_path):
    before = os.umask(0o027)
    try:
        save_state(tmp_path, run[1][0], {})
        (tmp_path / "history.csv").touch()
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (STATE, "history.csv")]
    assert modes == [0o640, 0o640]


def test_a_history_has_the_columns_of_its_labels(run):
    whole, states = run
    assert whole.history[0].keys() == columns(("one", "two", "three"))
    assert misfit(states[3], CONFIG, ("one", "two", "three")) == ""
    assert "other scores" in misfit(states[3], CONFIG, ("one", "two"))
    other = dataclasses.replace(states[3], best_epoch=states[3].best_epoch % 4 + 1)
    assert "best epoch" in misfit(other, CONFIG, ("one", "two", "three"))


def contents(path):
    """What stands in a state's file: its tensors, and the run's JSON."""
    with safe_open(path, framework="pt") as file:
        return {n: file.get_tensor(n) for n in file.keys()}, json.loads(file.metadata()["run"])  # noqa: SIM118


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([1e39, math.nan, math.inf, -0.5, 10**400, "", "x", [], {}, [{}], {"a": 1}]),
)


def go_on(data, folder):
    """Resume the state in a folder as the command does; what refuses it, or ""."""
    try:
        state, _ = load_state(folder)
        if wrong := misfit(state, CONFIG, ("one", "two", "three")):
            return wrong
        fit(data, [CONFIG], resume=state)
    except CheckpointError as error:
        return str(error)
    return ""


@seed(13)
@settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(draw=st.data())
def test_any_changed_value_goes_on_or_is_refused_in_one_line(data, run, tmp_path, draw):
    save_state(tmp_path, run[1][6], {"csv": "t.csv"})
    tensors, kept = contents(tmp_path / STATE)
    inner, key = draw.draw(
        st.sampled_from(
            [(kept, key) for key in kept]
            + [(kept["history"], 2)]
            + [(kept["history"][6], key) for key in kept["history"][6]]
        )
    )
    inner[key] = draw.draw(ODD)
    save_file(tensors, tmp_path / STATE, metadata={"run": json.dumps(kept)})
    assert "\n" not in go_on(data, tmp_path)


@pytest.mark.parametrize("name", ["parameters", "mean", "steps", "generator", "best_parameters"])
@pytest.mark.parametrize(
    "change",
    [
        lambda tensor: tensor.to(torch.float64),
        lambda tensor: tensor.reshape(-1)[:-1].clone(),
        lambda tensor: tensor[None].clone(),
        lambda tensor: torch.full_like(tensor, 255),
        None,
    ],
)
def test_any_changed_tensor_goes_on_or_is_refused_in_one_line(data, run, tmp_path, name, change):
    save_state(tmp_path, run[1][6], {})
    tensors, kept = contents(tmp_path / STATE)
    tensor = tensors.pop(name)
    if change is not None:
        tensors[name] = change(tensor)
    save_file(tensors, tmp_path / STATE, metadata={"run": json.dumps(kept)})
    refused = go_on(data, tmp_path)
    assert "\n" not in refused
    assert refused or change is not None
