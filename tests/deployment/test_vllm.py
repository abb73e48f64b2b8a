"""vLLM: what it needs, what its metrics say, and that it ends as it should."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from slmlab import environments, machine, tiers
from slmlab.deployment import load, metrics, serve, vllm
from slmlab.deployment.server import Launch, start
from slmlab.errors import NotPossibleHere, ServerFailed, UsageError
from slmlab.measurement import recorded

NAMES = "Repeat these names, all of them: " + "Anna, Bert, Carl, Dora, Emil. " * 4
LLAMA = "llama-3-8b"

here = pytest.mark.skipif(vllm.why_not() is not None, reason=str(vllm.why_not()))


@pytest.fixture(scope="module")
def server(smollm2):
    with serve("vllm", smollm2, context=1024, speculative=4) as running:
        yield running


@pytest.fixture
def command(monkeypatch, tmp_path):
    """Return what would be started, as words, with no environment made."""
    ready = environments.Environment("vllm", tmp_path)
    monkeypatch.setattr(environments, "ensure", lambda name: ready)

    def words(**options):
        return [str(word) for word in vllm.launch(tmp_path, 8000, **options).command]

    return words


def test_it_runs_on_linux_only(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(NotPossibleHere, match=r"made for Linux; use a Linux machine, or WSL"):
        serve("vllm", "smollm2-135m-instruct")


def test_with_too_little_memory_it_is_not_started(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(vllm, "available_memory_bytes", lambda: 5_900_000_000)
    with pytest.raises(NotPossibleHere, match=r"needs 6 GB of free memory and 5\.9 GB are free"):
        serve("vllm", "smollm2-135m-instruct")


def test_a_processor_that_is_too_old_is_refused(monkeypatch):
    old = replace(machine.this_machine(), architecture="x86_64", features=())
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(vllm, "this_machine", lambda: old)
    assert "processors with AVX2, and this one has no such instructions" in vllm.why_not()


@pytest.mark.parametrize(("architecture", "features"), [("x86_64", ("avx2",)), ("aarch64", ())])
def test_what_matters_is_avx2_and_only_on_x86(monkeypatch, architecture, features):
    fit = replace(machine.this_machine(), architecture=architecture, features=features)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(vllm, "this_machine", lambda: fit)
    monkeypatch.setattr(vllm, "available_memory_bytes", lambda: vllm.NEEDED_BYTES)
    assert vllm.why_not() is None


def test_the_cache_is_ordered_in_whole_blocks(command):
    words = command(cache_tokens=1000)
    assert words[words.index("--num-gpu-blocks-override") + 1] == "32"
    assert words[words.index("--block-size") + 1] == "32"


def test_options_become_vllms_own(command):
    assert "--enable-prefix-caching" in command()
    assert "--no-enable-prefix-caching" in command(prefix_caching=False)
    assert "--speculative-config" not in command()
    assert '"num_speculative_tokens": 4' in command(speculative=4)[-1]


def test_nothing_leaves_the_machine_and_no_request_is_logged(monkeypatch, tmp_path, command):
    assert "--no-enable-log-requests" in command()
    variables = vllm.launch(tmp_path, 8000).env
    off = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1"}
    assert off.items() <= variables.items()


def test_each_of_several_gpus_holds_its_part():
    one, two, four = (vllm.share(tiers.card(LLAMA), gpus, 16, 8192) for gpus in (1, 2, 4))
    assert one.cache == 16 * 8192 * 2 * 32 * 8 * 128 * 2  # K and V, layers, KV heads, size, bytes
    assert one.weights == pytest.approx(2 * 8_030_261_248, rel=0.005)
    assert (two.total, four.total) == pytest.approx((one.total / 2, one.total / 4), abs=4)


def test_a_kv_head_is_never_split():
    few, many = (vllm.share(tiers.card(LLAMA), gpus, 1, 8192) for gpus in (8, 32))
    assert few.cache == many.cache


def test_heads_that_cannot_be_shared_evenly_are_refused():
    with pytest.raises(UsageError, match="9 attention heads, which 2 GPUs cannot share evenly"):
        vllm.share(tiers.card("smollm2-135m-instruct"), 2, 1, 1024)


# What vLLM 0.32.0 wrote, shortened.
NO_ROOM = """\
(EngineCore pid=7) ERROR 11-22 09:56:29 [core.py:1510] ValueError: To serve at least one request
ValueError: To serve at least one request with the model's max seq len (1024)
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""
NO_MODEL = """\
pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig
  Value error, Invalid repository ID or local directory specified: '/empty'.
    For further information visit https://errors.pydantic.dev/2.14/v/value_error
"""


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (NO_ROOM, "ValueError: To serve at least one request with the model's max seq len (1024)"),
        (NO_MODEL, "Value error, Invalid repository ID or local directory specified: '/empty'."),
    ],
)
def test_the_reason_is_found_among_vllms_errors(log, reason):
    script = f"import sys; print({log!r}); sys.exit(1)"
    broken = Launch([sys.executable, "-c", script], health="/", model="toy", version="1")
    with pytest.raises(ServerFailed) as failed:
        start("vllm", lambda port: broken)
    assert str(failed.value) == f"vllm did not start: {reason}"


