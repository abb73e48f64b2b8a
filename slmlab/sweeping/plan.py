"""What a sweep is to measure: a TOML file, and the tasks that it stands for."""

import hashlib
import tomllib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any

from slmlab import engines
from slmlab.errors import UsageError
from slmlab.files import sha256
from slmlab.quantization import QUANTIZATIONS
from slmlab.sweeping.task import QUANTITIES, Task, read_text
from slmlab.tiers import card


@dataclass(frozen=True)
class Plan:
    """Models, quantisations, engines, texts, repetitions: each with each; and what to measure.

    Each engine gets those quantisations that it has. `models` are names of cards or paths of GGUF
    files, `texts` names of the course's texts or paths. Perplexity is that of `chunks` chunks of
    `context` tokens; memory has room for `context` tokens; speed is the mean of `runs` with
    `prompt_tokens` read and `decode_tokens` written.
    """

    models: tuple[str, ...]
    quantisations: tuple[str, ...]
    engines: tuple[str, ...] = ("llama_cpp",)
    texts: tuple[str, ...] = ("prose",)
    repetitions: int = 1
    measure: tuple[str, ...] = tuple(QUANTITIES)
    chunks: int = 20
    context: int = 512
    prompt_tokens: int = 512
    decode_tokens: int = 128
    runs: int = 5

    def __post_init__(self) -> None:
        for field in fields(self):
            _must_be(field.type, field.name, getattr(self, field.name))
        _must_be_among("quantity", self.measure, QUANTITIES)
        _must_be_among("engine", self.engines, engines.NAMES)
        _must_fit(self.quantisations, self.engines)

    def tasks(self) -> list[Task]:
        """Return every task once: first those that may share a machine, then the timed ones.

        Raises `UsageError` for a model or text that is not known and no file.
        """
        made = {task.id: task for task in self._tasks()}
        return sorted(made.values(), key=lambda task: task.is_timed)

    def _tasks(self) -> Iterator[Task]:
        models = {model: _model_sha256(model) for model in self.models}
        texts = {text: _text_sha256(text) for text in self.texts}
        repetitions = range(1, self.repetitions + 1)
        forms = [
            (quantisation, engine)
            for quantisation, engine in product(self.quantisations, self.engines)
            if quantisation in _quantisations(engine)
        ]
        for model, (quantisation, engine), repetition, quantity in product(
            models, forms, repetitions, self.measure
        ):
            for conditions in self._conditions(quantity, texts):
                yield Task(
                    quantity,
                    model,
                    engine,
                    quantisation,
                    repetition,
                    model_sha256=models[model],
                    **conditions,
                )

    def _conditions(self, quantity: str, texts: dict[str, str]) -> list[dict[str, Any]]:
        """Return what else decides a quantity: for perplexity, once for each text."""
        conditions = {name: getattr(self, name) for name in QUANTITIES[quantity]}
        if quantity == "perplexity":
            return [{"text": text, "text_sha256": sha} | conditions for text, sha in texts.items()]
        return [conditions]


def read_plan(path: Path) -> Plan:
    """Read a plan; paths in it start from its folder.

    Raises `UsageError` for what is no plan: an unknown key, a name that is not known, a value of
    another kind.
    """
    entries = _entries(path)
    for name in ("models", "texts"):
        if isinstance(entries.get(name), tuple):
            entries[name] = tuple(_named(one, path.parent) for one in entries[name])
    try:
        plan = Plan(**entries)
        plan.tasks()
    except UsageError as problem:
        raise UsageError(f"{path.name}: {problem}") from None
    return plan


def _entries(path: Path) -> dict[str, Any]:
    try:
        entries = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path} is not there; name a plan, a file in TOML.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise UsageError(f"{path.name} is not TOML in UTF-8 ({problem}); mend it.") from None
    known = [field.name for field in fields(Plan)]
    if unknown := [name for name in entries if name not in known]:
        raise UsageError(
            f"{path.name}: there is no key {unknown[0]!r} in a plan; choose {', '.join(known)}."
        )
    needed = [field.name for field in fields(Plan) if field.default is MISSING]
    if missing := [name for name in needed if name not in entries]:
        raise UsageError(f"{path.name}: the key {missing[0]!r} is missing; add a list of names.")
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in entries.items()
    }


def _named(name: Any, folder: Path) -> Any:
    """Return the absolute path of a file beside the plan, and any other name as it is."""
    if isinstance(name, str) and (folder / name).is_file():
        return str((folder / name).resolve())
    return name


def _must_be(kind: Any, name: str, value: Any) -> None:
    if kind is int:
        if type(value) is not int or value < 1:
            raise UsageError(f"{name} is {value!r}; it must be a whole number from 1 on.")
    elif not (isinstance(value, tuple) and value and all(isinstance(one, str) for one in value)):
        raise UsageError(f"{name} must be a list of one name or more, in quotes.")


def _must_be_among(what: str, names: Sequence[str], known: Collection[str]) -> None:
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"there is no {what} {unknown[0]!r} here; choose {', '.join(known)}.")


def _must_fit(quantisations: Sequence[str], names: Sequence[str]) -> None:
    """Raise `UsageError` for a quantisation that no engine has, or an engine that has none."""
    known = [one for name in names for one in _quantisations(name)]
    _must_be_among("quantisation", quantisations, dict.fromkeys(known))
    for name in names:
        own = _quantisations(name)
        if not set(own) & set(quantisations):
            raise UsageError(f"{name} has none of these quantisations; add {' or '.join(own)}.")


def _quantisations(engine: str) -> tuple[str, ...]:
    return tuple(QUANTIZATIONS) if engine == "llama_cpp" else engines.precisions(engine)


def _model_sha256(model: str) -> str:
    path = Path(model)
    return sha256(path) if path.is_absolute() else card(model).sha256


def _text_sha256(text: str) -> str:
    return hashlib.sha256(read_text(text).encode()).hexdigest()
