"""The transformers engine: Hugging Face's own answers, safe weights only, nothing made up."""

import json
import shutil
from pathlib import Path

import pytest

from slmlab.engines import folder, transformers
from slmlab.errors import EngineError, InvalidModelFile

CHAT = [
    {"role": "system", "content": "Answer in one word."},
    {"role": "user", "content": "Größe of 1984?  <|im_end|>\n"},
]


@pytest.fixture(scope="module")
def directory(smollm2) -> Path:
    return transformers.prepare(smollm2, "float32")


@pytest.fixture
def tiny(directory, tmp_path) -> Path:
    """A model of random weights with two small layers, and SmolLM2's tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    made = tmp_path / "tiny"
    LlamaForCausalLM(LlamaConfig(vocab_size=49152, **sizes, **heads)).save_pretrained(made)
    for file in directory.glob("*token*"):
        shutil.copy(file, made)
    return made


@pytest.mark.slow
def test_prompt_tokens_are_those_of_hugging_faces_own_tokenizer(directory):
    from transformers import AutoTokenizer

    own = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    with transformers.load(directory, context=16) as engine:
        expected = own.apply_chat_template(CHAT, add_generation_prompt=True)["input_ids"]
        assert engine.prompt_tokens(CHAT) == expected
        assert engine.tokenize("In 1984, ½ of it.") == own("In 1984, ½ of it.")["input_ids"]


@pytest.mark.slow
def test_logits_are_those_of_the_whole_model_at_once(directory):
    import torch
    from transformers import AutoModelForCausalLM

    own = AutoModelForCausalLM.from_pretrained(directory, local_files_only=True)
    with transformers.load(directory, context=16) as engine:
        tokens = engine.tokenize("Small models run on small computers.")
        with torch.inference_mode():
            expected = own(torch.tensor([tokens])).logits[0].numpy()
        engine.clear()
        engine.evaluate(tokens[:4])
        found = engine.evaluate(tokens[4:], position=4, logits_from=1)
        assert found == pytest.approx(expected[5:], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("precision", transformers.PRECISIONS)
def test_weights_have_the_type_that_was_asked_for(smollm2, precision):
    made = transformers.prepare(smollm2, precision)
    assert json.loads((made / "config.json").read_text())["dtype"] == precision
    with transformers.load(made, context=16) as engine:
        assert str(engine._model.dtype) == f"torch.{precision}"
        assert engine.evaluate([1]).dtype == "float32"


@pytest.mark.slow
def test_threads_are_as_many_as_asked_for(tiny):
    import torch

    for threads in (1, 2):
        with transformers.load(tiny, context=16, threads=threads) as engine:
            engine.evaluate([1])
            assert torch.get_num_threads() == threads


@pytest.mark.slow
def test_positions_follow_one_another(tiny):
    with transformers.load(tiny, context=16) as engine:
        engine.evaluate([1, 2, 3])
        with pytest.raises(EngineError, match="the next position is 3 and not 7"):
            engine.evaluate([4], position=7)


@pytest.mark.slow
def test_missing_weights_are_not_replaced_by_random_ones(tiny):
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tiny / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InvalidModelFile, match=r"lacks 1 .* model\.layers\.1\.mlp\.up_proj"):
        transformers.load(tiny)


@pytest.mark.slow
def test_damaged_or_unknown_models_are_refused_in_a_sentence(tiny):
    config = json.loads((tiny / "config.json").read_text())
    (tiny / "config.json").write_text(json.dumps(config | {"model_type": "no-such-model"}))
    with pytest.raises(EngineError, match=r"could not load tiny: .*no-such-model") as caught:
        transformers.load(tiny)
    assert "\n" not in str(caught.value)
    (tiny / "config.json").write_text(json.dumps(config | {"attention_bias": "no"}))
    with pytest.raises(EngineError, match=r"could not load tiny: .*attention_bias"):
        transformers.load(tiny)
    (tiny / "config.json").write_text(json.dumps(config))
    (tiny / "model.safetensors").write_bytes(b"half of it")
    with pytest.raises(EngineError, match="could not load tiny"):
        transformers.load(tiny)


@pytest.mark.slow
def test_a_model_that_wants_a_start_token_gets_it_before_plain_text_only(tiny):
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    tokenizer.save(str(tiny / "tokenizer.json"))
    with transformers.load(tiny, context=16) as engine:
        assert engine.start_token() == 1
        assert engine.tokenize("hello")[0] == 1
        assert 1 not in engine.tokenize("hello", special=True)


@pytest.mark.slow
def test_an_answer_ends_where_the_directory_says(tiny):
    (tiny / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    with transformers.load(tiny, context=16) as engine:
        assert [token for token in range(10) if engine.ends(token)] == [0, 2, 7, 9]


@pytest.mark.slow
def test_a_chat_without_a_template_or_against_it_is_refused(tiny):
    with transformers.load(tiny, context=16) as engine:
        with pytest.raises(EngineError, match="tiny has no chat template; give a plain string"):
            engine.chat_prompt(CHAT)
        (tiny / "chat_template.jinja").write_text("{{ raise_exception('roles must alternate') }}")
        with pytest.raises(EngineError, match="does not take these messages: roles must alternate"):
            engine.chat_prompt(CHAT)


def test_pickled_weights_are_never_read(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InvalidModelFile, match="holds no safetensors weights"):
        transformers.load(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(InvalidModelFile, match="pickle files, which can run code"):
        transformers.load(tmp_path)


def test_a_damaged_folder_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": ')
    with pytest.raises(InvalidModelFile, match=r"config\.json is damaged"):
        transformers.load(tmp_path)
    with pytest.raises(InvalidModelFile, match=r"has no tokenizer\.json"):
        folder.read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InvalidModelFile, match=r"tokenizer\.json is damaged"):
        folder.read_tokenizer(tmp_path)


def test_a_text_is_read_whole_whatever_the_tokenizer_was_trained_with(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    limited = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    limited.pre_tokenizer = pre_tokenizers.Whitespace()
    limited.enable_truncation(2)
    limited.enable_padding(length=8)
    limited.save(str(tmp_path / "tokenizer.json"))
    assert folder.read_tokenizer(tmp_path).encode("a a a").ids == [0, 0, 0]


def test_the_cache_of_keys_and_values_is_counted_from_the_configuration():
    smollm2 = {
        "num_hidden_layers": 30,
        "hidden_size": 576,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    }
    assert folder.cache_bytes(smollm2, 100, 4) == 100 * 30 * 2 * 3 * 64 * 4
    assert folder.cache_bytes(smollm2 | {"sliding_window": 10}, 100, 4) == 10 * 30 * 2 * 3 * 64 * 4
