"""A sweep does what is missing: nothing twice, a failure again, timed tasks alone."""

import multiprocessing
import tempfile
import threading
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest
import toy_sweep as toy

from slmlab import cache
from slmlab.errors import EngineError, UsageError
from slmlab.files import cache_path
from slmlab.sweeping import Plan, disagreements, measuring, running, summary, sweep

quiet = partial(sweep, tell=lambda line: None)


def values(found):
    return {result.task: [row.value for row in result.measurements] for result in found.finished}


def remembering(measure=toy.count):
    """Return a measuring function, and the list of the tasks that it was given."""
    done = []

    def remember(task, threads):
        done.append(task)
        return measure(task, threads)

    return remember, done


@pytest.mark.parametrize("processes", [1, 3])
def test_every_task_is_measured_once(tmp_path, processes):
    plan = toy.plan(repetitions=2)
    measure, done = remembering()
    found = quiet(plan, tmp_path, processes=processes, measure=measure)
    assert sorted(done, key=str) == sorted(plan.tasks(), key=str)
    assert [result.task for result in found.finished] == plan.tasks()
    assert (found.failed, found.done_before) == ((), 0)


def test_one_or_several_at_once_give_the_same(tmp_path):
    plan = toy.plan(texts=("prose", "code"))
    one = quiet(plan, tmp_path / "one", measure=toy.count)
    several = quiet(plan, tmp_path / "several", measure=toy.count, processes=4)
    assert values(one) == values(several)


def test_nothing_finished_is_repeated(tmp_path):
    first = quiet(toy.plan(), tmp_path, measure=toy.count)
    measure, done = remembering()
    again = quiet(toy.plan(), tmp_path, measure=measure)
    assert done == [] and again.done_before == len(toy.plan().tasks())
    assert values(again) == values(first)
    quiet(toy.plan(repetitions=2), tmp_path, measure=measure)
    assert {task.repetition for task in done} == {2}


def test_what_was_interrupted_goes_on(tmp_path):
    def interrupted(task, threads):
        if task.quantity == "speed":
            raise KeyboardInterrupt
        return toy.count(task, threads)

    with pytest.raises(KeyboardInterrupt):
        quiet(toy.plan(), tmp_path, measure=interrupted)
    measure, done = remembering()
    found = quiet(toy.plan(), tmp_path, measure=measure)
    assert {task.quantity for task in done} == {"speed", "memory"}
    assert len(found.finished) == len(toy.plan().tasks())


