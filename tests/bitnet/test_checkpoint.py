"""The shipped checkpoints are small, complete, and as good as their records say."""

import json
import shutil

import pytest
from safetensors import safe_open

from slmlab.bitnet import checkpoint, corpus, train
from slmlab.errors import InvalidModelFile
from slmlab.files import data_path

NAMES = {True: "ternary", False: "full-precision"}

both = pytest.mark.parametrize("ternary", [True, False], ids=NAMES.values())


@both
def test_it_is_at_most_5_mb_and_says_how_it_was_made(ternary):
    path = data_path("bitnet", f"{NAMES[ternary]}.safetensors")
    assert path.stat().st_size <= 5_000_000
    _, record = checkpoint.load(ternary)
    with safe_open(path, "pt") as file:
        assert file.metadata()["command"] == record.command
    assert record.command.startswith("python -m slmlab.bitnet.train")
    assert ("--ternary" in record.command) == record.ternary == ternary
    assert f"--steps {record.steps} --seed {record.seed}" in record.command
    assert record.tokens == record.steps * train.BATCH * train.CONTEXT
    assert record.minutes > 5
    assert record.machine
    assert {"python", "torch"} <= set(record.versions)


@both
def test_its_curve_reaches_the_end_and_fell(ternary):
    curve = checkpoint.load(ternary)[1].curve
    assert curve[-1].step == checkpoint.load(ternary)[1].steps
    assert curve[-1].validation < curve[0].validation - 1


def test_the_twins_saw_the_same():
    made = [checkpoint.load(ternary)[1] for ternary in (True, False)]
    assert made[0].seed == made[1].seed
    assert made[0].steps == made[1].steps


@pytest.mark.slow
@both
def test_it_predicts_as_well_as_its_record_says(ternary):
    model, record = checkpoint.load(ternary)
    held_out = corpus.tokens(corpus.held_out_text())
    found = train.validation_loss(model, held_out)
    assert found == pytest.approx(record.curve[-1].validation, abs=0.01)


def copied(folder):
    for suffix in (".json", ".safetensors"):
        shutil.copy(data_path("bitnet", f"ternary{suffix}"), folder)
    return folder / "ternary.safetensors"


def damage(path):
    path.write_bytes(path.read_bytes()[:1000])


def delete(path):
    path.unlink()


def strip(path):
    path.with_suffix(".json").write_text("{}")


def lose_a_field(path):
    record = json.loads(path.with_suffix(".json").read_text("utf-8"))
    del record["seed"]
    path.with_suffix(".json").write_text(json.dumps(record))


@pytest.mark.parametrize("harm", [damage, delete, strip, lose_a_field])
def test_what_is_no_checkpoint_is_named_in_one_sentence(tmp_path, harm):
    harm(copied(tmp_path))
    with pytest.raises(
        InvalidModelFile, match=r"ternary.safetensors is not a checkpoint"
    ) as caught:
        checkpoint.load(True, tmp_path)
    assert "\n" not in str(caught.value)
