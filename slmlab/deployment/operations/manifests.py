"""From a choice to the files that deploy it: a container file, Compose, and Kubernetes.

The container listens on 0.0.0.0, for a container's own 127.0.0.1 is out of reach from outside.
What may reach it is decided outside: Compose publishes the port on 127.0.0.1 of the host only, and
in a cluster a NetworkPolicy lets in clients that carry a label, and Prometheus. Requests to `/v1`
need an API key, which is in no file here. vLLM answers `/invocations` and others without one:
there, put a proxy in front that passes `/v1` only.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from slmlab.deployment.operations import monitoring
from slmlab.engines.llama_cpp_tools import Command
from slmlab.errors import UsageError
from slmlab.files import whole
from slmlab.selection import Choice
from slmlab.tiers import card, kv_cache_bytes

LLAMA_CPP_IMAGE = "ghcr.io/ggml-org/llama.cpp:server-b11206"
VLLM_IMAGES = {"cpu": "vllm/vllm-openai-cpu:v0.32.0", "gpu": "vllm/vllm-openai:v0.32.0"}

HEADROOM = 1.25
"""The memory limit divided by the peak: a process above its limit is killed."""

THEN_AND_NOW = (
    Command(
        "apiVersion: autoscaling/v2beta2",
        "apiVersion: autoscaling/v2",
        "the beta was removed in Kubernetes 1.26; v1 knows processors only",
    ),
    Command(
        "name: cpu, averageUtilization: 50",
        "name: llamacpp_requests_deferred, averageValue: ...",
        "processors are as busy with one request as with ten",
    ),
    Command(
        "vllm:gpu_cache_usage_perc",
        "vllm:kv_cache_usage_perc",
        "renamed; a rule with the old name is silent for ever",
    ),
    Command('version: "3" (docker-compose.yml)', "no version", "Compose ignores it, and warns"),
    Command("docker-compose up", "docker compose up", "Compose became a part of docker's client"),
    Command(
        "ghcr.io/ggerganov/llama.cpp:server",
        LLAMA_CPP_IMAGE,
        "the project has moved; a tag with a number is the same program tomorrow",
    ),
    Command(
        "python -m vllm.entrypoints.api_server",
        "python -m vllm.entrypoints.openai.api_server",
        "the first was a demonstration and spoke no API of OpenAI's",
    ),
)
"""Lines of lessons on deployment, and what works now."""

_MIB, _GIB = 2**20, 2**30
_KV_SPACE = "VLLM_CPU_KVCACHE_SPACE"
_USER = 10001
_PERIOD = 2
_PATIENCE = 10  # a busy node, and a disk that has not read the file yet
_TO_STOP = 5


@dataclass(frozen=True)
class Plan:
    """What the files need to know besides the choice.

    `model` is the file, or for vLLM the folder, that is copied into the image; `sha256` are its
    checksums by path, relative to where `model` lies. `cores` are those of the machine that was
    measured, and `slots` the requests that a replica answers at a time, each with the context of
    the choice; the choice's memory is with all of them. `startup_seconds` is the measured time
    from start to health. `running` and `waiting` are the mean numbers of requests in a replica at
    the highest load that keeps the p95 latency at `target_seconds`. `gpus` is for vLLM.
    `memory_bytes` is the peak of the server in the image, in place of the choice's; vLLM needs it.
    """

    choice: Choice
    model: str
    sha256: Mapping[str, str]
    cores: int
    startup_seconds: float
    target_seconds: float
    running: float
    waiting: float
    slots: int = 1
    replicas: tuple[int, int] = (2, 10)
    gpus: int = 0
    memory_bytes: int | None = None
    namespace: str = "default"
    registry: str = "registry.example.com"

    def __post_init__(self) -> None:
        if self.choice.framework not in _CONTAINERS:
            raise UsageError(
                f"There are no files for {self.choice.framework!r}; choose a model for "
                f"{' or '.join(_CONTAINERS)}."
            )
        if self.choice.framework == "vllm" and self.memory_bytes is None:
            raise UsageError(
                "A choice's peak memory is not vLLM's: measure that of the server in the image, "
                "and give it as memory_bytes."
            )

    @property
    def name(self) -> str:
        """The service's name, which is valid for Kubernetes: letters, digits and dashes."""
        words = f"{self.choice.model}-{self.choice.quantization}".lower()
        return "".join(letter if letter.isalnum() else "-" for letter in words)[:40].strip("-")

    @property
    def image(self) -> str:
        """The image's name; its tag changes with the model's bytes."""
        first = next(iter(self.sha256.values()))
        return f"{self.registry}/{self.name}:{first[:12]}"

    @property
    def container(self) -> "Container":
        """The server's container."""
        return _CONTAINERS[self.choice.framework](self)

    @property
    def peak_bytes(self) -> int:
        """The peak memory of a replica."""
        return self.memory_bytes or self.choice.peak_memory_bytes

    @property
    def memory_mib(self) -> int:
        """The peak, in MiB."""
        return math.ceil(self.peak_bytes / _MIB)

    @property
    def limit_mib(self) -> int:
        """The peak and some room, in MiB."""
        return math.ceil(HEADROOM * self.peak_bytes / _MIB)

    @property
    def longest_answer_seconds(self) -> int:
        """Seconds for an answer that fills the context."""
        return math.ceil(self.choice.context / self.choice.decode_tokens_per_second)

    @property
    def kv_cache_gib(self) -> int:
        """Room for the keys and values of every slot's context, in whole GiB."""
        each = kv_cache_bytes(card(self.choice.model).architecture, self.choice.context)
        return math.ceil(self.slots * each / _GIB)


