"""StudyDefinition: what a study searches, read from TOML and validated.

A definition holds only what differs from `default.toml`: keys are merged over it, table by table.
Bundled definitions are found by name, one's own by path. A value fixed under [training] leaves the
space.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from trainer.config import TrainConfig, invalid
from trainer.errors import ConfigError
from trainer.table import Roles

BUNDLED = Path(__file__).parent
SEARCHABLE = (
    "loss_type",
    "focal_gamma",
    "weight_method",
    "class_weight_method",
    "class_weight_multiplier",
    "label_smoothing",
    "lr",
    "batch_size",
    "dropout",
    "weight_decay",
    "hidden_dim",
    "num_layers",
)
OBJECTIVES = ("macro_f1", "macro_recall", "average_precision", "balanced_accuracy")

Scalar = bool | int | float | str


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Range(_Strict):
    """Numbers from low to high, both included; log-uniform with `log`, on a grid with `step`."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a log range must start above 0, got low = {self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other; leave one away")
        return self


Choices = Annotated[list[Scalar], Field(min_length=1)]


class TableSource(_Strict):
    """Where the table is, a file or a bundled example, and what its columns are."""

    csv: Path | None = None
    example: Literal["nafld", "mesa"] | None = None
    labels: tuple[str, ...] = ()
    group: str | None = None
    sequence: str | None = None
    drop: tuple[str, ...] = ()
    id: tuple[str, ...] = ()

    @property
    def roles(self) -> Roles:
        """What each named column is."""
        return Roles(self.labels, self.group, self.sequence, self.drop, self.id)


class SplitSizes(_Strict):
    """Shares of all rows held out for validation and for the one look at test."""

    val_size: Annotated[float, Field(gt=0, lt=1)]
    test_size: Annotated[float, Field(ge=0, lt=1)]


class Budget(_Strict):
    """When a search ends: trials in all, and seconds of this run (0: no limit)."""

    trials: Annotated[int, Field(ge=1)]
    timeout_seconds: Annotated[float, Field(ge=0)]


class StudyDefinition(_Strict):
    """All that decides a study; `fingerprint` is the part that may not change under its trials."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    description: str
    objective: Literal["macro_f1", "macro_recall", "average_precision", "balanced_accuracy"]
    sampler: Literal["tpe", "random"]
    pruner: Literal["hyperband", "successive_halving", "median", "patient", "none"]
    stack: Annotated[int, Field(ge=1, le=1024)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    table: TableSource
    split: SplitSizes
    budget: Budget
    training: dict[str, Scalar]
    space: dict[str, Range | Choices]

    @model_validator(mode="after")
    def _values_train(self) -> "StudyDefinition":
        if self.table.csv and self.table.example:
            raise ValueError("table.csv and table.example exclude each other; keep one")
        for key, values in self.space.items():
            if key not in SEARCHABLE:
                raise ValueError(f"space.{key} can't be searched; keys are {', '.join(SEARCHABLE)}")
            ends = [values.low, values.high] if isinstance(values, Range) else values
            for value in ends:
                self._check_training(f"space.{key}", {key: value})
        self._check_training("training", self.training)
        return self

    @staticmethod
    def _check_training(where: str, values: Mapping[str, Scalar]) -> None:
        try:
            TrainConfig.create(**values)
        except ConfigError as error:
            raise ValueError(f"in {where}: {error}") from None

    def fingerprint(self, table_hash: str) -> dict[str, Any]:
        """Return what must stay the same for a study to continue, as JSON types."""
        kept = self.model_dump(mode="json", include={"objective", "split", "training", "space"})
        roles = self.table.model_dump(mode="json", exclude={"csv", "example"})
        return {"table": {"sha256": table_hash, **roles}, "seed": self.seed, **kept}


def bundled_names() -> list[str]:
    """Return the names of the definitions that come with the package."""
    return sorted(path.stem for path in BUNDLED.glob("*.toml"))


def find_definition(name_or_path: str) -> Path:
    """Return the TOML file of a bundled study's name or of a path; raises ConfigError."""
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        if not path.is_file():
            raise ConfigError(
                f"no study definition at {path}; `raretune studies` lists bundled ones"
            )
        return path
    if name_or_path in bundled_names():
        return BUNDLED / f"{name_or_path}.toml"
    raise ConfigError(
        f"no study named {name_or_path!r}; bundled ones are {', '.join(bundled_names())}; "
        f"give a file of your own as a path that ends in .toml, or a table with --csv"
    )


def load_definition(name_or_path: str, overrides: Mapping[str, Any]) -> StudyDefinition:
    """Read a definition, merge it over default.toml and `overrides` (nested) over both.

    Raises ConfigError with the file, the key and the remedy.
    """
    path = find_definition(name_or_path)
    own = _read_toml(path)
    merged = _merge(_read_toml(BUNDLED / "default.toml"), own)
    merged = _merge(merged, overrides)
    merged.setdefault("name", path.stem)
    fixed = {**own.get("training", {}), **overrides.get("training", {})}
    merged["space"] = {key: value for key, value in merged["space"].items() if key not in fixed}
    try:
        definition = StudyDefinition.model_validate(merged)
    except ValidationError as error:
        raise invalid(error, f"{path.name}: ") from None
    csv = own.get("table", {}).get("csv")
    if csv and definition.table.csv == Path(csv):
        table = definition.table.model_copy(update={"csv": path.parent / csv})
        return definition.model_copy(update={"table": table})
    return definition


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return base with over's keys; tables are merged, but a range or list is replaced whole."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping) and "low" not in below:
            value = _merge(below, value)
        merged[key] = value
    return merged
