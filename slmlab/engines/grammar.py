"""Text of a given form: a grammar that llama.cpp holds the next token against.

A grammar is written in GBNF (llama.cpp, grammars/README.md). It rules out every token that no
allowed text could continue with; among the others, the most likely one is taken.
"""

import ctypes
import json
from typing import TYPE_CHECKING, Any, Self

from slmlab.errors import EngineError, UsageError

if TYPE_CHECKING:
    import numpy as np


def from_json_schema(schema: dict[str, Any]) -> str:
    """Return the grammar, in GBNF, of the JSON texts that a JSON schema allows.

    Properties are written in the schema's order. Raises `UsageError` for a schema that
    llama-cpp-python cannot turn into a grammar.
    """
    from llama_cpp.llama_grammar import json_schema_to_gbnf

    try:
        return json_schema_to_gbnf(
            json.dumps(schema), prop_order=list(schema.get("properties", ()))
        )
    except Exception as problem:
        raise UsageError(f"This JSON schema cannot become a grammar: {problem}") from None


class Grammar:
    """A grammar and how far a text has come in it; use it with `with`."""

    def __init__(self, api: Any, vocab: Any, text: str) -> None:
        self._api = api
        self._vocab = vocab
        self._rules = text and api.llama_sampler_init_grammar(vocab, text.encode(), b"root")
        if not self._rules:
            raise UsageError(
                "llama.cpp cannot read this grammar; it needs a rule named root, and every rule "
                "that is used must be there."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.llama_sampler_free(self._rules)

    def choose(self, logits: "np.ndarray") -> int:
        """Return the most likely token that the grammar allows, and go on by it.

        `logits` has the shape (vocabulary,). Most often the most likely token is allowed, so that
        one is tried alone, before the whole vocabulary.
        """
        import numpy as np

        best = np.array([logits.argmax()])
        allowed = self._held_against(best, logits[best])
        if np.isneginf(allowed[0]):
            allowed = self._held_against(np.arange(len(logits)), logits)
            best = np.array([allowed.argmax()])
        token = int(best[0])
        if np.isneginf(allowed.max()):
            raise EngineError("The grammar allows no token here; it has a rule without an end.")
        if not self._api.llama_vocab_is_eog(self._vocab, token):
            self._api.llama_sampler_accept(self._rules, token)
        return token

    def _held_against(self, tokens: "np.ndarray", logits: "np.ndarray") -> "np.ndarray":
        """Return the logits, minus infinity where the grammar rules a token out."""
        import numpy as np

        fields = self._api.llama_token_data
        candidates = np.zeros(len(tokens), np.dtype(fields))
        candidates["id"], candidates["logit"] = tokens, logits
        data = candidates.ctypes.data_as(ctypes.POINTER(fields))
        array = self._api.llama_token_data_array(data, len(tokens), -1, False)
        self._api.llama_sampler_apply(self._rules, ctypes.byref(array))
        return candidates["logit"]