@dataclass(frozen=True)
class Container:
    """How a server runs in a container. It reads its API key from a file, or from a variable."""

    server: str
    image: str
    entrypoint: Sequence[str]
    arguments: Sequence[str]
    port: int
    metrics_need_key: bool
    environment: Mapping[str, str] = field(default_factory=dict)
    key_file: str | None = None
    key_variable: str | None = None

    @property
    def signals(self) -> monitoring.Signals:
        """What the server says of its load."""
        return monitoring.SIGNALS[self.server]


@dataclass(frozen=True)
class Reason:
    """A value in a generated file and what it comes from."""

    file: str
    line: str
    value: str
    source: str


def files(plan: Plan) -> dict[str, str]:
    """Return the text of every file, by name."""
    container, name = plan.container, plan.name
    key_file = "/etc/prometheus/secrets/api-key" if container.metrics_need_key else None
    signals = container.signals
    rate = plan.choice.decode_tokens_per_second if plan.slots == 1 else None
    rules = monitoring.rules(name, signals, plan.target_seconds, plan.waiting, rate)
    return {
        "Dockerfile": dockerfile(plan),
        "SHA256SUMS": "".join(f"{digest}  {path}\n" for path, digest in plan.sha256.items()),
        "compose.yaml": _yaml(compose(plan)),
        "kubernetes.yaml": _yaml(*kubernetes(plan)),
        "prometheus.yaml": _yaml(monitoring.scrape(name, plan.namespace, key_file)),
        "rules.yaml": _yaml(rules),
        "adapter.yaml": _yaml(monitoring.adapter(signals)),
        "dashboard.json": json.dumps(
            monitoring.dashboard(name, signals, plan.target_seconds), indent=2
        )
        + "\n",
    }


def write(plan: Plan, folder: Path) -> list[Path]:
    """Write every file into a folder and return their paths."""
    written = []
    for name, text in files(plan).items():
        with whole(folder / name) as aside:
            aside.write_text(text, "utf-8", newline="\n")  # Linux reads them
        written.append(folder / name)
    return written


def dockerfile(plan: Plan) -> str:
    """Return the container file: the server, and a model whose checksum is verified."""
    container = plan.container
    variables = " ".join(f'{key}="{value}"' for key, value in container.environment.items())
    lines = [
        f"FROM {container.image}",
        "WORKDIR /models",
        f"COPY --chmod=a+rX {plan.model} /models/{plan.model}",
        "COPY --chmod=a+rX SHA256SUMS /models/SHA256SUMS",
        "RUN sha256sum --check --strict SHA256SUMS",
        *([f"ENV {variables}"] if variables else []),
        f"USER {_USER}:{_USER}",
        f"EXPOSE {container.port}",
        f"ENTRYPOINT {json.dumps(list(container.entrypoint))}",
        f"CMD {json.dumps(list(container.arguments))}",
    ]
    return "\n".join(lines) + "\n"


