"""The trials that an ensemble may be made of: their kept predictions, fetched and checked."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from torch import Tensor

from search.export import retrained
from search.session import Session
from search.store.artifacts import Shelf
from search.store.complaints import tell
from search.store.identity import Origin, origin_of
from search.store.records import TrialRecord, complete, read_records
from search.store.transactions import is_writable
from trainer.checkpoint import Network, check_parameters, shape_of
from trainer.config import TrainConfig
from trainer.errors import CheckpointError, RaretuneError
from trainer.loop.held_out import HeldOut

MOST_NAMED = 8


@dataclass(frozen=True)
class Candidate:
    """A trial with its predictions (V, L) float16 of the pool, and its network in each fold."""

    record: TrialRecord
    probabilities: Tensor
    networks: tuple[Network, ...]


def find_candidates(
    session: Session, study: optuna.Study, shelf: Shelf, *, again: bool
) -> list[Candidate]:
    """Return the best complete trials whose predictions are kept, best first.

    One whose predictions are not, or not as the study says, is trained `again`, or else left out.
    A line on stderr names such trials.
    """
    ranked = complete(read_records(study))[: session.definition.ensemble]
    trials = {trial.number: trial for trial in study.get_trials(deepcopy=False)}
    found: dict[int, Candidate] = {}
    missing: list[TrialRecord] = []
    for record in ranked:
        try:
            held_out = shelf.fetch_held_out(trials[record.number])
            if held_out is not None:
                origin = origin_of(study, record)
                found[record.number] = _checked(held_out, session, record, origin)
                continue
        except CheckpointError as error:
            tell(f"the kept predictions of trial {record.number} are not used: {error}")
        missing.append(record)
    if missing:
        numbers = named([record.number for record in missing])
        if not again:
            tell(
                f"no predictions are kept of {numbers} of the best {len(ranked)} trials, so the "
                f"ensemble is made without; raretune ensemble {study.study_name} trains again"
            )
        else:
            tell(
                f"no predictions are kept of {numbers} of the best {len(ranked)} trials, which "
                "are trained again"
            )
            found |= _trained(session, study, shelf, missing)
    return [found[record.number] for record in ranked if record.number in found]


def _trained(
    session: Session, study: optuna.Study, shelf: Shelf, records: Sequence[TrialRecord]
) -> dict[int, Candidate]:
    """Train trials again and keep their predictions."""
    found = {}
    for record in records:
        try:
            result = retrained(session, record)
            held_out = session.held_out(record.number, record.value, result)
            if held_out is None:
                raise CheckpointError("its loss was not finite")
            found[record.number] = _checked(held_out, session, record, origin_of(study, record))
        except RaretuneError as error:
            tell(f"trial {record.number} is left out of the ensemble: {error}")
            continue
        if is_writable(study):
            checkpoint = session.checkpoint(record.number, record.value, result)
            shelf.keep(record.number, checkpoint, held_out)
    return found


def _checked(held_out: HeldOut, session: Session, record: TrialRecord, origin: Origin) -> Candidate:
    """Return a trial's predictions as a candidate; raises CheckpointError if they are others'."""
    try:
        trial = json.loads(held_out.about["trial"])
        told = trial["study_id"], trial["number"], trial["digest"]
    except (KeyError, TypeError, ValueError):
        raise CheckpointError("it does not say whose they are") from None
    if told[0] != origin.study_id:
        raise CheckpointError("they are of another study, which had the same name")
    if told[1:] != (record.number, origin.digest):
        raise CheckpointError("its settings, split, table or value are not those of the trial")
    experiment = session.experiment
    if held_out.probabilities.shape != experiment.data.y_validation.shape:
        raise CheckpointError("they are of other rows or labels")
    if len(held_out.networks) != len(experiment.features):
        raise CheckpointError(f"they are of {len(held_out.networks)} folds")
    config, n_labels = TrainConfig.create(**record.config), len(experiment.data.labels)
    networks = tuple(
        Network(features, shape_of(config, features, n_labels), parameters)
        for features, parameters in zip(experiment.features, held_out.networks, strict=True)
    )
    for network in networks:
        check_parameters(network)
    return Candidate(record, held_out.probabilities, networks)


def named(numbers: Sequence[int]) -> str:
    """Return "trial 3", "trials 3, 5 and 8", or the first of many and how many more."""
    first = sorted(numbers)[:MOST_NAMED]
    if len(numbers) == 1:
        return f"trial {first[0]}"
    words = [str(number) for number in first]
    more = len(numbers) - len(first)
    last = words.pop() if not more else f"{more} more"
    return f"trials {', '.join(words)} and {last}"