def test_an_interrupt_ends_what_runs_at_once_and_keeps_what_is_finished(tmp_path, monkeypatch):
    def interrupt(line):
        if line.startswith("1 of 2"):
            raise KeyboardInterrupt

    monkeypatch.setenv("PYTHONPATH", str(Path(toy.__file__).parent))
    plan, measure = toy.plan("size"), partial(toy.hanging, folder=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        sweep(plan, tmp_path / "out", processes=2, measure=measure, tell=interrupt)
    assert (tmp_path / "begun").exists() and not (tmp_path / "ended").exists()
    measure, done = remembering()
    quiet(plan, tmp_path / "out", measure=measure)
    assert [task.quantisation for task in done] == ["Q8_0"]


def test_a_damaged_result_is_done_again(tmp_path):
    quiet(toy.plan(), tmp_path, measure=toy.count)
    task = toy.plan().tasks()[0]
    (tmp_path / f"{task.id}.json").write_text('{"half a')
    measure, done = remembering()
    found = quiet(toy.plan(), tmp_path, measure=measure)
    assert done == [task] and not found.failed


@pytest.mark.parametrize("processes", [1, 2])
def test_a_failure_is_told_and_stops_nothing_and_is_tried_again(tmp_path, processes):
    def failing(task, threads):
        if task.quantisation == "Q8_0" and task.quantity == "memory":
            raise EngineError("There is no memory.")
        return toy.count(task, threads)

    said = []
    plan = toy.plan()
    found = sweep(plan, tmp_path, measure=failing, processes=processes, tell=said.append)
    [failed] = found.failed
    assert (failed.failure, failed.task.quantity) == ("There is no memory.", "memory")
    assert len(found.finished) == len(plan.tasks()) - 1
    assert [line for line in said if "failed: There is no memory." in line]
    measure, done = remembering()
    assert not quiet(plan, tmp_path, measure=measure).failed
    assert done == [failed.task]


def test_timed_tasks_have_the_machine_for_themselves(tmp_path):
    running, seen, together = set(), [], threading.Barrier(2, timeout=60)

    def watch(task, threads):
        running.add(task)
        if not task.is_timed:
            together.wait()  # passes only where two run at once
        seen.append((task.is_timed, threads, len(running) if task.is_timed else None))
        running.discard(task)
        return toy.count(task, threads)

    found = quiet(toy.plan("perplexity", "speed", "memory"), tmp_path, processes=2, measure=watch)
    assert not found.failed
    assert [one for one in seen if one[0]] == [(True, None, 1)] * 4
    assert [timed for timed, _, _ in seen] == [False] * 2 + [True] * 4


def test_a_timed_task_waits_for_that_of_another_sweep(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(measuring, "PATIENCE", 0.1)
    monkeypatch.setattr(measuring, "alone", lambda *_, **__: [])
    with measuring._turn():
        found = quiet(toy.plan(), tmp_path / "out")
    assert {result.task.quantity for result in found.failed} == {"speed", "memory"}
    assert "Another program has been working on timing a model" in found.failed[0].failure
    assert not quiet(toy.plan(), tmp_path / "out").failed


def test_every_task_has_a_limit_after_which_it_is_a_failure(tmp_path, monkeypatch):
    def hang(module, function, subject, limit, **arguments):
        raise EngineError(f"It was stopped after {limit} s.")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(measuring, "alone", hang)
    found = quiet(toy.plan(), tmp_path / "out")
    assert {result.failure for result in found.failed} == {"It was stopped after 86400 s."}


def test_a_sweep_of_the_folder_that_one_is_in_works(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    quiet(toy.plan(), Path(), measure=toy.count)
    assert len(list(Path().glob("*.json"))) == len(toy.plan().tasks())


def test_its_results_are_one_item_of_the_cache_which_it_uses(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "cache"))

    def prune(task, threads):
        assert cache.prune(0).removed == ()
        return toy.count(task, threads)

    found = quiet(toy.plan(), cache_path("sweeps"), measure=prune)
    assert len(found.finished) == len(toy.plan().tasks())
    assert [item.name for item in cache.items()] == ["sweeps"]


def test_what_a_killed_sweep_had_begun_to_write_is_removed(tmp_path):
    (tmp_path / f".{toy.plan().tasks()[0].id}.json.{'0' * 32}.part").touch()
    quiet(toy.plan(), tmp_path, measure=toy.count)
    assert not list(tmp_path.glob("*.part"))


def test_it_waits_for_another_of_its_folder_for_days(tmp_path, monkeypatch):
    waits = []

    def lock(path, timeout):
        waits.append(timeout)
        return nullcontext()

    monkeypatch.setattr(running, "locked", lock)
    quiet(toy.plan(), tmp_path, measure=toy.count)
    assert waits[0] >= 3 * 24 * 3600


def test_fewer_than_one_process_is_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match="0 processes"):
        quiet(toy.plan(), tmp_path, processes=0)


def _note(task, threads, log):
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{task.id}\n")
    return toy.count(task, threads)


def _run_noting(folder, log):
    quiet(toy.plan(), folder, measure=partial(_note, log=log))


def test_two_sweeps_of_a_folder_do_nothing_twice(tmp_path):
    log = tmp_path / "log"
    spawn = multiprocessing.get_context("spawn")
    both = [spawn.Process(target=_run_noting, args=(tmp_path / "results", log)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [0, 0]
    assert sorted(log.read_text().split()) == sorted(task.id for task in toy.plan().tasks())


@pytest.mark.slow
def test_smollm2_gives_the_same_alone_and_in_processes(smollm2, tmp_path):
    plan = Plan(
        ("smollm2-135m-instruct",),
        ("Q4_0", "Q8_0"),
        measure=("size", "perplexity", "speed"),
        chunks=1,
        context=64,
        prompt_tokens=16,
        decode_tokens=4,
        runs=1,
    )
    one = quiet(plan, tmp_path / "one")
    several = quiet(plan, tmp_path / "several", processes=2)
    assert not one.failed and not several.failed
    same = [result.task for result in one.finished if not result.task.is_timed]
    assert len(same) == 4
    assert [values(one)[task] for task in same] == [values(several)[task] for task in same]
    assert disagreements(one.finished + several.finished) == []
    rates = [row.number.value for row in summary(one.finished) if row.task.is_timed]
    assert len(rates) == 4 and all(rate > 0 for rate in rates)


@pytest.mark.slow
def test_a_model_that_is_none_is_a_failure_with_its_sentence(smollm2, tmp_path):
    found = quiet(toy.plan_with_a_model_that_is_none(tmp_path), tmp_path / "out")
    assert [result.task.model for result in found.finished] == ["smollm2-135m-instruct"]
    [failed] = found.failed
    assert "none.gguf is not a usable model file" in failed.failure
