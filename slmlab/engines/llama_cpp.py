"""Run a GGUF model file with llama.cpp, through llama-cpp-python's low-level API.

The high-level `Llama` class copies every row of logits into Python; here a caller gets a view
of llama.cpp's own memory, so that measuring costs next to nothing.
"""

import ctypes
import functools
import importlib.util
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slmlab import gguf
from slmlab.engines import chat, trial
from slmlab.engines.engine import (
    BATCH_TOKENS,
    Engine,
    Messages,
    must_be_known,
    must_hold_tokens,
)
from slmlab.engines.grammar import Grammar
from slmlab.errors import EngineError, InvalidModelFile, NotPossibleHere, UsageError
from slmlab.machine import check_memory, usable_threads
from slmlab.quantization import quantize

if TYPE_CHECKING:
    import numpy as np

PRECISIONS = ("F16", "Q8_0", "Q5_1", "Q4_0")

KV_TYPES = ("F16", "Q8_0", "Q4_0")
"""The types that the keys and values of read tokens can be kept in."""


def why_not() -> str | None:
    """Return why this engine cannot run here and what to install, or None if it can."""
    if importlib.util.find_spec("llama_cpp"):
        return None
    return "llama-cpp-python is not installed; install it with: pip install llama-cpp-python"


def prepare(source: Path, precision: str) -> Path:
    """Return a GGUF file quantised to one of `PRECISIONS`, made once and kept in the cache."""
    must_be_known(precision, PRECISIONS)
    return quantize(source, [precision])[0].path


def load(
    path: Path,
    context: int = 2048,
    threads: int | None = None,
    kv_type: str = "F16",
    sequences: int = 1,
) -> "LlamaCpp":
    """Load a model file; use the result with `with`, or call its `close`.

    `context` counts tokens, prompt and answer together; `threads` defaults to the cores this
    process may use. `kv_type` is one of `KV_TYPES`. `evaluate_together` reads `sequences`
    sequences side by side, each with a context of its own.

    A file that nobody has verified is tried in a process of its own the first time, for llama.cpp
    may crash on it. Raises `InvalidModelFile` for a damaged file and for one on which it does,
    `NotPossibleHere` where memory will be too small, and `EngineError` where llama.cpp refuses the
    file.
    """
    if Path(path).is_file() and not why_not():
        trial.must_survive(path)
    return LlamaCpp(path, context, threads or usable_threads(), kv_type, sequences)


