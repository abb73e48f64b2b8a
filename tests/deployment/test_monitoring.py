"""What is watched exists: every metric in a rule or dashboard stands on its server's page."""

import math
import re
import time

import pytest
from promql_parser import VectorSelector, parse, walk
from waiting import wait_until

from slmlab.deployment import metrics
from slmlab.deployment.metrics import Moment, Sample, samples
from slmlab.deployment.operations import monitoring
from slmlab.deployment.operations.monitoring import SIGNALS

EVERY_PROMETHEUS_HAS = {"up"}
every_server = pytest.mark.parametrize("server", SIGNALS)


def names(expression):
    """Return the metrics in PromQL, as Prometheus' grammar reads it."""
    found = set()

    def visit(node):
        if isinstance(node, VectorSelector):
            found.add(node.name)

    walk(parse(expression), visit)
    return found


def page(server):
    """Return the names on a server's page; ours is made here, the others' were recorded."""
    if server == "llama_cpp":
        from slmlab.deployment.llama_cpp_app import Counts

        counts = Counts()
        counts.requests.labels("200").inc()
        text = counts.page().body.decode()
    else:
        text = monitoring.recorded_page(server)
    return {sample.name for sample in samples(text)}


def documents(server):
    """Return everything with PromQL in it that is made for a server."""
    signals = SIGNALS[server]
    return {
        "rules": monitoring.rules("service", signals, 2.0, 0.5, 100.0),
        "dashboard": monitoring.dashboard("service", signals, 2.0),
        **({} if " " in signals.running else {"adapter": monitoring.adapter(signals)}),
    }


def moment(seconds, **values):
    return Moment(seconds, [Sample(name, value) for name, value in values.items()])


# Names


@every_server
def test_every_metric_in_use_is_on_the_servers_page(server):
    exported = page(server) | EVERY_PROMETHEUS_HAS
    for kind, document in documents(server).items():
        found = monitoring.expressions(document)
        assert found, kind
        for expression in found:
            assert names(expression) <= exported, (kind, expression)


def test_a_metric_that_is_gone_would_be_found():
    assert names("sum(rate(vllm:gpu_cache_usage_perc[1m]))") - page("vllm")
    assert not names("avg(vllm:kv_cache_usage_perc)") - page("vllm")


def test_promql_with_a_mistake_would_be_found():
    with pytest.raises(ValueError):
        parse("sum(rate(up[5m])")


@pytest.mark.parametrize("server", ["llama-server", "vllm"])
def test_a_recorded_page_says_when_and_of_what(server):
    first = monitoring.recorded_page(server).splitlines()[0]
    assert re.match(r"# Recorded \d{4}-\d\d-\d\d on .*, from .*\d+\.\d+", first)


@every_server
def test_a_recorded_name_is_one_that_prometheus_takes_and_every_rule_is_about_one_service(server):
    [group] = monitoring.rules("my-service", SIGNALS[server], 2.0, 0.5, 100.0)["groups"]
    for rule in group["rules"]:
        assert re.fullmatch("[a-zA-Z_:][a-zA-Z0-9_:]*", rule.get("record") or rule["alert"])
        assert rule["expr"].count('job="my-service"') >= len(names(rule["expr"]))


def test_the_waiting_alert_knows_what_was_planned_for():
    alerts = monitoring.rules("service", SIGNALS["llama-server"], 2.0, 0.75, 100.0)
    rules = {rule.get("alert"): rule for rule in alerts["groups"][0]["rules"]}
    assert rules["Queueing"]["expr"].endswith("> 1.50")
    assert rules["SlowTokens"]["expr"].endswith("< 50.0")
    assert "Slow" not in rules, "llama-server exports no latencies"


def test_a_service_is_down_also_where_it_has_no_pod():
    rules = monitoring.rules("service", SIGNALS["vllm"], 2.0, 0.75, 100.0)["groups"][0]["rules"]
    [down] = [rule["expr"] for rule in rules if rule.get("alert") == "Down"]
    assert down == 'up{job="service"} == 0 or absent(up{job="service"})'


