"""What the installed Olive really does with SmolLM2."""

import pytest

from slmlab import engines, measurement, olive
from slmlab.errors import EngineError
from slmlab.quantization import huggingface_form

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(smollm2):
    return huggingface_form(smollm2, "float32")


@pytest.fixture(scope="module")
def int4(source):
    return olive.run(olive.optimizing(source, "INT4 in blocks"))


def test_every_name_has_a_successor_that_exists():
    found = {name.old: name for name in olive.names_today()}
    assert all(name.today_exists for name in found.values())
    assert not found["olive.model.PyTorchModel"].old_exists
    assert not found["olive.workflows.run_workflow"].old_exists
    assert not found["the pass OrtQuantization"].old_exists
    assert found["the pass OrtTransformersOptimization"].old_exists


def test_a_weight_in_blocks_of_32_takes_five_bits(int4):
    weights = 134_515_008 + 576 * 49_152  # the tied matrix is there twice
    bits = 8 * measurement.file_bytes(int4.model) / weights
    assert bits == pytest.approx(5.0, rel=0.03)


def test_every_matrix_product_is_quantised(int4):
    exported, quantised = olive.operators(int4.steps[0].folder), olive.operators(int4.model)
    assert quantised["MatMulNBits"] == exported["MatMul"]
    assert quantised["MatMul"] == 0


def test_the_result_writes_text(int4):
    question = [{"role": "user", "content": "What is the capital of France?"}]
    with engines.load(int4.model) as engine:
        assert "Paris" in engine.generate(question, 16).text


def test_the_export_computes_what_the_model_does(int4, source):
    prose = measurement.text("prose")
    exported = measurement.perplexity(int4.steps[0].folder, prose, 1)
    original = measurement.perplexity(source, prose, 1)
    assert exported.value == pytest.approx(original.value, rel=0.001)


def test_olive_scores_as_we_do(int4, source):
    exported = int4.steps[0].folder
    searched = olive.run(olive.searching(exported, source, ["INT4 in blocks"], 1))
    float32, blocks = (step.metrics["scored-perplexity"] for step in searched.evaluated)
    prose = measurement.text("prose")
    assert float32 == pytest.approx(measurement.perplexity(exported, prose, 1).value, rel=0.001)
    assert blocks == pytest.approx(measurement.perplexity(int4.model, prose, 1).value, rel=0.02)


def test_fusing_makes_a_smaller_graph_that_computes_the_same(source):
    plain, cleaned, fused = olive.run(olive.fusing(source)).steps
    sizes = [sum(olive.operators(step.folder).values()) for step in (plain, cleaned, fused)]
    assert sizes[0] > sizes[1] > sizes[2]
    new = olive.new_operators(olive.operators(cleaned.folder), olive.operators(fused.folder))
    assert new == {"SkipSimplifiedLayerNormalization": 3, "SimplifiedLayerNormalization": 2}
    assert olive.largest_difference(plain.folder, fused.folder, range(100, 116)) < 1e-3


def test_a_workflow_that_cannot_work_says_why(source):
    wrong = olive.optimizing(source)
    wrong["passes"] = {"quantise": {"type": "NoSuchPass"}}
    with pytest.raises(EngineError, match=r"(?i)nosuchpass"):
        olive.run(wrong)