@here
@pytest.mark.slow
def test_a_folder_without_a_model_is_vllms_own_reason(tmp_path):
    with pytest.raises(ServerFailed, match=r"did not start: Value error, .*local directory"):
        serve("vllm", tmp_path)


@here
@pytest.mark.slow
def test_blocks_are_taken_while_requests_run_and_given_back(server):
    with vllm.watching(server, every=0.05) as seen:
        replies = load.run(server, ["Tell me a long story."] * 4, 4, max_tokens=48)
    assert vllm.blocks(server) == 8192 / vllm.BLOCK_TOKENS
    assert max(moment.running for moment in seen) == 4
    tokens = replies[0].prompt_tokens + replies[0].new_tokens
    assert max(moment.blocks for moment in seen) <= 4 * -(-tokens // vllm.BLOCK_TOKENS)
    assert max(moment.blocks for moment in seen) >= 4
    assert vllm._moment(metrics.Moment(0.0, server.metrics()), 256).blocks == 0


@here
@pytest.mark.slow
def test_a_prefix_is_found_the_second_time_in_whole_blocks(server):
    prompt = "A long text about rivers and the towns on them. " * 20
    before = vllm.prefixes(server)
    [first, second] = load.run(server, [prompt, prompt], 1, max_tokens=2)
    new = vllm.prefixes(server) - before
    assert new.asked == 2 * first.prompt_tokens
    assert new.found % vllm.BLOCK_TOKENS == 0
    assert new.found >= first.prompt_tokens - vllm.BLOCK_TOKENS
    assert second.text == first.text


@here
@pytest.mark.slow
def test_repetition_gives_drafts_and_some_are_accepted(server):
    before = vllm.drafts(server)
    assert load.run(server, [NAMES], 1, max_tokens=48)[0].ok
    new = vllm.drafts(server) - before
    assert 0 < new.accepted <= new.drafted <= 4 * new.drafts


@here
@pytest.mark.slow
def test_the_metrics_that_the_lab_names_exist_and_the_old_ones_do_not(server):
    names = {sample.name for sample in server.metrics()}
    today = {"vllm:kv_cache_usage_perc", "vllm:num_preemptions_total", "vllm:num_requests_running"}
    assert today <= names
    assert not {"vllm:gpu_cache_usage_perc", "vllm:num_requests_swapped"} & names


OLD = ("--use-v2-block-manager", "--swap-space", "--speculative-model", "--disable-log-requests")
KNOWN = """
import sys
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser
known = make_arg_parser(FlexibleArgumentParser())._option_string_actions
print(*(name for name in sys.argv[1:] if name in known))
"""


@here
@pytest.mark.slow
def test_options_that_lessons_still_print_are_unknown_today():
    asked = [*OLD, "--device", "--speculative-config", "--enable-log-requests"]
    known = environments.ensure("vllm").run(["-c", KNOWN, *asked]).stdout.splitlines()[-1]
    assert known.split() == ["--speculative-config", "--enable-log-requests"]


WITHOUT_END = """
import sys, time
from slmlab.deployment import serve

with serve("vllm", sys.argv[1], context=256) as server:
    print(server.pid, server.port, flush=True)
    time.sleep(600)
"""


@here
@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_nothing_of_it_is_left_where_the_process_that_started_it_is_killed(smollm2, family, gone):
    shared = set(Path("/dev/shm").glob("psm_*"))
    ours = subprocess.Popen(
        [sys.executable, "-c", WITHOUT_END, smollm2],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    guard, port = map(int, ours.stdout.readline().split())
    processes = family(guard)
    assert len(processes) >= 4  # the guard, the API, the engine and its worker
    ours.kill()
    ours.wait()
    assert gone(processes, port)
    assert set(Path("/dev/shm").glob("psm_*")) <= shared


def test_recorded_rates_are_those_of_the_record_by_requests_at_once():
    rows = recorded("vllm")
    rates, alone = vllm.recorded_rates(rows)
    assert list(rates) == [1, 2, 4, 8, 16]
    found = {
        (row.subject, row.conditions["at_once"]): row.value
        for row in rows
        if (row.quantity, row.unit) == ("throughput", "tokens/s")
    }
    assert found == {**{("vllm", n): rate for n, rate in rates.items()}, ("llama_cpp", 1): alone}