def compose(plan: Plan) -> dict[str, Any]:
    """Return the Compose file: one replica on this computer, reachable from it alone."""
    container = plan.container
    service: dict[str, Any] = {
        "build": ".",
        "image": plan.image,
        "ports": [f"127.0.0.1:{container.port}:{container.port}"],
        "user": f"{_USER}:{_USER}",
        "read_only": True,
        "tmpfs": ["/tmp"],
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "mem_limit": f"{plan.limit_mib}m",
        "cpus": float(plan.cores),
        "restart": "unless-stopped",
    }
    document: dict[str, Any] = {"services": {plan.name: service}}
    if container.key_file:
        service["secrets"] = [{"source": "api-key", "target": container.key_file}]
        document["secrets"] = {"api-key": {"file": "./api-key.txt"}}
    if container.key_variable:
        wanted = f"${{{container.key_variable}:?set it to the API key}}"
        service["environment"] = {container.key_variable: wanted}
    if plan.gpus:
        device = {"driver": "nvidia", "count": plan.gpus, "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    return document


def kubernetes(plan: Plan) -> list[dict[str, Any]]:
    """Return the Kubernetes manifests; the Secret they refer to is made by hand."""
    return [_deployment(plan), _service(plan), _autoscaler(plan), _network_policy(plan)]


def reasons(plan: Plan) -> list[Reason]:
    """Return the values in the files that were measured, computed or simulated."""
    choice, container = plan.choice, plan.container
    tokens = f"{plan.slots} x {choice.context} tokens"
    origin = ", as given" if plan.memory_bytes else _origin(choice, "peak memory")
    peak = f"peak memory with {tokens}{origin}"
    pace = f"{choice.decode_tokens_per_second:.0f} per second{_origin(choice, 'decode speed')}"
    start = f"{plan.startup_seconds:.1f} s from start to health, and {_PATIENCE} times as long"
    load = f"simulated: the most that keeps the p95 within {plan.target_seconds:g} s"
    metrics = (
        monitoring.adapted(container.signals.running),
        monitoring.adapted(container.signals.waiting),
    )
    deployed = "kubernetes.yaml"
    space = str(plan.kv_cache_gib) if _KV_SPACE in container.environment else None
    return [
        Reason("SHA256SUMS", plan.model, next(iter(plan.sha256.values())), "the file's bytes"),
        Reason(deployed, "requests.memory", f"{plan.memory_mib}Mi", peak),
        Reason(deployed, "limits.memory", f"{plan.limit_mib}Mi", f"{HEADROOM} times that"),
        Reason(deployed, "requests.cpu", str(plan.cores), "the cores that were measured with"),
        Reason(deployed, "startupProbe.failureThreshold", str(_start_attempts(plan)), start),
        Reason(
            deployed,
            "preStop.sleep.seconds",
            str(plan.longest_answer_seconds),
            f"{choice.context} tokens at {pace}",
        ),
        Reason(
            deployed,
            "terminationGracePeriodSeconds",
            str(plan.longest_answer_seconds + _TO_STOP),
            f"that and {_TO_STOP} s to stop in",
        ),
        *([Reason("Dockerfile", _KV_SPACE, space, f"GiB for {tokens}, computed")] if space else []),
        Reason(deployed, metrics[0], _quantity(plan.running), load),
        Reason(deployed, metrics[1], _quantity(plan.waiting), load),
    ]


def _deployment(plan: Plan) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [
        {"name": "tmp", "emptyDir": {"sizeLimit": "256Mi"}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "256Mi"}},
    ]
    if plan.container.key_file:
        volumes.append({"name": "api-key", "secret": {"secretName": _secret(plan)}})
    pod = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": plan.longest_answer_seconds + _TO_STOP,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_pod_container(plan)],
        "volumes": volumes,
    }
    spec = {
        "selector": {"matchLabels": _labels(plan)},
        "template": {"metadata": {"labels": _labels(plan)}, "spec": pod},
    }
    return _manifest("apps/v1", "Deployment", plan, spec)


def _pod_container(plan: Plan) -> dict[str, Any]:
    container = plan.container
    mounts = [{"name": "tmp", "mountPath": "/tmp"}, {"name": "shm", "mountPath": "/dev/shm"}]
    if container.key_file:
        folder = str(PurePosixPath(container.key_file).parent)
        mounts.append({"name": "api-key", "mountPath": folder, "readOnly": True})
    described: dict[str, Any] = {
        "name": "server",
        "image": plan.image,
        "args": list(container.arguments),
        "ports": [{"name": "http", "containerPort": container.port}],
        "resources": _resources(plan),
        "startupProbe": _probe(failureThreshold=_start_attempts(plan)),
        "readinessProbe": _probe(failureThreshold=3, timeoutSeconds=5),
        "livenessProbe": _probe(periodSeconds=10, timeoutSeconds=5),
        "lifecycle": {"preStop": {"sleep": {"seconds": plan.longest_answer_seconds}}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }
    if container.key_variable:
        secret = {"secretKeyRef": {"name": _secret(plan), "key": "api-key"}}
        described["env"] = [{"name": container.key_variable, "valueFrom": secret}]
    return described


def _probe(**times: int) -> dict[str, Any]:
    asked = {"path": "/health", "port": "http"}
    return {"httpGet": asked, "periodSeconds": _PERIOD} | times


def _resources(plan: Plan) -> dict[str, Any]:
    requests = {"cpu": str(plan.cores), "memory": f"{plan.memory_mib}Mi"}
    limits = {"cpu": str(plan.cores), "memory": f"{plan.limit_mib}Mi"}
    if plan.gpus:
        limits["nvidia.com/gpu"] = str(plan.gpus)
    return {"requests": requests, "limits": limits}


def _service(plan: Plan) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return _manifest("v1", "Service", plan, {"selector": _labels(plan), "ports": ports})


def _autoscaler(plan: Plan) -> dict[str, Any]:
    signals = plan.container.signals
    targets = {signals.running: plan.running, signals.waiting: plan.waiting}
    smallest, largest = plan.replicas
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": plan.name},
        "minReplicas": smallest,
        "maxReplicas": largest,
        "metrics": [
            {
                "type": "Pods",
                "pods": {
                    "metric": {"name": monitoring.adapted(metric)},
                    "target": {"type": "AverageValue", "averageValue": _quantity(wanted)},
                },
            }
            for metric, wanted in targets.items()
        ],
    }
    return _manifest("autoscaling/v2", "HorizontalPodAutoscaler", plan, spec)


