"""Measure lab 11 again and keep its numbers: python data/recorded/browser.py

Run it on an idle machine that has a Chromium-like browser; it takes about a minute.
"""

import json
from dataclasses import asdict, replace
from pathlib import Path

from slmlab.acquisition import fetch
from slmlab.deployment import browser
from slmlab.deployment.browser.site import thread_counts
from slmlab.quantization import quantize


def record() -> None:
    """Write the measurements of the page and of the native engine beside this file."""
    source = fetch("smollm2-135m-instruct").path
    models = [made.path for made in quantize(source, ["Q8_0", "Q4_0"])]
    visit = browser.measure(models)
    ours = [browser.native(model, threads) for model in models for threads in thread_counts()]
    rows = browser.as_measurements(visit.runs, visit.browser) + browser.as_measurements(ours)
    kept = [asdict(replace(row, how="recorded")) for row in rows]
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    record()
