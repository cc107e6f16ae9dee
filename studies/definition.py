"""StudyDefinition: what a study searches, read from TOML and validated.

A definition holds only what differs from `default.toml`: keys are merged over it, table by table,
but a range or list is replaced whole. Then come the command line's flags, then its --set. Of two
layers the later one wins: a value it fixes under [training] leaves the space, a key it names under
[space] is held fixed no longer.

Bundled definitions are found by name, one's own by path.
"""

import functools
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from studies.assignments import check_keys
from studies.space import Range, Scalar, Strict, Values
from trainer.config import TrainConfig, invalid
from trainer.data.cells.dialect import Dialect
from trainer.data.split import MAX_FOLDS
from trainer.data.table import Roles
from trainer.errors import ConfigError

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
TABLES = ("table", "split", "budget", "training", "space")
READING = (  # what earlier versions had no key for
    *("category", "date", "labels_from", "list_separator", "positive"),
    *("separator", "encoding", "sheet", "decimal", "thousands", "missing"),
)
LABEL_OBJECTIVE = "f1:"  # and the label's name


class TableSource(Strict):
    """Where the table is, a file or a bundled example; how it is written; what its columns are."""

    csv: Path | None = None
    example: Literal["nafld", "mesa"] | None = None
    labels: tuple[str, ...] = ()
    group: str | None = None
    sequence: str | None = None
    drop: tuple[str, ...] = ()
    id: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    date: tuple[str, ...] = ()
    labels_from: str | None = None
    list_separator: str = "|"
    positive: tuple[str, ...] = ()
    separator: str | None = None
    encoding: str | None = None
    sheet: str | None = None
    decimal: Literal[".", ","] = "."
    thousands: str | None = None
    missing: tuple[str, ...] = ()

    @property
    def roles(self) -> Roles:
        """What each named column is."""
        names = Roles.__dataclass_fields__
        return Roles(**{name: getattr(self, name) for name in names})

    @property
    def dialect(self) -> Dialect:
        """How the file is written."""
        return Dialect(
            self.separator, self.encoding, self.sheet, self.decimal, self.thousands, self.missing
        )


Folds = Literal["auto"] | Annotated[int, Field(ge=1, le=MAX_FOLDS)]


class SplitSizes(Strict):
    """Shares of all rows held out for validation and for the one look at test; and the folds.

    With `folds` over 1 a trial trains in each fold and is scored on all rows but test; 1 is a
    single validation part, and auto leaves the choice to the search. `repeats` deals the folds
    again.
    """

    val_size: Annotated[float, Field(gt=0, lt=1)]
    test_size: Annotated[float, Field(ge=0, lt=1)]
    folds: Folds = 1
    repeats: Annotated[int, Field(ge=1, le=MAX_FOLDS)] = 1


class Budget(Strict):
    """When a search ends: trials in all, and seconds of this run (0: no limit)."""

    trials: Annotated[int, Field(ge=1)]
    timeout_seconds: Annotated[float, Field(ge=0)]


