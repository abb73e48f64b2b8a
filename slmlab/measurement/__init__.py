"""Size, memory, speed, quality: every number a learner sees comes from here."""

from slmlab.measurement.estimate import Estimate, estimate
from slmlab.measurement.memory import peak_memory
from slmlab.measurement.quality import Divergence, Perplexity, kl_divergence, perplexity
from slmlab.measurement.record import Measurement, computed, measured, published
from slmlab.measurement.texts import text
from slmlab.measurement.throughput import Speed, speed

__all__ = [
    "Divergence",
    "Estimate",
    "Measurement",
    "Perplexity",
    "Speed",
    "computed",
    "estimate",
    "kl_divergence",
    "measured",
    "peak_memory",
    "perplexity",
    "published",
    "speed",
    "text",
]
