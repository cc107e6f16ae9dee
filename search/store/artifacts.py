"""Checkpoints of a study's best trials and known recipes, as artifacts that optuna-dashboard shows.

A finished trial's own attributes can't change any more, so the list of its artifacts stands among
the study's, where the dashboard looks too; an artifact that is deleted leaves a null there.
"""

import json
import mimetypes
import sys
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import optuna
from optuna.artifacts import FileSystemArtifactStore
from optuna.artifacts._upload import ArtifactMeta
from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.trial import FrozenTrial, TrialState
from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from search.store.attributes import ARTIFACTS, RECIPE
from search.store.transactions import set_study_attributes, study_attributes
from trainer.checkpoint import FILES, Checkpoint, load_checkpoint, save_checkpoint

KEPT_TRIALS = 5


class _Meta(TypedDict):
    """A file as it is listed; its id is its name in the folder, and never leads out of that."""

    artifact_id: Annotated[str, Field(pattern=r"\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\z")]
    filename: str
    mimetype: str
    encoding: str | None


META = TypeAdapter(_Meta)


class Shelf:
    """The artifacts of one study in a folder: the checkpoints of its best trials and its recipes.

    These are the KEPT_TRIALS best complete trials, and the complete ones that a known recipe began.
    It `tells` once, on stderr, that a checkpoint can't be kept; nothing else is lost by that.
    """

    def __init__(self, study: optuna.Study, folder: Path, *, tells: bool = True) -> None:
        self.study, self.folder, self.tells = study, folder, tells
        self.store = FileSystemArtifactStore(base_path=folder)

    def keep(self, number: int, checkpoint: Checkpoint) -> bool:
        """Keep a complete trial's checkpoint if it has a place; drop those that lost theirs.

        Returns whether it is kept. What is not can be trained again, to the same bits.
        """
        try:
            return self._keep(number, checkpoint)
        except OSError as error:
            if self.tells:
                self.tells = False
                print(
                    f"raretune: checkpoints of this search can't be kept in {self.folder}: "
                    f"{error.strerror or error}; the trials are stored all the same, and the best "
                    "is trained again at the end",
                    file=sys.stderr,
                )
            return False

    def _keep(self, number: int, checkpoint: Checkpoint) -> bool:
        trial = next((trial for trial in self._wanted() if trial.number == number), None)
        if trial is None:
            return False
        self._remove(trial._trial_id)
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            save_checkpoint(Path(scratch) / "checkpoint", checkpoint)
            files = [self._upload(path) for path in sorted(Path(scratch).glob("checkpoint/*"))]
        self._list(trial._trial_id, files)
        listed = {trial_id for trial_id, _ in self._listed()}
        # Asked for after the list, so that what another worker began to keep just now is wanted.
        for trial_id in listed - {trial._trial_id for trial in self._wanted()}:
            self._remove(trial_id)
        return True

    def fetch(self, trial: FrozenTrial) -> Checkpoint | None:
        """Return a trial's checkpoint, None if it is not kept; raises CheckpointError if broken.

        Where a process died while it kept or dropped one, some of its files are missing: not kept.
        """
        files = [meta for trial_id, meta in self._listed() if trial_id == trial._trial_id]
        if not {meta.filename for meta in files}.issuperset(FILES):
            return None
        with tempfile.TemporaryDirectory() as scratch:
            for meta in files:
                try:
                    with self.store.open_reader(meta.artifact_id) as source:
                        (Path(scratch) / Path(meta.filename).name).write_bytes(source.read())
                except ArtifactNotFound:
                    return None
            return load_checkpoint(Path(scratch))

    def _wanted(self) -> list[FrozenTrial]:
        done = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        ranked = sorted(done, key=lambda trial: (-trial.values[0], trial.number))
        recipes = [trial for trial in ranked[KEPT_TRIALS:] if RECIPE in trial.user_attrs]
        return ranked[:KEPT_TRIALS] + recipes

    def _upload(self, path: Path) -> ArtifactMeta:
        mimetype = mimetypes.guess_type(path)[0] or "application/octet-stream"
        meta = ArtifactMeta(str(uuid.uuid4()), path.name, mimetype, encoding=None)
        with path.open("rb") as file:
            self.store.write(meta.artifact_id, file)
        return meta

    def _remove(self, trial_id: int) -> None:
        dropped = [meta for owner, meta in self._listed() if owner == trial_id]
        self._list(trial_id, dropped, there=False)
        for meta in dropped:
            try:
                self.store.remove(meta.artifact_id)
            except ArtifactNotFound:
                continue  # another worker was faster

    def _list(self, trial_id: int, files: Sequence[ArtifactMeta], *, there: bool = True) -> None:
        """Note that a trial's files are there, or no longer."""
        set_study_attributes(
            self.study,
            {
                f"{ARTIFACTS}{trial_id}:{meta.artifact_id}": json.dumps(
                    asdict(meta) if there else None
                )
                for meta in files
            },
        )

    def _listed(self) -> list[tuple[int, ArtifactMeta]]:
        """Return each trial's id with a file of its checkpoint; what else is listed is not ours."""
        listed = (
            _read(key.removeprefix(ARTIFACTS), value)
            for key, value in study_attributes(self.study).items()
            if key.startswith(ARTIFACTS)
        )
        return [one for one in listed if one is not None and one[1].filename in FILES]


def _read(ids: str, text: Any) -> tuple[int, ArtifactMeta] | None:
    """Read one attribute of the list; None if the file is gone or it is not as raretune writes."""
    trial_id = ids.split(":")[0]
    if not trial_id.isdecimal() or not isinstance(text, str):
        return None
    try:
        return int(trial_id), ArtifactMeta(**META.validate_json(text))
    except ValidationError:
        return None
