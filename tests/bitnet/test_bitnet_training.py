"""Training is the same every time, lowers the loss, and goes on where it was stopped."""

import json
import sys

import pytest
import torch

from slmlab.bitnet import checkpoint, corpus, train
from slmlab.bitnet.model import ARCHITECTURE, CONTEXT, Model
from slmlab.bitnet.ternary import ternary
from slmlab.errors import NotPossibleHere


@pytest.fixture(autouse=True)
def two_windows_a_step(monkeypatch, tmp_path):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(train, "BATCH", 2)


@pytest.fixture(scope="module")
def tokens():
    return corpus.tokens(corpus.held_out_text()[:30_000])


def trainer(tokens, steps=6, is_ternary=True, **options):
    torch.manual_seed(0)
    return train.Trainer(Model(is_ternary), tokens, steps, **options)


def test_a_new_model_is_as_unsure_as_can_be(tokens):
    torch.manual_seed(0)
    windows = tokens[: 2 * (CONTEXT + 1)].view(2, -1)
    loss = train.loss(Model(True), windows).item()
    assert loss == pytest.approx(torch.tensor(ARCHITECTURE.vocabulary).log().item(), abs=0.4)


@pytest.mark.parametrize("is_ternary", [True, False])
def test_the_loss_falls(tokens, is_ternary):
    run = trainer(tokens, steps=10, is_ternary=is_ternary)
    losses = [run.advance() for _ in range(10)]
    assert losses[-1] < losses[0] - 0.5


def test_memory_that_training_takes_is_foreseen(tokens, monkeypatch):
    monkeypatch.setattr(train, "BATCH", 8)
    monkeypatch.setattr("slmlab.machine.available_memory_bytes", lambda: 300_000_000)
    with pytest.raises(NotPossibleHere, match=r"^Training needs about 0\.3 GB of memory"):
        trainer(tokens)
    monkeypatch.setattr(train, "BATCH", 2)
    assert trainer(tokens).step == 0


def test_three_values_move_while_it_trains(tokens):
    run = trainer(tokens)
    layer = run.model.blk[0].ffn_up
    before, _ = ternary(layer.weight.detach().clone())
    for _ in range(6):
        run.advance()
    after, _ = ternary(layer.weight.detach())
    assert set(after.unique().tolist()) == {-1, 0, 1}
    assert 0 < (before != after).float().mean() < 1


def test_the_same_seed_gives_the_same_batches_to_both_twins(tokens):
    seen = []
    for is_ternary in (True, False):
        run = trainer(tokens, is_ternary=is_ternary, seed=3)
        seen.append(run._windows())
    assert torch.equal(*seen)
    assert not torch.equal(seen[0], trainer(tokens, seed=4)._windows())


def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(tokens):
    whole = trainer(tokens)
    losses = [whole.advance() for _ in range(6)]
    first = trainer(tokens)
    halves = [first.advance() for _ in range(3)]
    state = {name: tensor.clone() for name, tensor in first.state().items()}
    second = trainer(tokens)
    second.restore(state, step=3)
    halves += [second.advance() for _ in range(3)]
    assert halves == losses


def test_the_rate_rises_and_then_falls_to_nothing(tokens):
    run = trainer(tokens, steps=100)
    rates = []
    for run.step in range(100):
        rates.append(run._share_of_rate())
    assert rates.index(max(rates)) in (4, 5)
    assert max(rates) == 1
    assert 0 < rates[-1] < 0.02


def test_the_command_saves_a_checkpoint_that_loads(tokens, tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "training_text", lambda: corpus.held_out_text()[:20_000])
    monkeypatch.setattr(train, "_STEPS_A_POINT", 2)
    monkeypatch.setattr(train, "_SECONDS_UNTIL_KEPT", 0)
    command = "train --ternary --steps 4 --seed 5 --rate 0.002"
    monkeypatch.setattr(sys, "argv", [*command.split(), "--out", str(tmp_path / "out")])
    train.main()
    model, record = checkpoint.load(ternary=True, folder=tmp_path / "out")
    assert record.command.endswith(command.removeprefix("train"))
    assert [point.step for point in record.curve] == [2, 4]
    assert record.tokens == 4 * 2 * CONTEXT
    held_out = corpus.tokens(corpus.held_out_text())
    again = train.validation_loss(model, held_out)
    assert again == pytest.approx(record.curve[-1].validation, abs=0.01)
    assert not list((tmp_path / "cache").rglob("*.safetensors"))


@pytest.mark.slow
def test_a_run_that_was_cut_off_is_taken_up_again(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "training_text", lambda: corpus.held_out_text()[:20_000])
    monkeypatch.setattr(train, "_STEPS_A_POINT", 2)
    monkeypatch.setattr(train, "_SECONDS_UNTIL_KEPT", 0)
    straight = train.run(True, 4, 0, 1e-3, tmp_path / "straight")

    advance = train.Trainer.advance

    def cut_off(self):
        if self.step == 2:
            raise KeyboardInterrupt
        return advance(self)

    monkeypatch.setattr(train.Trainer, "advance", cut_off)
    with pytest.raises(KeyboardInterrupt):
        train.run(True, 4, 0, 1e-3, tmp_path / "cut")
    monkeypatch.setattr(train.Trainer, "advance", advance)
    resumed = train.run(True, 4, 0, 1e-3, tmp_path / "cut")

    curves = [
        json.loads(path.with_suffix(".json").read_text())["curve"] for path in (straight, resumed)
    ]
    assert curves[0] == curves[1]
