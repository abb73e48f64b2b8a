"""`make bench`: medians, verdicts, the table, and how the tools' own words are read."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import bench
import bench_table as tables
import pytest
from bench_table import AIMS, Aim

TESTS = Path(__file__).parent
RATIOS = {
    "decode speed": {"F16": [0.97, 0.99, 1.0], "Q5_1": [0.9, 0.97, 1.2]},
    "perplexity, value": {"F16": [1.0, 1.0]},
}

measures_a_process = pytest.mark.skipif(
    not hasattr(os, "wait4"), reason="a process's peak comes from os.wait4, which is not here"
)


def test_the_median_decides_and_not_the_best_or_the_worst_round():
    assert Aim(low=0.98).met([0.5, 0.98, 9.0])
    assert not Aim(low=0.98).met([0.97, 0.97, 9.0])
    assert Aim(high=1.1).met([1.0, 1.1, 9.0])
    assert not Aim(0.99, 1.01).met([1.02])
    assert not Aim(0.99, 1.01).met([0.98])


def test_the_aims_are_those_of_the_course():
    assert {name: str(aim) for name, aim in AIMS.items() if "memory" not in name} == {
        "prompt speed": "at least 0.98",
        "decode speed": "at least 0.98",
        "perplexity, seconds": "at most 1.1",
        "perplexity, value": "0.9995 to 1.0005",
        "KL divergence, value": "0.99 to 1.01",
        "quantising, seconds": "at most 1.05",
        "quantising, whole command": "none",
        "header reading, times faster": "at least 20",
    }
    assert {str(AIMS[f"{name}, peak memory"]) for name in bench.PARTS} == {"at most 1.1"}


def test_the_table_has_a_row_a_quantity_and_says_who_misses():
    assert tables.table(RATIOS).splitlines() == [
        "| | aim | F16 | Q8_0 | Q5_1 | Q4_0 | met |",
        "|---|---|---|---|---|---|---|",
        "| decode speed | at least 0.98 | 0.99 (0.97 to 1.00) |  | 0.97 (0.90 to 1.20) |  "
        "| not Q5_1 |",
        "| perplexity, value | 0.9995 to 1.0005 | 1.0000 |  |  |  | yes |",
    ]
    assert tables.missed(RATIOS) == [("decode speed", "Q5_1")]


def test_what_has_no_aim_is_shown_and_cannot_miss():
    ratios = {"quantising, whole command": {"Q4_0": [7.0]}}
    last = tables.table(ratios).splitlines()[-1]
    assert last == "| quantising, whole command | none |  |  |  | 7.00 |  |"
    assert tables.missed(ratios) == []


def test_the_readme_shows_every_row_with_its_aim():
    section = (TESTS.parent / "README.md").read_text("utf-8").partition("| | aim |")[2]
    rows = re.findall(r"^\| (.+?) \| (.+?) \|", section.partition("\n\n")[0], re.M)
    assert rows == [(quantity, str(aim)) for quantity, aim in AIMS.items()]


def test_rounds_are_gathered_by_quantity_and_type():
    ratios = {}
    tables.add(ratios, "F16", {"prompt speed": 1.0})
    tables.add(ratios, "F16", {"prompt speed": 2.0})
    tables.add(ratios, "Q4_0", {"prompt speed": 3.0})
    assert ratios == {"prompt speed": {"F16": [1.0, 2.0], "Q4_0": [3.0]}}


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        ([4.0, 5.0, 90.0], "takes 5 (4 to 90) ms; the aim, at most 150, is met"),
        ([150.6, 151.0], "is missed"),
    ],
)
def test_the_import_has_an_aim_of_its_own(milliseconds, said):
    assert said in tables.import_line(milliseconds)
    assert tables.import_met(milliseconds) == ("met" in said)
    assert tables.import_met([])


def test_the_report_leaves_out_what_was_not_asked_for():
    assert tables.report("Here.", {}, [], "") == "Here.\n"
    assert tables.report("Here.", RATIOS, [3.0], "## Why").split("\n\n")[2:] == [
        "`import slmlab` takes 3 ms; the aim, at most 150, is met.",
        "## Why\n",
    ]


def test_the_figures_are_plain_json():
    figures = json.loads(json.dumps(tables.figures("On\nthis.", RATIOS, [3.0])))
    assert figures["conditions"] == "On this."
    assert figures["rows"][1] == {
        "quantity": "decode speed",
        "type": "Q5_1",
        "rounds": [0.9, 0.97, 1.2],
        "median": 0.97,
        "at_least": 0.98,
        "at_most": None,
        "met": False,
    }
    assert figures["import_milliseconds"]["met"]


def test_the_pass_of_llama_perplexity_is_timed_by_its_log():
    log = (
        "0.59.885.033 I perplexity: tokenizing the input ..\n"
        "1.01.200.458 I perplexity: tokenization took 315.412 ms\n"
        "1.16.857.014 I perplexity: 15.41 seconds per pass - ETA "
        "1.16.957.014 I Final estimate: PPL = 34.5929 +/- 3.25202\n"
    )
    assert bench.pass_seconds(log) == pytest.approx(17.071981)
    assert bench.number_after("PPL =", log) == 34.5929


def test_quantising_is_compared_in_the_same_unit():
    native = [bench.Run("main: quantize time =  2000.00 ms", "", 0)]
    assert bench.PARTS["quantising"].ratios(native, 1.0) == {"quantising, seconds": 0.5}


def test_every_row_that_can_miss_leads_to_a_part_that_can_be_profiled():
    assert {bench.part_of(row) for row in AIMS} == set(bench.PARTS)
    assert bench.part_of("decode speed") == "speed"


def in_a_small_process(expression):
    """Return a value from a process as small as `make bench`: a child's peak begins with its."""
    code = f"import bench, json, sys; print(json.dumps({expression}))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@measures_a_process
