"""Reading what was watched of a server, and the rules and the dashboard that watch it.

Every name here stands on the page that the server meant really gives; the tests read both.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slmlab.deployment.metrics import Moment, Sample, total
from slmlab.files import data_path


@dataclass(frozen=True)
class Signals:
    """What a server says of its load, as PromQL: gauges, a counter of tokens, a histogram.

    `latency` is a histogram of seconds, without `_bucket`; `writing` a counter of the seconds spent
    on new tokens. None is for what a server does not tell.
    """

    running: str
    waiting: str
    tokens: str
    latency: str | None = None
    writing: str | None = None


SIGNALS = {
    "llama-server": Signals(
        running="llamacpp:requests_processing",
        waiting="llamacpp:requests_deferred",
        tokens="llamacpp:tokens_predicted_total",
        writing="llamacpp:tokens_predicted_seconds_total",
    ),
    "vllm": Signals(
        running="vllm:num_requests_running",
        waiting="vllm:num_requests_waiting",
        tokens="vllm:generation_tokens_total",
        latency="vllm:e2e_request_latency_seconds",
    ),
    "llama_cpp": Signals(
        running="slmlab_requests_in_progress - slmlab_requests_waiting",
        waiting="slmlab_requests_waiting",
        tokens="slmlab_generated_tokens_total",
        latency="slmlab_request_seconds",
    ),
}
"""The signals of llama.cpp's own server, of vLLM, and of the server in this package."""


def values(moments: Sequence[Moment], expression: str) -> list[float]:
    """Return a metric at each moment, or the difference of two that are written `a - b`."""
    first, *others = expression.split(" - ")
    return [
        total(moment.samples, first) - sum(total(moment.samples, name) for name in others)
        for moment in moments
    ]


def rates(moments: Sequence[Moment], counter: str, window: float = 1.0) -> list[float]:
    """Return how fast a counter grew, per second, over the `window` seconds before each moment."""
    counts = values(moments, counter)
    found = []
    for index, moment in enumerate(moments):
        earlier = [i for i in range(index) if moments[i].seconds <= moment.seconds - window]
        start = max(earlier, default=0)
        seconds = moment.seconds - moments[start].seconds
        found.append((counts[index] - counts[start]) / seconds if seconds else 0.0)
    return found


def buckets(before: Sequence[Sample], after: Sequence[Sample], name: str) -> dict[float, float]:
    """Return what a histogram counted between two pages: how many at most each bound."""
    counted: dict[float, float] = {}
    for sign, page in ((1, after), (-1, before)):
        for sample in page:
            if sample.name == f"{name}_bucket":
                bound = float(sample.labels["le"])
                counted[bound] = counted.get(bound, 0.0) + sign * sample.value
    return dict(sorted(counted.items()))


def quantile(counted: Mapping[float, float], share: float) -> float:
    """Return a quantile of a histogram, as PromQL's `histogram_quantile` does.

    Within a bucket it assumes even spacing, so it is no more exact than the bucket is narrow.
    Returns NaN where nothing was counted.
    """
    wanted = share * max(counted.values(), default=0.0)
    lower, below = 0.0, 0.0
    for bound, count in counted.items():
        if count >= wanted > 0:
            if bound == float("inf"):
                return lower
            return lower + (bound - lower) * (wanted - below) / (count - below)
        lower, below = bound, count
    return float("nan")


def recorded_page(server: str) -> str:
    """Return the metrics page of a server in `SIGNALS` that was recorded elsewhere.

    Its first line says when, where, and of which version.
    """
    return data_path("recorded", f"metrics_{server}.txt").read_text("utf-8")


