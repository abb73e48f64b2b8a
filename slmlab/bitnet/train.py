"""Train the small model: `python -m slmlab.bitnet.train --ternary --steps 1200`.

Both models see the same batches in the same order: the windows of step n follow from the seed
and n alone. A run that was stopped goes on from its last minute when the same command is given
again.
"""

import argparse
import json
import math
import platform
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from slmlab.bitnet import corpus
from slmlab.bitnet.checkpoint import Point, Record, save
from slmlab.bitnet.model import CONTEXT, Model
from slmlab.files import cache_path, data_path, use, whole
from slmlab.machine import check_memory, this_machine

BATCH = 8
PEAK_RATE = 3e-3
VALIDATION_WINDOWS = 32
_STEPS_A_POINT = 50
_SECONDS_UNTIL_KEPT = 60


class Trainer:
    """Trains a model on random windows of `CONTEXT` tokens with AdamW, `BATCH` windows a step.

    The learning rate rises during the first twentieth of the steps to `rate` and falls from
    there in a straight line to nothing. `step` counts the steps done. Raises `NotPossibleHere`
    where memory is too small.
    """

    def __init__(
        self, model: Model, tokens: Tensor, steps: int, seed: int = 0, rate: float = PEAK_RATE
    ) -> None:
        check_memory(_needed_bytes(model), "Training")
        self.model, self.tokens, self.steps, self.seed, self.rate = model, tokens, steps, seed, rate
        self.step = 0
        self._optimiser = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95))

    def advance(self) -> float:
        """Take one step and return the loss before it, in nats a token."""
        for group in self._optimiser.param_groups:
            group["lr"] = self.rate * self._share_of_rate()
        value = loss(self.model, self._windows())
        self._optimiser.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimiser.step()
        self.step += 1
        return value.item()

    def state(self) -> dict[str, Tensor]:
        """Return every tensor that the next step depends on."""
        moments = {
            f"{moment}/{name}": self._optimiser.state[parameter][moment]
            for name, parameter in self.model.named_parameters()
            for moment in ("exp_avg", "exp_avg_sq", "step")
        }
        return {f"weight/{name}": w for name, w in self.model.state_dict().items()} | moments

    def restore(self, state: dict[str, Tensor], step: int) -> None:
        """Go back to what `state` returned after `step` steps."""
        for name, parameter in self.model.named_parameters():
            parameter.data.copy_(state[f"weight/{name}"])
            moments = ("exp_avg", "exp_avg_sq", "step")
            self._optimiser.state[parameter] = {m: state[f"{m}/{name}"] for m in moments}
        self.step = step

    def _share_of_rate(self) -> float:
        rising = 0.05 * self.steps
        return min((self.step + 1) / rising, (self.steps - self.step) / (self.steps - rising))

    def _windows(self) -> Tensor:
        chance = torch.Generator().manual_seed(self.seed * 1_000_003 + self.step)
        starts = torch.randint(len(self.tokens) - CONTEXT, (BATCH, 1), generator=chance)
        return self.tokens[starts + torch.arange(CONTEXT + 1)]


def _needed_bytes(model: Model) -> int:
    """Foresee what training takes besides the model, all in float32.

    For each weight its gradient, two moments and a rounded copy; for each token of a step what the
    way back needs of each layer and of the logits. The factors come within 5 % of the peaks of two
    ternary models, of 2 and of 50 million parameters; full precision takes less.
    """
    a = model.architecture
    weights = sum(parameter.numel() for parameter in model.parameters())
    kept = a.layers * (20 * a.hidden + 10 * a.feed_forward) + 6 * a.vocabulary
    return 4 * (4 * weights + BATCH * CONTEXT * kept)


def loss(model: Model, windows: Tensor) -> Tensor:
    """Return the mean cross-entropy of each window's tokens after its first, in nats.

    `windows` are token ids, shape (windows, length + 1).
    """
    logits = model(windows[:, :-1])
    return functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


def validation_loss(model: Model, tokens: Tensor, windows: int = VALIDATION_WINDOWS) -> float:
    """Return the loss on the first `windows` windows of a text, which do not overlap."""
    cut = tokens[: windows * (CONTEXT + 1)].view(windows, CONTEXT + 1)
    with torch.no_grad():
        return sum(loss(model, batch).item() * len(batch) for batch in cut.split(BATCH)) / windows


def run(ternary: bool, steps: int, seed: int, rate: float, folder: Path) -> Path:
    """Train from the start, or from where a stopped run was kept, and save the checkpoint."""
    torch.manual_seed(seed)
    trainer = Trainer(Model(ternary), corpus.tokens(corpus.training_text()), steps, seed, rate)
    held_out = corpus.tokens(corpus.held_out_text())
    options = f"{'--ternary ' * ternary}--steps {steps} --seed {seed} --rate {rate}"
    kept = cache_path("bitnet", f"train{options.replace(' ', '')}.safetensors")
    use(kept)
    seconds, curve, losses = _resume(trainer, kept)
    start = last_kept = time.perf_counter()
    while trainer.step < steps:
        losses.append(trainer.advance())
        if trainer.step % _STEPS_A_POINT == 0:
            validation = validation_loss(trainer.model, held_out)
            curve.append(Point(trainer.step, sum(losses) / len(losses), validation))
            losses.clear()
            print(curve[-1], f"perplexity {math.exp(validation):.1f}", file=sys.stderr)
        if time.perf_counter() - last_kept > _SECONDS_UNTIL_KEPT:
            last_kept = time.perf_counter()
            _keep(trainer, kept, seconds + last_kept - start, curve, losses)
    path = save(
        trainer.model,
        Record(
            command=f"python -m slmlab.bitnet.train {options}",
            ternary=ternary,
            seed=seed,
            steps=steps,
            tokens=steps * BATCH * CONTEXT,
            seconds=seconds + time.perf_counter() - start,
            machine=f"{this_machine()}; {torch.get_num_threads()} thread(s)",
            date=datetime.now(UTC).date().isoformat(),
            versions={"python": platform.python_version(), "torch": torch.__version__},
            curve=tuple(curve),
        ),
        folder,
    )
    kept.unlink(missing_ok=True)
    return path


def _keep(
    trainer: Trainer, path: Path, seconds: float, curve: list[Point], losses: list[float]
) -> None:
    progress = {
        "step": trainer.step,
        "seconds": seconds,
        "curve": [asdict(point) for point in curve],
        "losses": losses,
    }
    with whole(path) as aside:
        save_file(trainer.state(), aside, {"progress": json.dumps(progress)})


def _resume(trainer: Trainer, path: Path) -> tuple[float, list[Point], list[float]]:
    """Restore a kept run, if there is one; return its seconds, curve and losses since."""
    if not path.exists():
        return 0.0, [], []
    with safe_open(path, "pt") as file:
        progress = json.loads(file.metadata()["progress"])
    trainer.restore(load_file(path), progress["step"])
    curve = [Point(**point) for point in progress["curve"]]
    return progress["seconds"], curve, progress["losses"]


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m slmlab.bitnet.train", description=__doc__)
    parser.add_argument("--ternary", action="store_true", help="three values; without it, all")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=PEAK_RATE)
    parser.add_argument(
        "--threads", type=int, default=1, help="more are faster and add in another order"
    )
    parser.add_argument("--out", type=Path, default=data_path("bitnet"))
    wanted = parser.parse_args()
    torch.set_num_threads(wanted.threads)
    print(run(wanted.ternary, wanted.steps, wanted.seed, wanted.rate, wanted.out))


if __name__ == "__main__":
    main()
