"""Size, memory, speed, quality: every number a learner sees comes from here."""

from slmlab.measurement.comparison import (
    Row,
    Variant,
    as_measurements,
    compare,
    file_bytes,
)
from slmlab.measurement.energy import Energy, energy
from slmlab.measurement.estimate import Estimate, estimate
from slmlab.measurement.keeping import keep, kept
from slmlab.measurement.memory import peak_memory
from slmlab.measurement.quality import (
    Divergence,
    Perplexity,
    divergence,
    kl_divergence,
    perplexity,
    score,
)
from slmlab.measurement.record import Measurement, computed, measured, published, recorded
from slmlab.measurement.texts import text, text_file
from slmlab.measurement.throughput import Speed, clock, speed

__all__ = [
    "Divergence",
    "Energy",
    "Estimate",
    "Measurement",
    "Perplexity",
    "Row",
    "Speed",
    "Variant",
    "as_measurements",
    "clock",
    "compare",
    "computed",
    "divergence",
    "energy",
    "estimate",
    "file_bytes",
    "keep",
    "kept",
    "kl_divergence",
    "measured",
    "peak_memory",
    "perplexity",
    "published",
    "recorded",
    "score",
    "speed",
    "text",
    "text_file",
]
