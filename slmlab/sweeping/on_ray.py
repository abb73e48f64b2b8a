"""Doing tasks on a Ray cluster: those that judge quality side by side, the timed ones alone."""

import importlib.util
import socket
from collections import Counter, deque
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from slmlab.errors import NotPossibleHere
from slmlab.sweeping.measuring import Measure, attempt
from slmlab.sweeping.results import Result
from slmlab.sweeping.task import Task

_ATTEMPTS = 3

_LOOK_EVERY = 60.0
"""Seconds between looks whether a machine is left to do what is not done."""


def why_not() -> str | None:
    """Return why Ray cannot be used here and what to install, or None if it can."""
    if importlib.util.find_spec("ray"):
        return None
    return "Ray is not installed; install it with: pip install 'slmlab[ray]'"


def run(tasks: Sequence[Task], measure: Measure, address: str) -> Iterator[Result]:
    """Yield the result of each task as it comes, measured by some machine of the cluster.

    slmlab must be installed on each. Timed tasks come last; each asks for every CPU of one
    machine, so that Ray runs nothing beside it. What a lost machine was doing is done again by
    another. Raises `NotPossibleHere` where there is no Ray, no cluster, or no machine left in it.
    """
    if not tasks:
        return
    if reason := why_not():
        raise NotPossibleHere(reason)
    import ray

    _connect(address)
    try:
        remote = ray.remote(attempt)
        yield from _side_by_side(remote, [task for task in tasks if not task.is_timed], measure)
        yield from _one_a_machine(remote, [task for task in tasks if task.is_timed], measure)
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    import ray

    if ray.is_initialized():
        raise NotPossibleHere(
            "This process is connected to a Ray cluster already; call ray.shutdown() first."
        )
    try:
        _must_answer(address)
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (OSError, ValueError) as problem:
        raise NotPossibleHere(
            f"There is no Ray cluster at {address} ({_last_line(problem)}); start one with "
            f"`ray start`, or name another."
        ) from None
    except (RuntimeError, ray.exceptions.RayError) as problem:
        raise NotPossibleHere(
            f"The Ray cluster at {address} does not take us ({' '.join(str(problem).split())}); "
            f"install the Ray and Python that it has."
        ) from None


def _must_answer(address: str) -> None:
    """Raise `OSError` where nobody listens at HOST:PORT; Ray itself would try for ten minutes."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "//" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def _side_by_side(remote: Any, tasks: Sequence[Task], measure: Measure) -> Iterator[Result]:
    """Let Ray spread tasks of one CPU each, and do again what a lost machine was doing."""
    import ray

    one_cpu = remote.options(num_cpus=1, max_retries=_ATTEMPTS - 1)
    running = {one_cpu.remote(task, 1, measure): task for task in tasks}
    while running:
        ready = _next_done(running)
        task = running.pop(ready)
        try:
            yield ray.get(ready)
        except ray.exceptions.RayError as problem:
            yield _lost(task, problem)


def _one_a_machine(remote: Any, tasks: Sequence[Task], measure: Measure) -> Iterator[Result]:
    """Give each machine one task at a time, and a task whose machine was lost to another."""
    import ray

    waiting, running, attempts = deque(tasks), {}, Counter()
    while waiting or running:
        busy = {node for _, node in running.values()}
        for node, cpus in _nodes().items():
            if waiting and node not in busy:
                task = waiting.popleft()
                attempts[task] += 1
                work = remote.options(num_cpus=cpus, max_retries=0, scheduling_strategy=_on(node))
                running[work.remote(task, None, measure)] = task, node
        ready = _next_done(running)
        task, _ = running.pop(ready)
        try:
            yield ray.get(ready)
        except ray.exceptions.RayError as problem:
            if attempts[task] < _ATTEMPTS:
                waiting.append(task)
            else:
                yield _lost(task, problem)


def _next_done(running: Collection[Any]) -> Any:
    """Wait until one of these is done, and return it.

    Raises `NotPossibleHere` where there is none, or no machine is left to do it.
    """
    import ray

    while running:
        done, _ = ray.wait(list(running), timeout=_LOOK_EVERY)
        if done:
            return done[0]
        if not _nodes():
            break
    raise NotPossibleHere("No machine is left in the Ray cluster; add one and sweep again.")


def _nodes() -> dict[str, float]:
    """Return the machines of the cluster that have CPUs to give, and how many each."""
    import ray

    alive = (node for node in ray.nodes() if node["Alive"])
    return {
        node["NodeID"]: node["Resources"]["CPU"]
        for node in alive
        if node["Resources"].get("CPU", 0) >= 1
    }


def _on(node: str) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node, soft=False)


def _lost(task: Task, problem: Exception) -> Result:
    return Result(task, "", (), f"Ray could not do it: {_last_line(problem)}")


def _last_line(problem: Exception) -> str:
    return str(problem).strip().splitlines()[-1].rstrip(".")