def test_a_process_is_measured_alone():
    size = 300_000_000
    room = f"room = bytearray({size}); room[::4096] = bytes(len(room[::4096])); print('out')"
    (said, large), (_, small) = in_a_small_process(
        f"[[run.out, run.peak_bytes] for run in"
        f" (bench.run(sys.executable, '-c', code) for code in ({room!r}, ''))]"
    )
    assert said == "out\n"
    assert large > size > small


@measures_a_process
def test_what_a_process_starts_counts_with_it():
    size = 150_000_000
    fill = f"room = bytearray({size}); room[::4096] = bytes(len(room[::4096]))"
    child = f"import time; {fill}; time.sleep(0.5)"
    parent = f"import subprocess, sys; {fill}; subprocess.run([sys.executable, '-c', {child!r}])"
    alone, together = in_a_small_process(
        f"[bench.run(sys.executable, '-c', {parent!r}, together=asked).peak_bytes"
        f" for asked in (False, True)]"
    )
    assert alone < 2 * size < together


@measures_a_process
def test_a_profile_shows_our_functions_by_their_own_time(monkeypatch):
    part = bench.Part(None, lambda *_: ("importing",), None)
    monkeypatch.setitem(bench.PARTS, "speed", part)
    section = bench.profiled("speed", None, "F16")
    assert section.startswith("## Where the time of ours goes: speed, F16\n\n```\n")
    assert "Ordered by: internal time" in section
    assert len(section.splitlines()) == tables.PROFILED + 3


@measures_a_process
@pytest.mark.slow
def test_the_profile_of_quantising_is_that_of_the_process_that_quantises(f16):
    section = bench.profiled("quantising", bench.Bench({}, {"F16": f16}, f16, 1), "Q4_0")
    longest = section.splitlines()[5]
    assert re.search(r"llama_quantize\.py:\d+\(main\)$", longest)


@pytest.mark.parametrize("ours_first", [False, True])
def test_a_pair_runs_in_the_order_asked_for(monkeypatch, ours_first):
    order = []

    def native(*_):
        order.append("native")
        return [bench.Run("4", "", 100), bench.Run("", "", 50)]

    def work(*_):
        order.append("ours")
        return ("importing",)

    part = bench.Part(native, work, lambda native, made: {"value": made / float(native[0].out)})
    monkeypatch.setitem(bench.PARTS, "speed", part)
    monkeypatch.setattr(bench, "ours", lambda name, together: bench.Run("2", "", 110))
    assert bench.compare("speed", None, "F16", ours_first) == {
        "value": 0.5,
        "speed, peak memory": 1.1,
    }
    assert order == (["ours", "native"] if ours_first else ["native", "ours"])


def test_where_a_child_works_all_processes_count_and_the_clock_runs(monkeypatch):
    def ours(name, together):
        assert together
        return bench.Run("2", "", 110, seconds=6.0)

    part = bench.Part(
        lambda *_: [bench.Run("", "", 100, seconds=4.0)],
        lambda *_: ("importing",),
        lambda native, made: {"value": made},
        child=lambda *_: (),
    )
    monkeypatch.setitem(bench.PARTS, "quantising", part)
    monkeypatch.setattr(bench, "ours", ours)
    assert bench.compare("quantising", None, "Q4_0", ours_first=True) == {
        "value": 2,
        "quantising, whole command": 1.5,
        "quantising, peak memory": 1.1,
    }


def test_what_misses_is_explained_and_the_rest_is_not(monkeypatch):
    monkeypatch.setattr(bench, "profiled", lambda name, _, kind: f"profile of {name} {kind}")
    monkeypatch.setattr(bench, "ours", lambda name: bench.Run("null", "", 47_000_000))
    assert bench.explanations(RATIOS, None) == "profile of speed Q5_1"
    assert bench.explanations({"decode speed": {"F16": [1.0]}}, None) == ""
    memory = bench.explanations({"speed, peak memory": {"F16": [1.2]}}, None)
    assert memory.startswith("## Where the memory goes\n\n")
    assert "takes 47 MB." in memory


@pytest.mark.parametrize(("ratio", "code"), [(0.99, 0), (0.97, 1)])
def test_a_missed_aim_is_a_failed_check(monkeypatch, tmp_path, capsys, ratio, code):
    monkeypatch.setattr(bench, "REPORT", tmp_path / "build" / "bench.md")
    monkeypatch.setattr(bench, "prepared", lambda text: None)
    monkeypatch.setattr(bench, "conditions", lambda *_: "Here.")
    monkeypatch.setattr(bench, "explanations", lambda *_: "")
    monkeypatch.setattr(bench, "compare", lambda *_, ours_first: {"decode speed": ratio})
    monkeypatch.setattr(sys, "argv", ["bench.py", "--only", "speed", "--rounds", "2"])
    assert bench.main() == code
    assert bench.REPORT.read_text("utf-8") + "\n" == capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--json"])
    assert bench.main() == code
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["rounds"] for row in rows] == [[ratio, ratio]] * 4


def test_no_round_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench.py", "--rounds", "0"])
    with pytest.raises(SystemExit, match="2"):
        bench.main()
    assert "without a round nothing is measured" in capsys.readouterr().err


def test_what_no_repetition_changes_is_run_once(monkeypatch):
    monkeypatch.setattr(bench, "compare", lambda name, *_, ours_first: {name: float(ours_first)})
    ratios = bench.rounds_of(["perplexity", "KL divergence"], None, rounds=2)
    assert ratios["perplexity"]["F16"] == [0.0, 1.0]
    assert ratios["KL divergence"] == {kind: [0.0] for kind in ("Q8_0", "Q5_1", "Q4_0")}
