"""A trained model on disk: weights as 16-bit safetensors, and beside them how they were made."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from slmlab.bitnet.model import Model
from slmlab.errors import InvalidModelFile
from slmlab.files import data_path, whole


@dataclass(frozen=True)
class Point:
    """Losses in nats a token: `training` is the mean since the point before."""

    step: int
    training: float
    validation: float


@dataclass(frozen=True)
class Record:
    """How a checkpoint was made: everything needed to make it again, and its curve.

    `seconds` is wall time on `machine`, validation included; `tokens` counts every token that
    was learnt from, repeated ones too.
    """

    command: str
    ternary: bool
    seed: int
    steps: int
    tokens: int
    seconds: float
    machine: str
    date: str
    versions: dict[str, str]
    curve: tuple[Point, ...]

    @property
    def minutes(self) -> float:
        """Wall time in minutes."""
        return self.seconds / 60


def save(model: Model, record: Record, folder: Path) -> Path:
    """Write a model and its record into a folder and return the path of the weights."""
    path = Path(folder) / f"{_name(record.ternary)}.safetensors"
    weights = {name: weight.half() for name, weight in model.state_dict().items()}
    made = {key: value for key, value in asdict(record).items() if key != "curve"}
    with whole(path) as aside:
        save_file(weights, aside, {key: str(value) for key, value in made.items()})
    with whole(path.with_suffix(".json")) as aside:
        aside.write_text(json.dumps(asdict(record), indent=1) + "\n", "utf-8")
    return path


def load(ternary: bool, folder: Path | None = None) -> tuple[Model, Record]:
    """Return the shipped model, three-valued or its full-precision twin, and how it was made.

    Raises `InvalidModelFile` where the weights are missing or are not this model's.
    """
    path = (folder or data_path("bitnet")) / f"{_name(ternary)}.safetensors"
    model = Model(ternary)
    try:
        made = json.loads(path.with_suffix(".json").read_text("utf-8"))
        weights = {name: weight.float() for name, weight in load_file(path).items()}
        model.load_state_dict(weights)
        curve = tuple(Point(**point) for point in made["curve"])
        return model, Record(**made | {"curve": curve})
    except (OSError, SafetensorError, RuntimeError, ValueError, TypeError, KeyError) as problem:
        raise InvalidModelFile(
            f"{path} is not a checkpoint of this model; take it from the repository again, or "
            f"train it with: python -m slmlab.bitnet.train"
        ) from problem


def _name(ternary: bool) -> str:
    return "ternary" if ternary else "full-precision"