class StudyDefinition(Strict):
    """All that decides a study; `fingerprint` is the part that may not change under its trials.

    `objective` is one of OBJECTIVES or "f1:LABEL", `storage` None for the workspace's own SQLite.
    `ensemble` is how many of the best trials an ensemble is chosen from, 0 for none.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    description: str
    objective: str
    sampler: Literal["tpe", "gp", "cmaes", "random", "qmc"]
    pruner: Literal["hyperband", "successive_halving", "median", "patient", "none"]
    stack: Annotated[int, Field(ge=1, le=1024)]
    workers: Annotated[int, Field(ge=1)]
    ensemble: Annotated[int, Field(ge=0, le=1000)] = 50
    storage: str | None
    compare: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    table: TableSource
    split: SplitSizes
    budget: Budget
    training: dict[str, Scalar]
    space: dict[str, Values]

    @field_validator("objective")
    @classmethod
    def _known_objective(cls, text: str) -> str:
        names_a_label = text.startswith(LABEL_OBJECTIVE) and text != LABEL_OBJECTIVE
        if text not in OBJECTIVES and not names_a_label:
            raise ValueError(f"must be {', '.join(OBJECTIVES)} or {LABEL_OBJECTIVE}LABEL")
        return text

    @field_validator("storage")
    @classmethod
    def _own_storage_if_empty(cls, url: str | None) -> str | None:
        return url or None

    @model_validator(mode="after")
    def _parts_agree(self) -> "StudyDefinition":
        if self.table.csv and self.table.example:
            raise ConfigError("table.csv and table.example exclude each other; keep one")
        label = self.objective.removeprefix(LABEL_OBJECTIVE)
        if self.objective not in OBJECTIVES and label not in (self.table.labels or (label,)):
            raise ConfigError(
                f"objective {self.objective!r} names no label of the table; "
                f"labels are {', '.join(self.table.labels)}"
            )
        return self

    @model_validator(mode="after")
    def _values_train(self) -> "StudyDefinition":
        for key, values in self.space.items():
            candidates: list[Any] = [*values] if isinstance(values, list) else []
            if isinstance(values, Range):
                candidates = [values.low, values.high, values.low + (values.step or 0)]
            for value in candidates:
                self._check_training(f"space.{key}", {key: value})
        self._check_training("training", self.training)
        return self

    @staticmethod
    def _check_training(where: str, values: Mapping[str, Any]) -> None:
        try:
            TrainConfig.create(**values)
        except ConfigError as error:
            raise ConfigError(f"in {where}: {error}") from None

    def fingerprint(self, table_hash: str, converted: Collection[str] = ()) -> dict[str, Any]:
        """Return what must stay the same for a study to continue, as JSON types.

        `converted` are the text columns that are read as numbers. What is as earlier versions,
        which knew no reading but one, is left out as they left it out.
        """
        kept = self.model_dump(mode="json", include={"objective", "split", "training", "space"})
        if self.split.folds == 1:  # as versions wrote it that knew no folds
            del kept["split"]["folds"], kept["split"]["repeats"]
        roles = self.table.model_dump(mode="json", exclude={"csv", "example"})
        for name in READING:
            if roles[name] in (None, [], ".", "|"):
                del roles[name]
        if converted:
            roles["numbers_among_texts"] = sorted(converted)
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


def load_definition(
    name_or_path: str, overrides: Mapping[str, Any], assignments: Mapping[str, Any] | None = None
) -> StudyDefinition:
    """Read a definition and merge it over default.toml, `overrides` and then `assignments` over it.

    `overrides` are nested; `assignments` map dotted keys to values, as `parse_assignments` returns
    them, and change a single value within a range. Raises ConfigError with the file, the key and
    the remedy.
    """
    path = find_definition(name_or_path)
    merged = read_definition(path)
    try:
        merged = _layer(merged, overrides)
        for key, value in (assignments or {}).items():
            merged = _layer(merged, _nested(merged, key, value))
        return StudyDefinition.model_validate(merged)
    except ValidationError as error:
        raise invalid(error, f"{path.name}: ") from None
    except ConfigError as error:
        raise ConfigError(f"{path.name}: {error}") from None


def read_definition(path: Path) -> dict[str, Any]:
    """Return a definition's values over those of default.toml, its keys checked; nested, raw.

    Its table is looked for beside it, and without a name it has its file's. Raises ConfigError.
    """
    own = {"name": path.stem, **_read_toml(path)}
    try:
        merged = _layer(_read_toml(BUNDLED / "default.toml"), own)
    except ConfigError as error:
        raise ConfigError(f"{path.name}: {error}") from None
    csv = merged["table"].get("csv")
    if isinstance(csv, str):
        merged["table"] = {**merged["table"], "csv": str(path.parent / csv)}
    return merged


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: can't be read: {error.strerror}") from None


def _layer(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of two layers: of what excludes each other, that of the one above stays."""
    check_keys(above, _known_keys(), TABLES)
    fixed, searched = above.get("training", {}), above.get("space", {})
    if both := fixed.keys() & searched.keys():
        key = min(both)
        raise ConfigError(f"{key} is both fixed in training and searched in space; keep one")
    dropped = {"csv": "example", "example": "csv"}
    replaced = {dropped[key] for key in above.get("table", {}) if key in dropped}
    return {
        **below,
        **above,
        "table": _without(below.get("table", {}), replaced) | above.get("table", {}),
        "split": {**below.get("split", {}), **above.get("split", {})},
        "budget": {**below.get("budget", {}), **above.get("budget", {})},
        "training": _without(below.get("training", {}), searched) | fixed,
        "space": _without(below.get("space", {}), fixed) | searched,
    }


def _without(values: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in keys}


def _nested(merged: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return a dotted key's value as nested tables; one within a range brings the whole range."""
    parts = key.split(".")
    if key in _known_keys() and len(parts) == 3:
        _, name, part = parts
        values = merged["space"].get(name)
        if not isinstance(values, Mapping):
            raise ConfigError(
                f"{key} can't be set, for space.{name} is no range here; "
                f"set it whole, as in --set 'space.{name}={{ low = 1, high = 2 }}'"
            )
        return {"space": {name: {**values, part: value}}}
    for part in reversed(parts):
        value = {part: value}
    return dict(value)


@functools.cache
def _known_keys() -> tuple[str, ...]:
    parts: dict[str, type[BaseModel]] = {
        "table": TableSource,
        "split": SplitSizes,
        "budget": Budget,
    }
    return (
        *StudyDefinition.model_fields,
        *(f"{name}.{key}" for name, model in parts.items() for key in model.model_fields),
        *(f"training.{key}" for key in TrainConfig.model_fields if key != "seed"),
        *(f"space.{key}" for key in SEARCHABLE),
        *(f"space.{key}.{part}" for key in SEARCHABLE for part in Range.model_fields),
    )
