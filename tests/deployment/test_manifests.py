"""The files that deploy a choice are valid, hold what was measured, and give nothing away."""

import json
import re
import urllib.error
import urllib.request
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose
from dockerfile_parse import DockerfileParser
from kubernetes_validate import SchemaNotFoundError, ValidationError, validate

from slmlab.deployment.metrics import samples
from slmlab.deployment.operations import manifests, monitoring
from slmlab.deployment.operations.manifests import Plan
from slmlab.deployment.server import Launch, start
from slmlab.engines import llama_cpp_tools
from slmlab.errors import UsageError
from slmlab.measurement import computed
from slmlab.selection import Choice

KUBERNETES = "1.37"
MIB, GIB = 2**20, 2**30


def plan(framework="llama.cpp", **changes):
    choice = Choice(
        rank=1,
        model="qwen3-0.6b",
        quantization="Q4_0",
        framework=framework,
        context=2048,
        file_bytes=400 * MIB,
        peak_memory_bytes=800 * MIB,
        decode_tokens_per_second=50.0,
        seconds_to_first_token=0.5,
        quality=None,
        score=None,
    )
    numbers = {
        "choice": choice,
        "model": "model.gguf",
        "sha256": {"model.gguf": "ab" * 32},
        "cores": 3,
        "startup_seconds": 1.5,
        "target_seconds": 4.0,
        "running": 0.6,
        "waiting": 0.45,
        "memory_bytes": 4 * GIB if framework == "vllm" else None,
    }
    return Plan(**numbers | changes)


PLANS = {
    "llama.cpp": plan(),
    "llama.cpp with 4 slots": plan(slots=4),
    "vllm on a CPU": plan("vllm", slots=16),
    "vllm on two GPUs": plan("vllm", slots=64, gpus=2),
}
every_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=list(PLANS))
LLAMA = PLANS["llama.cpp"]


def manifest(plan, kind):
    [found] = [one for one in manifests.kubernetes(plan) if one["kind"] == kind]
    return deepcopy(found)


def pod(plan):
    return manifest(plan, "Deployment")["spec"]["template"]["spec"]


def container(plan):
    [found] = pod(plan)["containers"]
    return found


def valid(document):
    """Refuse what the API server would refuse: an unknown field, a wrong type, a missing one."""
    validate(document, KUBERNETES, strict=True)


def valid_compose(text):
    found = PyCompose.from_yaml(text)
    found.validate()
    return found


# Validity


@every_plan
def test_kubernetes_accepts_every_manifest(plan):
    documents = list(yaml.safe_load_all(manifests.files(plan)["kubernetes.yaml"]))
    assert [one["kind"] for one in documents] == [
        "Deployment",
        "Service",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
    ]
    for document in documents:
        valid(document)


WRONG = {
    "a field in the wrong place": ("Deployment", lambda d: d["spec"].update(containers=[])),
    "a misspelt probe": ("Deployment", lambda d: first(d).update(rediness_probe={})),
    "a count in words": ("HorizontalPodAutoscaler", lambda d: d["spec"].update(maxReplicas="ten")),
    "no selector": ("Deployment", lambda d: d["spec"].pop("selector")),
    "a port without a number": ("Service", lambda d: d["spec"]["ports"][0].pop("port")),
    "ports that are no list": ("NetworkPolicy", lambda d: d["spec"].update(ingress={"from": []})),
    "a beta that is gone": (
        "HorizontalPodAutoscaler",
        lambda d: d.update(apiVersion="autoscaling/v2beta2"),
    ),
}


def first(deployment):
    return deployment["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize(("kind", "spoil"), WRONG.values(), ids=list(WRONG))
def test_the_validation_refuses(kind, spoil):
    document = manifest(LLAMA, kind)
    spoil(document)
    with pytest.raises((ValidationError, SchemaNotFoundError)):
        valid(document)


@every_plan
def test_compose_accepts_its_file(plan):
    found = valid_compose(manifests.files(plan)["compose.yaml"])
    assert found.service_names() == [plan.name]
    assert found.version is None, "Compose has ignored the key since its version 2"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("read_only", "readonly"),
        ("127.0.0.1:8080:8080", "127.0.0.1:http:8080"),
        ("mem_limit: 1000m", "mem_limit: plenty"),
        ("\nsecrets:", "\nx-secrets:"),
    ],
)
def test_the_validation_refuses_a_compose_file_with(right, wrong):
    text = manifests.files(LLAMA)["compose.yaml"]
    assert right in text
    with pytest.raises(ValueError):
        valid_compose(text.replace(right, wrong))


@every_plan
def test_the_container_file_copies_verifies_and_then_drops_its_rights(plan, tmp_path):
    parsed = DockerfileParser(str(tmp_path))
    parsed.content = manifests.files(plan)["Dockerfile"]
    steps = [step["instruction"] for step in parsed.structure]
    assert parsed.baseimage == plan.container.image
    order = [steps.index(one) for one in ("FROM", "COPY", "RUN", "USER", "ENTRYPOINT", "CMD")]
    assert order == sorted(order)
    values = {step["instruction"]: step["value"] for step in parsed.structure}
    assert values["RUN"] == "sha256sum --check --strict SHA256SUMS"
    assert values["USER"].split(":")[0] not in ("0", "root")
    assert json.loads(values["CMD"]) == container(plan)["args"]
    assert not values["FROM"].endswith(":latest")


