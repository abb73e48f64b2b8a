"""What the engines share whose model is a folder: tokens, chat template, and where answers end."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slmlab.engines import chat
from slmlab.engines.engine import Engine, Messages, must_be_open, must_hold_tokens
from slmlab.errors import EngineError, InvalidModelFile
from slmlab.files import from_json, weight_bytes
from slmlab.quantization import DTYPES

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

_END_MARKERS = ("<|endoftext|>", "<|im_end|>", "<|end|>", "<|eot_id|>", "<end_of_turn>")
"""Markers that end an answer whatever the folder says, as in llama.cpp's `llama-vocab.cpp`."""


class FolderEngine(Engine):
    """An engine whose model is a folder with a `tokenizer.json`, as Hugging Face keeps one.

    Each of them reads that file with Hugging Face's `tokenizers`, so that the same text is the
    same tokens in all. ONNX Runtime GenAI has a tokenizer of its own, which leaves out the rule
    that SmolLM2 splits numbers by, ends a text at its first NUL and drops markers when it decodes.
    """

    def __init__(self, path: Path, context: int, threads: int) -> None:
        must_hold_tokens(context)
        self.path = Path(path)
        self.context = context
        self.threads = threads
        self._tokenizer: Tokenizer | None = read_tokenizer(self.path)
        self._settings = read_json(self.path / "tokenizer_config.json")
        self._ends = self._end_tokens()
        self._read = 0

    def close(self) -> None:
        """Give the model's memory back; closing twice is harmless, using it afterwards an error."""
        self._tokenizer = None

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """Return the token ids of a text, with the model's own start token where it wants one.

        With `special`, markers such as `<|im_start|>` count as one token each and no start
        token is added: that is for text that a chat template has already prepared.
        """
        must_be_open(self._tokenizer, self.path)
        self._tokenizer.encode_special_tokens = not special
        return self._tokenizer.encode(text, add_special_tokens=not special).ids

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Return the text of some token ids; bytes that form no character become U+FFFD."""
        must_be_open(self._tokenizer, self.path)
        return self._tokenizer.decode(list(tokens), skip_special_tokens=False)

    def chat_prompt(self, messages: Messages) -> str:
        """Return the text the model's own chat template makes of the messages."""
        must_be_open(self._tokenizer, self.path)
        file = self.path / "chat_template.jinja"
        template = (
            file.read_text("utf-8") if file.is_file() else self._settings.get("chat_template")
        )
        markers = {name: self._marker(name) for name in ("bos_token", "eos_token")}
        return chat.render(template, messages, self.path.name, **markers)

    def start_token(self) -> int | None:
        """Return the token this model wants before every text, or None."""
        must_be_open(self._tokenizer, self.path)
        return next(iter(self._tokenizer.encode("").ids), None)

    def ends(self, token: int) -> bool:
        """Return whether a token ends the model's answer."""
        return token in self._ends

    def evaluate(
        self, tokens: Sequence[int], position: int = 0, logits_from: int | None = None
    ) -> "np.ndarray":
        """Read tokens at positions `position`, `position` + 1, … of the one sequence.

        Returns float32 logits, one row a token from index `logits_from` on (by default the last
        token only), shape (rows, vocabulary).
        """
        self._follow(tokens, position)
        return self._logits(tokens, len(tokens) - 1 if logits_from is None else logits_from)

    @abstractmethod
    def _logits(self, tokens: Sequence[int], first: int) -> "np.ndarray":
        """Read the next tokens and return the float32 logits of those from index `first` on."""

    def _follow(self, tokens: Sequence[int], position: int) -> None:
        """Note that `tokens` are read at `position`, or refuse, as llama.cpp does by itself."""
        must_be_open(self._tokenizer, self.path)
        if position != self._read:
            raise EngineError(
                f"{self._read} tokens were read since the last clear, so the next position is "
                f"{self._read} and not {position}."
            )
        if position + len(tokens) > self.context:
            raise EngineError(
                f"{self.path.name} cannot read {len(tokens)} tokens at position {position}; "
                f"the context holds {self.context}."
            )
        self._read += len(tokens)

    def _marker(self, name: str) -> str:
        """Return the text of a special token such as `eos_token`, or "" where there is none."""
        token = self._settings.get(name)
        text = token.get("content") if isinstance(token, dict) else token
        return text if isinstance(text, str) else ""

    def _end_tokens(self) -> set[int]:
        markers = (*_END_MARKERS, self._marker("eos_token"))
        settings = read_json(self.path / "generation_config.json")
        return {self._tokenizer.token_to_id(marker) for marker in markers} | end_tokens(settings)