def test_a_latency_that_is_exported_is_held_to_the_promise():
    rules = monitoring.rules("service", SIGNALS["vllm"], 2.0, 0.75, 100.0)["groups"][0]["rules"]
    [slow] = [rule["expr"] for rule in rules if rule.get("alert") == "Slow"]
    assert slow.startswith("histogram_quantile(0.95")
    assert slow.endswith("> 2.00")


# Watching


class FakeServer:
    def __init__(self):
        self.asked = 0

    def metrics(self):
        self.asked += 1
        if self.asked == 2:
            raise ConnectionError("busy")
        return [Sample("tokens_total", 10.0 * self.asked)]


def test_a_watch_looks_before_during_and_after_and_forgives_a_page_that_does_not_come():
    server = FakeServer()
    with metrics.watch(server, every=0.01) as moments:
        assert len(moments) == 1
        while server.asked < 4:
            time.sleep(0.01)
    assert server.asked == len(moments) + 1
    times = [one.seconds for one in moments]
    assert times == sorted(times)
    assert monitoring.values(moments, "tokens_total")[-1] == 10.0 * server.asked


def test_a_watch_ends_with_its_block():
    server = FakeServer()
    with pytest.raises(KeyError), metrics.watch(server, every=0.01):
        raise KeyError
    asked = server.asked
    time.sleep(0.05)
    assert server.asked == asked


def test_a_difference_of_two_gauges_is_read_at_each_moment():
    moments = [moment(0, present=3, waiting=2), moment(1, present=1, waiting=0)]
    assert monitoring.values(moments, "present - waiting") == [1, 1]


def test_a_rate_is_a_counters_slope_over_the_window():
    moments = [moment(t / 2, tokens=10 * t) for t in range(5)]
    assert monitoring.rates(moments, "tokens") == pytest.approx([0, 20, 20, 20, 20])


def histogram(**counts):
    return [Sample("s_bucket", value, {"le": bound}) for bound, value in counts.items()]


def test_a_histogram_is_what_was_counted_between_two_pages():
    before = histogram(**{"0.8": 1, "1.6": 1, "+Inf": 2})
    after = histogram(**{"0.8": 61, "1.6": 91, "3.2": 101, "+Inf": 102})
    counted = monitoring.buckets(before, after, "s")
    assert counted == {0.8: 60, 1.6: 90, 3.2: 101, math.inf: 100}


def test_a_quantile_is_interpolated_as_prometheus_does():
    counted = {0.8: 60.0, 1.6: 90.0, 3.2: 100.0, math.inf: 100.0}
    assert monitoring.quantile(counted, 0.95) == pytest.approx(2.4)
    assert monitoring.quantile(counted, 0.3) == pytest.approx(0.4)
    assert monitoring.quantile({0.8: 1.0, math.inf: 9.0}, 0.95) == 0.8
    assert math.isnan(monitoring.quantile({0.8: 0.0, math.inf: 0.0}, 0.95))


@pytest.mark.slow
def test_the_watched_page_of_a_real_server_shows_the_queue(smollm2):
    from slmlab.deployment import load, serve

    signals = SIGNALS["llama_cpp"]
    with (
        serve("llama_cpp", smollm2, context=256) as server,
        metrics.watch(server, 0.02) as moments,
    ):
        replies = load.run(server, ["Count to ten."] * 6, 3, 8)
        # A server counts a request when its answer is out: a moment after the client has it.
        counts = f"{signals.latency}_count"
        wait_until(lambda: metrics.total(server.metrics(), counts) == 6, seconds=5)
    assert all(reply.ok for reply in replies)
    assert max(monitoring.values(moments, signals.running)) == 1
    waiting = max(monitoring.values(moments, signals.waiting))
    assert waiting in (2, 3), "3 where one has ended and the next has not begun"
    counted = monitoring.buckets(moments[0].samples, moments[-1].samples, signals.latency)
    assert counted[math.inf] == 6
    told = {sample.name for sample in moments[-1].samples}
    assert {name for name in page("llama_cpp") if not name.endswith("_created")} <= told