def test_a_changed_model_is_another_image():
    other = plan(sha256={"model.gguf": "cd" * 32})
    assert LLAMA.image != other.image
    assert container(other)["image"] == other.image


def test_checksums_are_written_as_sha256sum_reads_them():
    assert manifests.files(LLAMA)["SHA256SUMS"] == f"{'ab' * 32}  model.gguf\n"


def test_a_framework_without_a_server_for_containers_is_refused():
    with pytest.raises(UsageError, match=r"'mlx'; choose a model for llama\.cpp or vllm"):
        plan("mlx")


def test_vllm_is_not_given_the_peak_of_another_server():
    with pytest.raises(UsageError, match="measure that of the server in the image"):
        plan("vllm", memory_bytes=None)


def test_every_file_is_written(tmp_path):
    written = manifests.write(LLAMA, tmp_path)
    assert {path.name: path.read_text("utf-8") for path in written} == manifests.files(LLAMA)


def test_lines_end_as_on_linux_wherever_they_are_written(tmp_path, monkeypatch):
    def write_on_windows(path, text, encoding=None, errors=None, newline=None):
        return path.write_bytes(text.replace("\n", newline or "\r\n").encode(encoding))

    monkeypatch.setattr(Path, "write_text", write_on_windows)
    for path in manifests.write(LLAMA, tmp_path):
        assert b"\r" not in path.read_bytes(), path.name


def test_nothing_in_the_files_is_written_as_a_reference_to_elsewhere():
    assert not re.search(r"[&*]id\d", manifests.files(LLAMA)["kubernetes.yaml"])


# What comes from a measurement


def test_memory_is_asked_for_as_measured_and_limited_with_room():
    resources = container(LLAMA)["resources"]
    assert resources["requests"]["memory"] == "800Mi"
    assert resources["limits"]["memory"] == "1000Mi"
    given = container(plan(memory_bytes=400 * MIB))["resources"]
    assert given["limits"]["memory"] == "500Mi"


@pytest.mark.parametrize(("slots", "gib"), [(1, "1"), (16, "4")])
def test_vllm_keeps_room_for_the_context_of_every_slot(slots, gib):
    # 2,048 tokens x 28 layers x 2 x 8 heads x 128 values of 2 bytes: 224 MiB
    environment = plan("vllm", slots=slots).container.environment
    assert environment["VLLM_CPU_KVCACHE_SPACE"] == gib


def test_llama_server_keeps_no_prompts_beyond_the_peak():
    arguments = container(LLAMA)["args"]
    assert arguments[arguments.index("--cache-ram") + 1] == "0"


def test_a_reason_says_measured_only_where_the_choice_does():
    def sources(numbers, **changes):
        found = plan(choice=replace(LLAMA.choice, numbers=numbers), **changes)
        return {reason.line: reason.source for reason in manifests.reasons(found)}

    peak = computed("qwen3-0.6b Q4_0", "peak memory", 800 * MIB, "bytes")
    speed = replace(peak, quantity="decode speed", how="recorded", machine="m", date="d")
    told = sources((peak, speed))
    assert told["requests.memory"] == "peak memory with 1 x 2048 tokens, computed"
    assert told["preStop.sleep.seconds"] == "2048 tokens at 50 per second, recorded"
    assert sources(())["requests.memory"] == "peak memory with 1 x 2048 tokens"
    given = sources((peak,), memory_bytes=MIB)
    assert given["requests.memory"] == "peak memory with 1 x 2048 tokens, as given"


def test_as_many_threads_run_as_were_measured():
    arguments = container(LLAMA)["args"]
    assert arguments[arguments.index("--threads") + 1] == "3"
    assert container(LLAMA)["resources"]["limits"]["cpu"] == "3"


def test_all_slots_share_the_context_that_llama_server_is_given():
    arguments = container(PLANS["llama.cpp with 4 slots"])["args"]
    assert arguments[arguments.index("--ctx-size") + 1] == str(4 * 2048)
    assert arguments[arguments.index("--parallel") + 1] == "4"