class LlamaCpp(Engine):
    """One loaded model with one context."""

    def __init__(
        self, path: Path, context: int, threads: int, kv_type: str = "F16", sequences: int = 1
    ) -> None:
        must_hold_tokens(context)
        if kv_type not in KV_TYPES:
            raise UsageError(f"{kv_type!r} is no type of KV cache; choose {', '.join(KV_TYPES)}.")
        header = gguf.read_header(path)
        self._api = _api()
        self.path = Path(path)
        self.context = context
        self.threads = threads
        self.kv_type = kv_type
        self.sequences = sequences
        needed = header.file_bytes + sequences * _cache_bytes(header, context, kv_type)
        check_memory(needed, self.path.name)
        self._model = self._load_model()
        self._context = self._open_context()
        self._vocab = self._api.llama_model_get_vocab(self._model)
        self._memory = self._api.llama_get_memory(self._context)
        self.vocabulary = int(self._api.llama_vocab_n_tokens(self._vocab))
        self._batch = self._api.llama_batch_init(self._batch_tokens(), 0, 1)
        self._free = weakref.finalize(
            self, _free, self._api, self._batch, self._context, self._model
        )

    def close(self) -> None:
        """Give the model's memory back; closing twice is harmless, using it afterwards an error."""
        self._free()
        self._api = _Closed(self.path.name)

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """Return the token ids of a text, with the model's own start token where it wants one.

        With `special`, markers such as `<|im_start|>` count as one token each and no start
        token is added: that is for text that a chat template has already prepared.
        """
        raw = text.encode()
        room = len(raw) + 2
        ids = (self._api.llama_token * room)()
        count = self._api.llama_tokenize(
            self._vocab, raw, len(raw), ids, room, not special, special
        )
        if count < 0:
            raise EngineError(f"llama.cpp could not tokenise a text of {len(raw)} bytes.")
        return list(ids[:count])

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Return the text of some token ids; bytes that form no character become U+FFFD."""
        return b"".join(map(self._piece, tokens)).decode(errors="replace")

    def chat_prompt(self, messages: Messages) -> str:
        """Return the text the model's own chat template makes of the messages."""
        template = self._api.llama_model_chat_template(self._model, None)
        return chat.render(
            template.decode() if template else None,
            messages,
            self.path.name,
            eos_token=self._token_text(self._api.llama_vocab_eos(self._vocab)),
            bos_token=self._token_text(self._api.llama_vocab_bos(self._vocab)),
        )

    def ends(self, token: int) -> bool:
        """Return whether a token ends the model's answer."""
        return self._api.llama_vocab_is_eog(self._vocab, token)

    def clear(self) -> None:
        """Forget everything read so far."""
        self._api.llama_memory_clear(self._memory, True)

    def evaluate(
        self, tokens: Sequence[int], position: int = 0, logits_from: int | None = None
    ) -> "np.ndarray":
        """Read tokens at positions `position`, `position` + 1, … of the one sequence.

        Returns a float32 view of llama.cpp's logits, one row a token from index `logits_from`
        on (by default the last token only), shape (rows, vocabulary). The view is valid until
        the next call. All tokens must fit one batch of `BATCH_TOKENS`.
        """
        if len(tokens) > self._batch_tokens():  # beyond which llama.cpp's batch has no memory
            raise EngineError(
                f"llama.cpp cannot read {len(tokens)} tokens at once; a batch holds "
                f"{BATCH_TOKENS} and the context holds {self.context}."
            )
        first = len(tokens) - 1 if logits_from is None else logits_from
        places = ((token, position + i, 0, i >= first) for i, token in enumerate(tokens))
        return self._decode(places, len(tokens) - first)

    def evaluate_together(self, tokens: Sequence[int], position: int) -> "np.ndarray":
        """Read one token for each of several sequences, all at the same position, in one batch.

        Token i continues sequence i, of which there are as many as `load` was asked for. Returns
        float32 logits, shape (tokens, vocabulary), valid until the next call.
        """
        if len(tokens) > self.sequences:
            raise UsageError(
                f"{self.path.name} was loaded for {self.sequences} sequences and cannot read "
                f"{len(tokens)} at once; load it with sequences={len(tokens)}."
            )
        places = ((token, position, sequence, True) for sequence, token in enumerate(tokens))
        return self._decode(places, len(tokens))

    def kept_bytes(self) -> int:
        """Return the bytes of the keys and values of what was read, by llama.cpp's own count.

        That is the state of the first sequence, with some 16 bytes a token to say where it stands.
        """
        return self._api.llama_state_seq_get_size(self._context, 0)

    def generate_in_form(self, prompt: str | Messages, grammar: str, max_tokens: int = 128) -> str:
        """Write the most likely text among those that a grammar in GBNF form allows.

        `grammar.from_json_schema` makes such a grammar. Raises `UsageError` for a wrong grammar
        and `EngineError` where the text has not ended after `max_tokens`.
        """
        tokens = self.prompt_tokens(prompt)
        with Grammar(self._api, self._vocab, grammar) as rules:
            new = list(self.greedy(tokens, max_tokens, rules.choose))
            if len(new) == max_tokens:
                logits = self.extend(new[-1:], len(tokens) + max_tokens - 1)
                if not self.ends(rules.choose(logits[-1])):
                    raise EngineError(
                        f"The text has not ended after {max_tokens} tokens; allow more, or set "
                        f"limits to its length in the grammar."
                    )
        return self.detokenize(new)

    def start_token(self) -> int | None:
        """Return the token this model wants before every text, or None."""
        if not self._api.llama_vocab_get_add_bos(self._vocab):
            return None
        return int(self._api.llama_vocab_bos(self._vocab))

    def _decode(self, places: Iterable[tuple[int, int, int, bool]], rows: int) -> "np.ndarray":
        """Read a batch of (token, position, sequence, whether its logits are wanted)."""
        import numpy as np

        decode, batch = self._api.llama_decode, self._batch
        batch.n_tokens = 0
        for i, (token, position, sequence, wanted) in enumerate(places):
            batch.token[i] = token
            batch.pos[i] = position
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = sequence
            batch.logits[i] = wanted
            batch.n_tokens += 1
        if decode(self._context, batch):
            raise EngineError(
                f"llama.cpp could not read {batch.n_tokens} tokens up to position {position}; "
                f"the context holds {self.context}."
            )
        logits = self._api.llama_get_logits(self._context)
        return np.ctypeslib.as_array(logits, (rows, self.vocabulary))

    def _batch_tokens(self) -> int:
        return max(self.sequences, min(self.context, BATCH_TOKENS))

    def _piece(self, token: int) -> bytes:
        buffer = ctypes.create_string_buffer(256)
        size = self._api.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
        return buffer.raw[: max(0, size)]

    def _token_text(self, token: int) -> str:
        return self._api.llama_vocab_get_text(self._vocab, token).decode() if token >= 0 else ""

    def _load_model(self):
        model = self._api.llama_model_load_from_file(
            str(self.path).encode(), self._api.llama_model_default_params()
        )
        if not model:
            raise EngineError(
                f"llama.cpp could not load {self.path.name}: {_last_words()}. "
                f"Look at the file with: slmlab inspect"
            )
        return model

    def _open_context(self):
        wanted = self._api.llama_context_default_params()
        wanted.n_ctx = self.context * self.sequences
        wanted.n_seq_max = self.sequences
        wanted.n_batch = self._batch_tokens()
        wanted.n_threads = wanted.n_threads_batch = self.threads
        wanted.type_k = wanted.type_v = getattr(self._api, f"GGML_TYPE_{self.kv_type}")
        wanted.swa_full = False  # keep only the window of a sliding-window layer, as the tools do
        context = self._api.llama_init_from_model(self._model, wanted)
        if not context:
            self._api.llama_model_free(self._model)
            raise EngineError(
                f"llama.cpp could not make room for a context of {self.context} tokens: "
                f"{_last_words()}. Ask for a smaller context."
            )
        return context