def _network_policy(plan: Plan) -> dict[str, Any]:
    """Let in pods with the client's label, and Prometheus; let nothing out."""
    client = {"podSelector": {"matchLabels": {f"{plan.name}-client": "true"}}}
    monitor = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
    }
    spec = {
        "podSelector": {"matchLabels": _labels(plan)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [client, monitor], "ports": [{"port": "http"}]}],
        "egress": [],
    }
    return _manifest("networking.k8s.io/v1", "NetworkPolicy", plan, spec)


def _manifest(version: str, kind: str, plan: Plan, spec: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {"name": plan.name, "namespace": plan.namespace, "labels": _labels(plan)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}


def _llama_cpp(plan: Plan) -> Container:
    key = "/run/secrets/service/api-key"
    tokens = plan.slots * plan.choice.context
    return Container(
        server="llama-server",
        image=LLAMA_CPP_IMAGE,
        entrypoint=["/app/llama-server"],
        arguments=[
            *("--host", "0.0.0.0", "--port", "8080"),
            *("--model", f"/models/{plan.model}", "--alias", plan.choice.model),
            *("--ctx-size", str(tokens), "--parallel", str(plan.slots)),
            *("--threads", str(plan.cores), "--threads-batch", str(plan.cores)),
            *("--cache-ram", "0"),  # saved prompts would fill 8 GiB beyond the peak
            *("--api-key-file", key, "--metrics", "--no-slots", "--no-ui", "--offline"),
        ],
        port=8080,
        metrics_need_key=True,
        key_file=key,
    )


def _vllm(plan: Plan) -> Container:
    environment = {
        "HOME": "/tmp",
        "USER": "service",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    if not plan.gpus:
        environment |= {_KV_SPACE: str(plan.kv_cache_gib), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    return Container(
        server="vllm",
        image=VLLM_IMAGES["gpu" if plan.gpus else "cpu"],
        entrypoint=["python3", "-m", "vllm.entrypoints.openai.api_server"],
        arguments=[
            *("--host", "0.0.0.0", "--port", "8000"),
            *("--model", f"/models/{plan.model}", "--served-model-name", plan.choice.model),
            *("--max-model-len", str(plan.choice.context), "--max-num-seqs", str(plan.slots)),
            *(("--tensor-parallel-size", str(plan.gpus)) if plan.gpus > 1 else ()),
        ],
        port=8000,
        metrics_need_key=False,
        environment=environment,
        key_variable="VLLM_API_KEY",
    )


_CONTAINERS = {"llama.cpp": _llama_cpp, "vllm": _vllm}


def _labels(plan: Plan) -> dict[str, str]:
    return {"app.kubernetes.io/name": plan.name}


def _secret(plan: Plan) -> str:
    return f"{plan.name}-api-key"


def _origin(choice: Choice, quantity: str) -> str:
    """Say how a choice's number was got, where the choice tells."""
    return next((f", {row.how}" for row in choice.numbers if row.quantity == quantity), "")


def _start_attempts(plan: Plan) -> int:
    return math.ceil(_PATIENCE * plan.startup_seconds / _PERIOD)


def _quantity(number: float) -> str:
    """Return a number as Kubernetes writes fractions: in thousandths, and at least one."""
    return f"{max(1, round(1000 * number))}m"


def _yaml(*documents: Any) -> str:
    import yaml

    return yaml.safe_dump_all(documents, sort_keys=False, width=100)
