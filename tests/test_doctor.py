"""What the doctor says of a lab, for machines that are made up and for this one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from slmlab import doctor, environments
from slmlab.cli import main
from slmlab.errors import UsageError
from slmlab.notebooks.labs import Lab
from slmlab.tiers import DEFAULT_MODEL

GOOD = doctor.Facts(
    memory_bytes=8_000_000_000,
    disk_bytes=50_000_000_000,
    download_bytes=0,
    environment_bytes={},
    engine_problems={},
    server_problems={},
    slowness=1.0,
    pace="Minutes are those of the reference machine.",
    cores=2,
    features=(),
    engines=(),
    models=(DEFAULT_MODEL,),
)


PLAIN = {"quick": 1.0, "standard": 6.0}
WITH_RECORDED = {**PLAIN, "recorded": 0.4}


def lab(**changes) -> Lab:
    plain = Lab(
        path=Path("03_quantization.ipynb"),
        title="Quantization",
        minutes=PLAIN,
        time_limit_seconds=300,
        memory_bytes=1_200_000_000,
        needs_model=True,
    )
    return replace(plain, **changes)


def check(facts: doctor.Facts, lab: Lab) -> doctor.LabCheck:
    (only,) = doctor.doctor(facts, [lab])
    return only


def test_a_lab_runs_where_nothing_is_missing():
    said = check(GOOD, lab())
    assert (said.lab, said.status, said.minutes) == ("03_quantization", "runs", 1.0)
    assert "6.0 minutes" in said.why


def test_minutes_grow_with_the_slowness_of_the_machine():
    assert check(replace(GOOD, slowness=2.5), lab()).minutes == 2.5


def test_a_slow_machine_runs_the_lab_smaller():
    said = check(replace(GOOD, slowness=4.0), lab())
    assert said.status == "runs smaller"
    assert "24 minutes" in said.why


def test_a_model_that_is_not_here_yet_is_announced():
    said = check(replace(GOOD, download_bytes=98_000_000), lab())
    assert said.status == "runs"
    assert "98 MB" in said.why


@pytest.mark.parametrize(
    ("lack", "words"),
    [
        ({"memory_bytes": 900_000_000}, "needs 1.2 GB of free memory and 0.9 GB is free"),
        (
            {"disk_bytes": 5_000_000, "download_bytes": 98_000_000},
            "98 MB of disk for the model, and 5 MB is free",
        ),
        ({"engine_problems": {"llama_cpp": "it is not installed"}}, "but it is not installed"),
    ],
)
@pytest.mark.parametrize(("minutes", "status"), [(PLAIN, "not here"), (WITH_RECORDED, "recorded")])
def test_what_is_missing_is_named(lack, words, minutes, status):
    said = check(replace(GOOD, **lack), lab(minutes=minutes))
    assert said.status == status
    assert words in said.why
    assert said.why.endswith(".")


def test_what_was_recorded_takes_its_time_too():
    few = replace(GOOD, memory_bytes=10**9, slowness=2.0)
    said = check(few, lab(minutes=WITH_RECORDED))
    assert (said.status, said.minutes) == ("recorded", 0.8)


def test_a_lab_that_does_not_run_and_has_nothing_recorded_takes_no_minutes():
    said = check(replace(GOOD, memory_bytes=10**9), lab())
    assert (said.status, said.minutes, said.minutes_in_words) == ("not here", None, "-")


def test_on_a_machine_with_1_gb_only_labs_with_something_recorded_are_recorded():
    said = {one.lab: one for one in doctor.doctor(replace(GOOD, memory_bytes=10**9))}
    assert {name for name, one in said.items() if one.status == "recorded"} == {
        "05_olive",
        "09_vllm",
        "11_browser",
    }
    assert said["03_quantization"].status == "not here"
    assert said["00_start_here"].status == "runs"


def test_a_disk_too_small_for_what_the_lab_makes_is_said():
    nearly_full = replace(GOOD, disk_bytes=150_000_000)
    said = check(nearly_full, lab(disk_bytes=600_000_000))
    assert said.status == "not here"
    assert "600 MB of disk for what it makes, and 150 MB is free" in said.why


def test_a_server_that_cannot_run_leaves_what_was_recorded():
    why = "vLLM needs 6 GB of free memory."
    small = replace(GOOD, server_problems={"vllm": why})
    said = check(small, lab(minutes=WITH_RECORDED, needs_servers=("vllm",)))
    assert (said.status, said.why) == ("recorded", why)
    assert check(small, lab(needs_servers=("llama_cpp",))).status == "runs"


def test_a_lab_without_a_model_needs_neither_engine_nor_disk():
    bare = replace(
        GOOD, engine_problems={"llama_cpp": "none"}, disk_bytes=0, download_bytes=98_000_000
    )
    assert check(bare, lab(needs_model=False)).status == "runs"


def test_an_engine_is_missed_only_where_it_is_needed():
    on_windows = replace(GOOD, engine_problems={"mlx": "MLX does not exist for Windows"})
    said = check(on_windows, lab(needs_engines=("transformers", "mlx")))
    assert (said.status, said.why) == (
        "not here",
        "It runs a model, but MLX does not exist for Windows.",
    )
    assert check(on_windows, lab(needs_engines=("transformers",))).status == "runs"


def test_an_environment_that_is_not_here_yet_is_announced():
    without = replace(GOOD, download_bytes=98_000_000, environment_bytes={"olive": 2_700_000_000})
    said = check(without, lab(needs_environments=("olive",)))
    assert said.status == "runs"
    assert said.why == (
        "It first fetches the model, 98 MB and the olive environment, 2,700 MB; "
        "about 3 of its minutes go into making that environment."
    )
    assert "olive" not in check(without, lab()).why


def test_making_an_environment_takes_its_minutes_at_the_pace_of_the_network():
    slow = replace(GOOD, slowness=2.0, environment_bytes={"olive": 2_700_000_000})
    making = environments.RECIPES["olive"].minutes
    assert check(slow, lab(needs_environments=("olive",))).minutes == 2.0 + making
    assert check(slow, lab()).minutes == 2.0
    ready = replace(slow, environment_bytes={})
    assert check(ready, lab(needs_environments=("olive",))).minutes == 2.0


def test_a_slow_machine_says_too_what_is_fetched_first():
    said = check(replace(GOOD, slowness=4.0, download_bytes=98_000_000), lab())
    assert said.status == "runs smaller"
    assert said.why.endswith("keep to quick. It first fetches the model, 98 MB.")


def test_a_disk_too_small_for_the_environment_is_said():
    full = replace(GOOD, disk_bytes=10**9, environment_bytes={"olive": 2_700_000_000})
    said = check(full, lab(minutes=WITH_RECORDED, needs_environments=("olive",)))
    assert said.status == "recorded"
    assert "2,700 MB of disk for the olive environment, and 1,000 MB is free" in said.why
    assert check(full, lab()).status == "runs"


def test_a_full_disk_does_not_matter_once_the_model_is_here():
    assert check(replace(GOOD, disk_bytes=0), lab()).status == "runs"


def test_without_the_model_the_pace_comes_from_memory_bandwidth(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path / "not" / "made" / "yet"))
    facts = doctor.look()
    assert facts.download_bytes == doctor.MODEL_BYTES
    assert facts.disk_bytes > 0
    assert facts.slowness > 0
    assert "GB/s" in facts.pace
    assert not (tmp_path / "not").exists()


def test_with_too_little_memory_to_time_anything_the_minutes_are_the_reference_machines(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path))
    monkeypatch.setattr("slmlab.machine.available_memory_bytes", lambda: 10**8)
    facts = doctor.look()
    assert facts.slowness == 1.0
    assert "untested: Timing how fast memory is read needs about 0.5 GB" in facts.pace


def test_one_core_takes_longer_than_two_at_the_same_pace(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path))
    monkeypatch.setattr("slmlab.machine.read_bandwidth", lambda: doctor.REFERENCE_BANDWIDTH.value)
    paces = {}
    for cores in (1, 2, 8):
        monkeypatch.setattr("slmlab.machine.usable_threads", lambda cores=cores: cores)
        paces[cores] = doctor.look()
    assert [facts.slowness for facts in paces.values()] == [1.2, 1.0, 1.0]
    assert "With one core, a lab takes 1.2 times as long" in paces[1].pace


def test_what_was_found_is_said_in_words():
    found = replace(
        GOOD, cores=1, features=("avx2", "avx512f"), engines=("llama_cpp", "olive"), models=()
    )
    assert str(found).splitlines() == [
        "1 core, 8.0 GB of memory and 50 GB of disk are free; its processor has avx2, avx512f.",
        "Engines and environments that run: llama_cpp, olive.",
        "Models that are here: none.",
        GOOD.pace,
    ]


def executed(folder, name, minutes, profile="quick", exception=None):
    run = {"duration": 60 * minutes, "parameters": {"profile": profile}, "exception": exception}
    notebook = {"metadata": {"papermill": run}}
    (folder / f"{name}.ipynb").write_text(json.dumps(notebook))


CHECKS = [
    doctor.LabCheck("03_quantization", "runs", "", 1.2),
    doctor.LabCheck("04_llama_cpp", "runs smaller", "", 1.4),
    doctor.LabCheck("07_bitnet", "not here", "", None),
]


def test_estimates_are_compared_with_what_a_run_took(tmp_path):
    for name in ("03_quantization", "04_llama_cpp", "07_bitnet", "06_mlx"):
        executed(tmp_path, name, minutes=1.0)
    found = doctor.against(tmp_path, CHECKS)
    assert [(one.lab, one.estimated, one.measured) for one in found] == [
        ("03_quantization", 1.2, 1.0),
        ("04_llama_cpp", 1.4, 1.0),
    ]
    assert [one.is_close for one in found] == [True, False]


def test_an_estimate_of_seconds_is_compared_as_it_is(tmp_path):
    executed(tmp_path, "03_quantization", minutes=0.04)
    short = check(replace(GOOD, slowness=0.04), lab())
    [found] = doctor.against(tmp_path, [short])
    assert (found.estimated, found.is_close) == (0.04, True)
    assert short.minutes_in_words == "0.0"


@pytest.mark.parametrize(("close", "reliable"), [(3, True), (2, False)])
def test_three_quarters_of_the_estimates_have_to_be_close(close, reliable):
    right, wrong = doctor.Comparison("01_tiers", 1.0, 1.0), doctor.Comparison("01_tiers", 2.0, 1.0)
    assert doctor.is_reliable([right] * close + [wrong] * (4 - close)) is reliable


@pytest.mark.parametrize("otherwise", [{"profile": "full"}, {"exception": True}])
def test_only_a_quick_run_that_passed_is_compared(tmp_path, otherwise):
    executed(tmp_path, "03_quantization", 1.0, **otherwise)
    with pytest.raises(UsageError, match="no labs that ran here with the quick profile"):
        doctor.against(tmp_path, CHECKS)


@pytest.mark.parametrize(("measured", "code"), [(1.1, 0), (2.0, 1)])
def test_the_command_fails_where_too_few_estimates_are_close(
    tmp_path, monkeypatch, capsys, measured, code
):
    executed(tmp_path, "03_quantization", measured)
    monkeypatch.setattr(doctor, "doctor", lambda: CHECKS)
    assert main(["doctor", "--against", str(tmp_path), "--json"]) == code
    said = json.loads(capsys.readouterr().out)
    assert said["labs"] == [{"lab": "03_quantization", "estimated": 1.2, "measured": measured}]
    assert said["close"] == 1 - code


def test_the_report_names_every_lab_and_is_plain_json(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path))
    report = json.loads(json.dumps(doctor.report()))
    assert report["machine"]["cores"] >= 1
    assert {"memory_bytes", "models", "engines", "features"} <= report["machine"]["free"].keys()
    assert {"00_start_here"} <= {lab["lab"] for lab in report["labs"]}
    for lab in report["labs"]:
        assert list(lab) == ["lab", "status", "why", "minutes"]


def test_minutes_that_are_not_are_null_in_json_and_a_dash_in_the_table(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path))
    monkeypatch.setattr("slmlab.machine.available_memory_bytes", lambda: 10**8)
    assert main(["doctor", "--json"]) == 0
    labs = {lab["lab"]: lab for lab in json.loads(capsys.readouterr().out)["labs"]}
    assert (labs["07_bitnet"]["status"], labs["07_bitnet"]["minutes"]) == ("not here", None)
    assert main(["doctor"]) == 0
    [row] = [row for row in capsys.readouterr().out.splitlines() if row.startswith("07_bitnet")]
    assert row.split()[:4] == ["07_bitnet", "not", "here", "-"]


@pytest.mark.slow
def test_with_the_model_the_pace_comes_from_the_model_itself(smollm2):
    facts = doctor.look()
    assert facts.download_bytes == 0
    assert "tokens per second" in facts.pace


@pytest.mark.parametrize(
    "executed",
    ["", "[]", "{}", '{"metadata": []}', '{"metadata": {"papermill": {"duration": "long"}}}'],
)
def test_a_damaged_report_has_no_minutes(tmp_path, executed):
    (tmp_path / "01_tiers.ipynb").write_text(executed)
    assert doctor._minutes(tmp_path / "01_tiers.ipynb") is None