def read_tokenizer(folder: Path) -> "Tokenizer":
    """Return the tokenizer that the folder's `tokenizer.json` describes, without its limits.

    Some files also say how long a text was during training; ours are read whole, and alone.
    """
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    if not file.is_file():
        raise InvalidModelFile(
            f"{folder} has no tokenizer.json; save the model's tokenizer there with transformers."
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as problem:  # the only type `tokenizers` raises
        raise InvalidModelFile(f"{file} is damaged ({problem}); get it again.") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def read_json(file: Path) -> dict[str, Any]:
    """Return the object in a JSON file, empty where there is no file."""
    try:
        found = from_json(file.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as problem:
        raise InvalidModelFile(f"{file} is damaged ({problem}); get it again.") from None
    if not isinstance(found, dict):
        raise InvalidModelFile(f"{file} is damaged (it holds no JSON object); get it again.")
    return found


def read_config(path: Path) -> dict[str, Any]:
    """Return the directory's `config.json`, having seen that the weights are there and safe."""
    config = read_json(path / "config.json")
    if not config:
        raise InvalidModelFile(
            f"{path} is not a Hugging Face model: it has no config.json; give another directory."
        )
    if any(path.glob("*.safetensors")):
        return config
    if any(path.glob("*.bin")):
        raise InvalidModelFile(
            f"{path} keeps its weights in pickle files, which can run code when they are read; "
            f"take the model's safetensors instead."
        )
    raise InvalidModelFile(f"{path} holds no safetensors weights; fetch or make the model again.")


def needed_bytes(path: Path, config: dict[str, Any], context: int) -> int:
    """Weights as they lie on disk, and a full cache of keys and values of the same type."""
    value_bytes = DTYPES.get(str(config.get("dtype")), 2)
    return weight_bytes(path) + cache_bytes(language(config), context, value_bytes)


def end_tokens(settings: dict[str, Any]) -> set[int]:
    """Return the token ids that a configuration names under `eos_token_id`: none, one or a list."""
    named = settings.get("eos_token_id")
    listed = named if isinstance(named, list) else [named]
    return {token for token in listed if isinstance(token, int)}


def language(config: dict[str, Any]) -> dict[str, Any]:
    """Return what a `config.json` says of the language model, which may stand in a part of it."""
    part = config.get("text_config")
    return part if isinstance(part, dict) else config


def whole_number(config: dict[str, Any], name: str, default: int | None = None) -> int:
    """Return a number of a configuration, or `default` where it is not there, null or 0.

    Raises `InvalidModelFile` where that is no whole number.
    """
    found = config.get(name) or default
    if not isinstance(found, int):
        raise InvalidModelFile(
            f"The model's configuration gives {found!r} as its {name}, which is no whole number; "
            f"get the model again."
        )
    return found


def cache_bytes(config: dict[str, Any], context: int, value_bytes: int) -> int:
    """Return the bytes of the keys and values of `context` tokens, from a `config.json`.

    Where some layers look back over a window only, this is what all would keep if all did.
    """
    layers = whole_number(config, "num_hidden_layers", 0)
    heads = whole_number(config, "num_attention_heads", 1)
    head_size = whole_number(config, "head_dim", whole_number(config, "hidden_size", 0) // heads)
    kept_heads = whole_number(config, "num_key_value_heads", heads)
    tokens = min(context, whole_number(config, "sliding_window", context))
    return 2 * layers * kept_heads * head_size * tokens * value_bytes
