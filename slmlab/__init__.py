"""slmlab: measure what is claimed about small language models, on your own machine."""

import os

__version__ = "0.1.0"

# ONNX Runtime reports to its makers from the moment it is loaded, unless this is set before.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
