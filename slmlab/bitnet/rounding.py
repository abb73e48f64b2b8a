"""What BitNet is not: rounding a trained model to three values afterwards."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from slmlab import gguf
from slmlab.acquisition import trust
from slmlab.bitnet.ternary import rounded_weights
from slmlab.errors import QuantizationError
from slmlab.files import cache_path, check_room, kept_as, made_once, sha256, whole


def rounded_copy(source: Path) -> Path:
    """Return a copy of an F16 model file whose linear layers are rounded to three values each.

    Embedding, output and norms stay as they are, and so does the type: the file is as large as
    before. It is kept in the cache under the source's SHA-256. Raises `QuantizationError` for a
    file that is not F16.
    """
    source = Path(source)
    matrices = [tensor for tensor in gguf.read_header(source).tensors if _is_linear(tensor)]
    if not matrices or any(tensor.type != "F16" for tensor in matrices):
        raise QuantizationError(
            f"{source.name} is not an F16 file; make one with: slmlab quantize {source.name} F16"
        )
    folder, ending = cache_path("rounded", sha256(source)[:16]), "-rounded.gguf"
    out = kept_as(folder / f"{source.stem}{ending}", ending)
    return made_once(out, lambda out: _make(source, matrices, out))


def _make(source: Path, matrices: Sequence[gguf.Tensor], out: Path) -> None:
    check_room(source.stat().st_size, out.parent, out.name)
    with whole(out) as aside:
        shutil.copyfile(source, aside)
        for tensor in matrices:
            _round(np.memmap(aside, np.float16, "r+", tensor.offset, tensor.elements))
    if trust.is_trusted(source):
        trust.trust(trust.mark(out))


def _is_linear(tensor: gguf.Tensor) -> bool:
    return tensor.name.startswith("blk.") and len(tensor.shape) == 2


def _round(weights: np.ndarray) -> None:
    weights[:] = rounded_weights(torch.from_numpy(weights.astype(np.float32))).numpy()
