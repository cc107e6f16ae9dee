import dataclasses

import pytest
import torch

from trainer.config import TrainConfig
from trainer.errors import CheckpointError
from trainer.loop.fit import fit
from trainer.loop.resume import STATE, load_state, save_state

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
