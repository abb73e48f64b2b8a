"""Measuring functions that need no model, and plans for them."""

import time
from pathlib import Path

from slmlab.measurement import measured
from slmlab.measurement.alone import alone
from slmlab.sweeping import Plan

UNITS = {"size": "bytes", "perplexity": "", "speed": "tokens/s", "memory": "bytes"}
QUANTITIES = {"size": "file", "speed": "decode speed", "memory": "peak memory"}


def plan(*measure, **more):
    """Return a plan of two quantisations of one model."""
    whole = {"models": ("smollm2-135m-instruct",), "quantisations": ("Q4_0", "Q8_0")}
    return Plan(**whole | more, measure=measure or tuple(UNITS))


def plan_with_a_model_that_is_none(folder):
    """Return a plan of the size of a real model, and of a file that is no model."""
    (folder / "none.gguf").write_bytes(b"no model")
    models = ("smollm2-135m-instruct", str(folder / "none.gguf"))
    return plan("size", models=models, quantisations=("Q4_0",))


def number(task, value=1.0, spread=None):
    """Return a number as if it had been measured for a task."""
    quantity = QUANTITIES.get(task.quantity, task.quantity)
    return measured(task.subject, quantity, value, UNITS[task.quantity], spread)


def count(task, threads):
    """Measure a task by the letters of its name."""
    return [number(task, float(len(str(task))))]


def hanging(task, threads, folder):
    """Measure a task of Q8_0 in a process that takes long, and others once that has begun."""
    if task.quantisation == "Q8_0":
        return alone(__name__, "hang", str(task), folder=str(folder))
    while not (folder / "begun").exists():
        time.sleep(0.1)
    return count(task, threads)


def hang(folder):
    """Take half a minute, and note the beginning and the end in a folder."""
    Path(folder, "begun").touch()
    time.sleep(30)
    Path(folder, "ended").touch()


def noting(task, threads, log):
    """Measure a task in half a second, and note when and on which node."""
    import ray

    start = time.monotonic()
    time.sleep(0.5)
    node = ray.get_runtime_context().get_node_id()
    (log / task.id).write_text(f"{start} {time.monotonic()} {node}")
    return count(task, threads)


def stuck_once(task, threads, victim, marker):
    """Measure a task, but the first one on a node stays there until the node is removed.

    Those on other nodes wait until it is there.
    """
    import ray

    if ray.get_runtime_context().get_node_id() == victim and not marker.exists():
        marker.touch()
        time.sleep(600)
    while not marker.exists():
        time.sleep(0.1)
    return count(task, threads)
