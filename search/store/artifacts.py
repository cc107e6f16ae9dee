"""Checkpoints and held-out predictions of a study's trials, as artifacts that a dashboard shows.

A finished trial's own attributes can't change any more, so the list of its artifacts stands among
the study's, where optuna-dashboard looks too; an artifact that is deleted leaves a null there.
"""

import io
import json
import mimetypes
import tempfile
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts._upload import ArtifactMeta
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from search.store.attributes import ARTIFACTS, RECIPE
from search.store.complaints import tell
from search.store.transactions import set_study_attributes, study_attributes, trial_of
from trainer.checkpoint import FILES, Checkpoint, load_checkpoint, save_checkpoint
from trainer.errors import CheckpointError
from trainer.loop.held_out import HeldOut

KEPT_TRIALS = 5
PREDICTIONS = "predictions.safetensors"
NOTHING: frozenset[str] = frozenset()

Listed = tuple[int, ArtifactMeta]  # a trial's id in the storage, and one of its files


class _Meta(TypedDict):
    """A file as it is listed; its id is its name in the folder, and never leads out of that."""

    artifact_id: Annotated[str, Field(pattern=r"\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\z")]
    filename: str
    mimetype: str
    encoding: str | None


META = TypeAdapter(_Meta)


class Shelf:
    """The artifacts of one study in a folder.

    Checkpoints are kept of the KEPT_TRIALS best complete trials and of the complete ones that a
    known recipe began; held-out predictions of the `predictions` best. It `tells` once, on stderr,
    that something can't be kept; nothing else is lost by that.
    """

    def __init__(
        self, study: optuna.Study, folder: Path, *, predictions: int = 0, tells: bool = True
    ) -> None:
        self.study, self.folder, self.predictions, self.tells = study, folder, predictions, tells
        self.store = FileSystemArtifactStore(base_path=folder)

    def keep(self, number: int, checkpoint: Checkpoint, held_out: HeldOut | None = None) -> bool:
        """Keep of a complete trial what has a place; drop of others what lost its own.

        Without `held_out` this is about checkpoints alone. Returns whether the checkpoint is kept.
        What is not can be trained again, to the same bits.
        """
        try:
            return self._keep(number, checkpoint, held_out)
        except (OSError, CheckpointError) as error:
            if self.tells:
                self.tells = False
                reason = error.strerror if isinstance(error, OSError) else None
                tell(
                    f"checkpoints of this search can't be kept in {self.folder}: "
                    f"{reason or error}; the trials are stored all the same, and the best "
                    "is trained again at the end"
                )
            return False

    def _keep(self, number: int, checkpoint: Checkpoint, held_out: HeldOut | None) -> bool:
        trial_id = trial_of(self.study, number)._trial_id
        names = self._wanted().get(trial_id, NOTHING)
        kinds = set(FILES) if held_out is None else {*FILES, PREDICTIONS}
        made: list[ArtifactMeta] = []
        if names & kinds:
            self.folder.mkdir(parents=True, exist_ok=True)
        if names.issuperset(FILES):
            with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
                save_checkpoint(Path(scratch) / "checkpoint", checkpoint)
                for path in sorted(Path(scratch).glob("checkpoint/*")):
                    with path.open("rb") as file:
                        made.append(self._upload(path.name, file))
        if held_out is not None and PREDICTIONS in names:
            made.append(self._upload(PREDICTIONS, io.BytesIO(held_out.to_bytes())))
        if not made:
            return False
        fresh, listed = {meta.filename for meta in made}, self._listed()
        # Asked for after the list, so that what another worker began to keep just now is wanted.
        wanted = self._wanted()
        gone = [
            (owner, meta)
            for owner, meta in listed
            if (owner == trial_id and meta.filename in fresh)
            or (meta.filename in kinds and meta.filename not in wanted.get(owner, NOTHING))
        ]
        still = wanted.get(trial_id, NOTHING)
        self._change([(trial_id, meta) for meta in made if meta.filename in still], gone)
        for meta in made:
            if meta.filename not in still:  # others have taken its place meanwhile
                self.store.remove(meta.artifact_id)
        return (fresh & still).issuperset(FILES)

    def fetch(self, trial: FrozenTrial) -> Checkpoint | None:
        """Return a trial's checkpoint, None if it is not kept; raises CheckpointError if broken.

        Where a process died while it kept or dropped one, some of its files are missing: not kept.
        """
        files = [
            meta
            for trial_id, meta in self._listed()
            if trial_id == trial._trial_id and meta.filename in FILES
        ]
        if not {meta.filename for meta in files}.issuperset(FILES):
            return None
        with tempfile.TemporaryDirectory() as scratch:
            for meta in files:
                try:
                    with self.store.open_reader(meta.artifact_id) as source:
                        (Path(scratch) / Path(meta.filename).name).write_bytes(source.read())
                except ArtifactNotFound:
                    return None
                except OSError as error:
                    raise CheckpointError(
                        f"its {meta.filename} can't be read: {error.strerror}"
                    ) from None
            return load_checkpoint(Path(scratch))

    def fetch_held_out(self, trial: FrozenTrial) -> HeldOut | None:
        """Return a trial's held-out predictions, None if not kept; raises CheckpointError."""
        own = (trial._trial_id, PREDICTIONS)
        for trial_id, meta in self._listed():
            if (trial_id, meta.filename) == own:
                try:
                    with self.store.open_reader(meta.artifact_id) as source:
                        return HeldOut.from_bytes(source.read())
                except ArtifactNotFound:
                    return None
                except OSError as error:
                    raise CheckpointError(
                        f"its predictions can't be read: {error.strerror}"
                    ) from None
        return None

    def _wanted(self) -> dict[int, frozenset[str]]:
        """Return the names of the files that are to be kept of each trial, by its id."""
        done = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        ranked = sorted(done, key=lambda trial: (-trial.values[0], trial.number))
        wanted: dict[int, frozenset[str]] = {}
        for place, trial in enumerate(ranked):
            names = FILES if place < KEPT_TRIALS or RECIPE in trial.user_attrs else ()
            predicted = (PREDICTIONS,) if place < self.predictions else ()
            if names or predicted:
                wanted[trial._trial_id] = frozenset((*names, *predicted))
        return wanted

    def _upload(self, name: str, content: BinaryIO) -> ArtifactMeta:
        mimetype = mimetypes.guess_type(name)[0] or "application/octet-stream"
        meta = ArtifactMeta(str(uuid.uuid4()), name, mimetype, encoding=None)
        try:
            self.store.write(meta.artifact_id, content)
        except OSError:
            (self.folder / meta.artifact_id).unlink(missing_ok=True)  # half of it, on a full disk
            raise
        return meta

    def _change(self, there: Sequence[Listed], gone: Sequence[Listed]) -> None:
        """Note at once that some files are there and others no longer; then delete the others."""
        content = [*((one, asdict(one[1])) for one in there), *((one, None) for one in gone)]
        set_study_attributes(
            self.study,
            {
                f"{ARTIFACTS}{trial_id}:{meta.artifact_id}": json.dumps(noted)
                for (trial_id, meta), noted in content
            },
        )
        for _, meta in gone:
            with suppress(ArtifactNotFound):  # another worker was faster
                self.store.remove(meta.artifact_id)

    def _listed(self) -> list[Listed]:
        """Return each trial's id with a file of ours; what else is listed is somebody else's."""
        listed = (
            _read(key.removeprefix(ARTIFACTS), value)
            for key, value in study_attributes(self.study).items()
            if key.startswith(ARTIFACTS)
        )
        return [
            one for one in listed if one is not None and one[1].filename in (*FILES, PREDICTIONS)
        ]


def _read(ids: str, text: Any) -> Listed | None:
    """Read one attribute of the list; None if the file is gone or it is not as raretune writes."""
    trial_id = ids.split(":")[0]
    if not trial_id.isdecimal() or not isinstance(text, str):
        return None
    try:
        return int(trial_id), ArtifactMeta(**META.validate_json(text))
    except ValidationError:
        return None
