"""One thing to measure, with everything that decides its result."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from slmlab import measurement
from slmlab.errors import UsageError

QUANTITIES = {
    "size": (),
    "perplexity": ("chunks", "context"),
    "speed": ("prompt_tokens", "decode_tokens", "runs"),
    "memory": ("context",),
}
"""What can be measured, each with the conditions that it depends on."""

TIMED = ("speed", "memory")
"""What depends on the machine, and needs all of it: nothing else may run beside."""


@dataclass(frozen=True)
class Task:
    """One quantity of one model in one form; what does not concern the quantity is left empty.

    `model` names a card or is the path of a GGUF file, `text` one of the course's texts or the
    path of a file; of files only the name counts, and the SHA-256. That of a card is the one it
    pins, if it does.
    """

    quantity: str
    model: str
    engine: str
    quantisation: str
    repetition: int
    model_sha256: str = ""
    text: str = ""
    text_sha256: str = ""
    chunks: int = 0
    context: int = 0
    prompt_tokens: int = 0
    decode_tokens: int = 0
    runs: int = 0

    @property
    def id(self) -> str:
        """The same 16 hexadecimal digits on each machine, wherever its files are."""
        names = {"model": Path(self.model).name, "text": Path(self.text).name}
        deciding = json.dumps(asdict(self) | names, sort_keys=True)
        return hashlib.sha256(deciding.encode()).hexdigest()[:16]

    @property
    def subject(self) -> str:
        """What is measured, in words: model, engine and quantisation."""
        return f"{Path(self.model).name} {self.engine} {self.quantisation}"

    @property
    def is_timed(self) -> bool:
        """Whether it needs a machine for itself."""
        return self.quantity in TIMED

    def __str__(self) -> str:
        on = f" on {Path(self.text).name}" if self.text else ""
        return f"{self.quantity} of {self.subject}{on}, repetition {self.repetition}"


def read_text(name: str) -> str:
    """Return one of the course's texts, or that of a file whose path is absolute.

    Raises `UsageError` where there is none, or it is not UTF-8.
    """
    path = Path(name)
    if not path.is_absolute():
        return measurement.text(name)
    if not path.is_file():
        raise UsageError(f"The text {path} is not here; put it where every machine sees it.")
    return measurement.text_file(path)