class _Closed:
    """Stands where llama.cpp was: a call with freed memory would end the learner's kernel."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, _: str) -> None:
        raise EngineError(f"{self._name} was closed; load it again to use it.")


_log: list[str] = []


@functools.cache
def _api():
    """Return the low-level module, with llama.cpp's log kept instead of printed."""
    reason = why_not()
    if reason:
        raise NotPossibleHere(reason)
    import llama_cpp

    @llama_cpp.llama_log_callback
    def keep(_level: int, text: bytes, _data: object) -> None:
        _log.append(text.decode(errors="replace"))
        del _log[:-20]

    llama_cpp.llama_log_set(keep, None)
    _api.keep = keep
    llama_cpp.llama_backend_init()
    return llama_cpp


def _last_words() -> str:
    """Return llama.cpp's last line of log: where loading fails, it is the reason."""
    lines = "".join(_log).strip().splitlines()
    return lines[-1].strip().rstrip(".") if lines else "it gave no reason"


def _free(api, batch, context, model) -> None:
    api.llama_batch_free(batch)
    api.llama_free(context)
    api.llama_model_free(model)


def _cache_bytes(header: gguf.Header, context: int, kv_type: str) -> int:
    """Return the bytes of keys and values for a context, as if every layer kept all of it."""
    about = header.metadata
    kind = about.get("general.architecture")

    def most(key: str, default: int = 0) -> int:
        value = about.get(f"{kind}.{key}", default)
        numbers = value if isinstance(value, gguf.Array) else [value]  # one for each layer, or all
        if not all(type(number) is int and 0 <= number < 2**31 for number in numbers):
            raise InvalidModelFile(
                f"A model's {kind}.{key} cannot be {value!r}; fetch or make the file again."
            )
        return max(numbers, default=default)

    heads = max(1, most("attention.head_count", 1))
    head_size = most("attention.key_length") or most("embedding_length") // heads
    values = most("attention.head_count_kv", heads) * head_size
    return 2 * most("block_count") * gguf.tensor_bytes(kv_type, (values, context))
