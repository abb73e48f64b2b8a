"""Doing the tasks of a plan that are not done yet: here, one or several at once, or on Ray."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Event

from slmlab.errors import UsageError
from slmlab.files import locked
from slmlab.machine import usable_threads
from slmlab.measurement.alone import STOP
from slmlab.measurement.words import quantity
from slmlab.sweeping import on_ray
from slmlab.sweeping.measuring import PATIENCE, Measure, attempt, measure_alone
from slmlab.sweeping.plan import Plan
from slmlab.sweeping.results import Result, finished, write_result
from slmlab.sweeping.task import Task


@dataclass(frozen=True)
class Sweep:
    """What a sweep gave: the finished tasks, those that failed, and how many were done before."""

    finished: tuple[Result, ...]
    failed: tuple[Result, ...]
    done_before: int


def sweep(
    plan: Plan,
    folder: Path,
    *,
    processes: int = 1,
    ray: str | None = None,
    measure: Measure = measure_alone,
    tell: Callable[[str], None] = print,
) -> Sweep:
    """Measure what a plan asks for and `folder` does not hold yet; each result is a file there.

    A task that fails is kept with its reason and tried again by the next sweep. `processes` tasks
    run at once, except the timed ones, which have the machine for themselves: of those, one at a
    time runs on it, also where several sweeps have some. `ray` is the address of a Ray cluster, as
    `ray.init` takes it. A second sweep of the same folder waits for the first to end, up to a week.
    `tell` gets a line for each task. Where it is interrupted, the tasks that run are ended. Raises
    `UsageError` for fewer than one process, and `NotPossibleHere` where Ray is not installed or has
    no machine left.
    """
    if processes < 1:
        raise UsageError(f"{processes} processes measure nothing; ask for 1 or more.")
    tasks = plan.tasks()
    with locked(folder.resolve(), PATIENCE):
        done = {result.task: result for result in finished(tasks, folder)}
        missing = [task for task in tasks if task not in done]
        tell(f"{len(tasks)} tasks, of which {len(done)} were finished before")
        results = on_ray.run(missing, measure, ray) if ray else _here(missing, measure, processes)
        now = {}
        with closing(results):
            for result in results:
                write_result(result, folder)
                now[result.task] = result
                tell(f"{len(now)} of {len(missing)}: {_said(result)}")
    ordered = [(done | now)[task] for task in tasks]
    return Sweep(
        finished=tuple(result for result in ordered if not result.failure),
        failed=tuple(result for result in ordered if result.failure),
        done_before=len(done),
    )


def _here(tasks: Sequence[Task], measure: Measure, processes: int) -> Iterator[Result]:
    shared = [task for task in tasks if not task.is_timed]
    threads = max(1, usable_threads() // processes)
    if processes == 1:
        yield from (attempt(task, None, measure) for task in shared)
    else:
        yield from _at_once(shared, partial(attempt, threads=threads, measure=measure), processes)
    yield from (attempt(task, None, measure) for task in tasks if task.is_timed)


def _at_once(
    tasks: Iterable[Task], work: Callable[[Task], Result], processes: int
) -> Iterator[Result]:
    """Yield results as they come; each thread does no more than wait for its task's process.

    Where we are interrupted, those processes are ended.
    """
    stop = Event()
    pool = ThreadPoolExecutor(processes, initializer=STOP.set, initargs=[stop])
    try:
        for future in as_completed([pool.submit(work, task) for task in tasks]):
            yield future.result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _said(result: Result) -> str:
    if result.failure:
        return f"{result.task} failed: {result.failure}"
    values = (f"{row.quantity} {quantity(row.value, row.unit)}" for row in result.measurements)
    return f"{result.task}: {', '.join(values)}"