def test_a_start_may_take_ten_times_as_long_as_measured():
    probe = container(LLAMA)["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] == pytest.approx(15, abs=2)


def test_the_longest_answer_is_finished_before_a_pod_is_told_to_end():
    waits = container(LLAMA)["lifecycle"]["preStop"]
    assert waits == {"sleep": {"seconds": 41}}  # 2,048 tokens at 50 per second
    assert pod(LLAMA)["terminationGracePeriodSeconds"] == 46


def test_the_autoscaler_aims_at_what_the_simulation_found():
    metrics = manifest(LLAMA, "HorizontalPodAutoscaler")["spec"]["metrics"]
    found = {one["pods"]["metric"]["name"]: one["pods"]["target"] for one in metrics}
    assert found == {
        "llamacpp_requests_processing": {"type": "AverageValue", "averageValue": "600m"},
        "llamacpp_requests_deferred": {"type": "AverageValue", "averageValue": "450m"},
    }


@every_plan
def test_every_value_that_has_a_reason_stands_in_its_file(plan):
    texts = manifests.files(plan)
    for reason in manifests.reasons(plan):
        text = texts[reason.file]
        assert reason.value in text, reason
        assert reason.line.split(".")[-1] in text, reason


# Nobody gets in, nothing gets out


@every_plan
def test_the_key_is_referred_to_and_in_no_file(plan):
    server = plan.container
    given = str(container(plan)) + str(pod(plan)["volumes"])
    assert f"{plan.name}-api-key" in given
    assert bool(server.key_file) != bool(server.key_variable)
    assert "--api-key" not in container(plan)["args"], "a process list would show it"


@every_plan
def test_the_server_runs_without_rights(plan):
    assert pod(plan)["securityContext"]["runAsNonRoot"] is True
    assert pod(plan)["automountServiceAccountToken"] is False
    own = container(plan)["securityContext"]
    assert own["readOnlyRootFilesystem"] is True
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}


@every_plan
def test_compose_publishes_on_this_computer_only(plan):
    [service] = manifests.compose(plan)["services"].values()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]


@every_plan
def test_only_clients_and_prometheus_get_in_and_nothing_gets_out(plan):
    policy = manifest(plan, "NetworkPolicy")["spec"]
    assert policy["egress"] == []
    assert set(policy["policyTypes"]) == {"Ingress", "Egress"}
    [rule] = policy["ingress"]
    assert len(rule["from"]) == 2
    assert all("podSelector" in who for who in rule["from"])
    labels = manifest(plan, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()


@every_plan
def test_the_service_and_the_deployment_find_the_pods(plan):
    labels = manifest(plan, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert manifest(plan, "Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert manifest(plan, "Service")["spec"]["selector"] == labels


def test_a_gpu_is_asked_for_where_there_is_one():
    two = PLANS["vllm on two GPUs"]
    assert container(two)["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert "--tensor-parallel-size" in container(two)["args"]
    assert "nvidia.com/gpu" not in container(PLANS["vllm on a CPU"])["resources"]["limits"]


# What watches it


@every_plan
def test_everything_is_in_one_namespace(plan):
    there = replace(plan, namespace="models")
    assert {one["metadata"]["namespace"] for one in manifests.kubernetes(there)} == {"models"}
    [job] = yaml.safe_load(manifests.files(there)["prometheus.yaml"])["scrape_configs"]
    [discovery] = job["kubernetes_sd_configs"]
    assert discovery["namespaces"] == {"names": ["models"]}


def test_tokens_that_come_slower_under_load_are_not_an_alert():
    one, four = (
        manifests.files(PLANS[name])["rules.yaml"]
        for name in ("llama.cpp", "llama.cpp with 4 slots")
    )
    assert "SlowTokens" in one
    assert "SlowTokens" not in four


@every_plan
def test_the_autoscaler_is_given_metrics_that_the_server_exports(plan):
    page = samples(monitoring.recorded_page(plan.container.server))
    rules = yaml.safe_load(manifests.files(plan)["adapter.yaml"])["rules"]
    served = {rule["name"]["as"]: rule["seriesQuery"].partition("{")[0] for rule in rules}
    for metric in manifest(plan, "HorizontalPodAutoscaler")["spec"]["metrics"]:
        assert served[metric["pods"]["metric"]["name"]] in {sample.name for sample in page}


def test_a_page_that_asks_for_a_key_is_read_with_it():
    with_key, without = (
        yaml.safe_load(manifests.files(PLANS[name])["prometheus.yaml"])["scrape_configs"][0]
        for name in ("llama.cpp", "vllm on a CPU")
    )
    assert with_key["authorization"]["credentials_file"].startswith("/")
    assert "authorization" not in without


def test_the_dashboard_is_json_with_a_panel_for_each_signal():
    board = json.loads(manifests.files(PLANS["vllm on a CPU"])["dashboard.json"])
    assert [panel["title"] for panel in board["panels"]][-1] == "Latency"
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
    assert len(set(places)) == len(places)


@pytest.mark.slow
@pytest.mark.skipif(not llama_cpp_tools.find("llama-server"), reason="llama-server is not built")
def test_llama_server_takes_these_arguments_and_asks_for_the_key(smollm2, tmp_path):
    key_file = tmp_path / "api-key"
    key_file.write_text("secret")

    def launch(port):
        command = [llama_cpp_tools.find("llama-server"), *LLAMA.container.arguments]
        here = {
            "--host": "127.0.0.1",
            "--port": str(port),
            "--model": smollm2,
            "--api-key-file": key_file,
        }
        for option, value in here.items():
            command[command.index(option) + 1] = value
        return Launch(command, "/health", "model", "0", api_key="secret", metrics="/metrics")

    with start("llama-server", launch) as server:
        signals = LLAMA.container.signals
        assert {signals.running, signals.waiting} <= {one.name for one in server.metrics()}
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{server.url}/metrics")