def scrape(name: str, namespace: str, key_file: str | None) -> dict[str, Any]:
    """Return Prometheus' own configuration: find a service's pods and read their `/metrics`.

    `key_file` holds the API key, as Prometheus sees it, where the page asks for one. A pod of
    another namespace gets no key, whatever label it carries.
    """
    labels = "__meta_kubernetes"
    job: dict[str, Any] = {
        "job_name": name,
        "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": [namespace]}}],
        "relabel_configs": [
            _keep(f"{labels}_pod_label_app_kubernetes_io_name", name),
            _keep(f"{labels}_pod_container_port_name", "http"),
            {"source_labels": [f"{labels}_namespace"], "target_label": "namespace"},
            {"source_labels": [f"{labels}_pod_name"], "target_label": "pod"},
        ],
    }
    if key_file:
        job["authorization"] = {"type": "Bearer", "credentials_file": key_file}
    return {
        "global": {"scrape_interval": "5s", "evaluation_interval": "15s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [job],
    }


def rules(
    name: str, signals: Signals, target: float, waiting: float, rate: float | None
) -> dict[str, Any]:
    """Return a Prometheus rule file: recording rules, and alerts on what was measured.

    `target` is the p95 latency that was promised, in seconds; `waiting` the mean number of requests
    in the queue of a replica at the highest load that keeps it; `rate` the tokens per second that
    each request gets, or None where that changes with the load.
    """
    waits, tokens = of(signals.waiting, name), of(signals.tokens, name)
    recorded = {
        "service:requests:in_flight": f"sum({of(signals.running, name)}) + sum({waits})",
        "service:new_tokens_per_second:rate1m": f"sum(rate({tokens}[1m]))",
    }
    up = f'up{{job="{name}"}}'
    down = f"{up} == 0 or absent({up})"
    alerts = [
        _alert("Down", down, "1m", "A replica does not answer, or there is none."),
        _alert(
            "Queueing",
            f"avg(avg_over_time({waits}[5m])) > {2 * max(waiting, 0.5):.2f}",
            "5m",
            "More requests wait than at the load that was planned for.",
        ),
    ]
    if signals.latency:
        recorded["service:latency_seconds:p95"] = p95(signals.latency, name)
        slow = f"{p95(signals.latency, name)} > {target:.2f}"
        alerts.append(_alert("Slow", slow, "5m", "The p95 latency is above what was promised."))
    if signals.writing and rate:
        pace = f"sum(rate({tokens}[5m])) / sum(rate({of(signals.writing, name)}[5m]))"
        slow = f"{pace} < {rate / 2:.1f}"
        alerts.append(_alert("SlowTokens", slow, "5m", "Tokens come at half the measured rate."))
    records = [
        {"record": record, "expr": expr, "labels": {"service": name}}
        for record, expr in recorded.items()
    ]
    return {"groups": [{"name": name, "rules": records + alerts}]}


def of(expression: str, name: str) -> str:
    """Return a metric, or a difference of two, as one service gives it."""
    return re.sub(r"[a-z][a-z0-9_:]+", rf'\g<0>{{job="{name}"}}', expression)


def p95(histogram: str, name: str) -> str:
    """Return the PromQL for the 95th percentile of a histogram over the last 5 minutes."""
    counted = of(f"{histogram}_bucket", name)
    return f"histogram_quantile(0.95, sum by (le) (rate({counted}[5m])))"


def dashboard(name: str, signals: Signals, target: float) -> dict[str, Any]:
    """Return a Grafana dashboard: requests, tokens per second, and latency where it is told."""
    running, waiting = of(signals.running, name), of(signals.waiting, name)
    tokens = of(signals.tokens, name)
    panels = [
        _panel(
            "Requests",
            "short",
            {"running": f"sum({running})", "waiting": f"sum({waiting})"},
        ),
        _panel("New tokens per second", "short", {"all": f"sum(rate({tokens}[1m]))"}),
        _panel("Requests per replica", "short", {"{{pod}}": f"sum by (pod) ({running})"}),
    ]
    if signals.latency:
        panels.append(_panel("Latency", "s", {"p95": p95(signals.latency, name)}, limit=target))
    places = [{"h": 8, "w": 12, "x": 12 * (i % 2), "y": 8 * (i // 2)} for i in range(len(panels))]
    return {
        "uid": name,
        "title": name,
        "schemaVersion": 41,
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "10s",
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [
            panel | {"id": number, "gridPos": place}
            for number, (panel, place) in enumerate(zip(panels, places, strict=True), start=1)
        ],
    }


def adapter(signals: Signals) -> dict[str, Any]:
    """Return rules for prometheus-adapter, which shows gauges of pods to the autoscaler.

    Kubernetes cannot read a `/metrics` page by itself. The colon becomes an underscore.
    """
    return {
        "rules": [
            {
                "seriesQuery": f'{metric}{{namespace!="",pod!=""}}',
                "resources": {
                    "overrides": {
                        "namespace": {"resource": "namespace"},
                        "pod": {"resource": "pod"},
                    }
                },
                "name": {"as": adapted(metric)},
                "metricsQuery": (
                    "sum(avg_over_time(<<.Series>>{<<.LabelMatchers>>}[1m])) by (<<.GroupBy>>)"
                ),
            }
            for metric in (signals.running, signals.waiting)
        ]
    }


def adapted(metric: str) -> str:
    """Return what the autoscaler calls a metric."""
    return metric.replace(":", "_")


def expressions(document: Any) -> list[str]:
    """Return all PromQL in a rule file, a dashboard or the adapter's rules."""
    if isinstance(document, Mapping):
        own = [document[key] for key in ("expr", "seriesQuery") if key in document]
        return own + [found for value in document.values() for found in expressions(value)]
    if isinstance(document, list):
        return [found for value in document for found in expressions(value)]
    return []


def _keep(label: str, value: str) -> dict[str, Any]:
    return {"source_labels": [label], "action": "keep", "regex": value}


def _alert(name: str, expression: str, lasting: str, summary: str) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expression,
        "for": lasting,
        "labels": {"severity": "page" if name == "Down" else "ticket"},
        "annotations": {"summary": summary},
    }


def _panel(
    title: str, unit: str, queries: Mapping[str, str], limit: float | None = None
) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if limit is not None:
        steps.append({"color": "red", "value": limit})
    return {
        "type": "timeseries",
        "title": title,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "custom": {"thresholdsStyle": {"mode": "line"}},
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "targets": [
            {"refId": letter, "expr": expression, "legendFormat": legend}
            for letter, (legend, expression) in zip("ABCDE", queries.items(), strict=False)
        ],
    }
