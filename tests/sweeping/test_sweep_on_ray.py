"""The same results from a Ray cluster, also where one of its machines goes away."""

import os
import threading
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import toy_sweep as toy

from slmlab.deployment.server import free_port
from slmlab.errors import NotPossibleHere
from slmlab.sweeping import Plan, on_ray, summary, sweep

HERE = Path(__file__).parent
PATH = os.pathsep.join(map(str, (HERE.parents[1], HERE)))  # where a worker finds slmlab and toys
SESSION = "session_of_tests"
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # as there, talk over 127.0.0.1 alone
PATIENCE = {  # Ray's own limits are too short for a machine that is busy with other things
    "RAY_agent_register_timeout_ms": "600000",
    "RAY_health_check_failure_threshold": "20",
    "RAY_health_check_period_ms": "1000",
    "RAY_worker_register_timeout_seconds": "600",
}

quiet = partial(sweep, tell=lambda line: None)


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two nodes on this machine: the head with two CPUs, another with one."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory(prefix="ray-") as folder:
        environment = {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": folder,
            "PYTHONPATH": PATH,
            **LOOPBACK,
            **PATIENCE,
        }
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setattr("ray._private.ray_constants.ENABLE_RAY_CLUSTER", False)
        Path(folder, "ray").mkdir()  # Ray writes the address of the cluster there
        made = Cluster()
        made.folder = folder
        try:
            add_node(made, cpus=2, include_dashboard=False, session_name=SESSION)
            add_node(made, cpus=1)
            yield made
        finally:
            made.shutdown()


def add_node(cluster, cpus, **more):
    """Add a small node that listens on 127.0.0.1 only."""
    import ray

    node = ray.NodeID.from_random().hex()
    tell_ports(Path(cluster.folder, SESSION), node)
    return cluster.add_node(
        num_cpus=cpus,
        object_store_memory=80_000_000,
        node_ip_address="127.0.0.1",
        runtime_env_agent_port=free_port(),
        temp_dir=cluster.folder,
        env_vars={"RAY_OVERRIDE_NODE_ID_FOR_TESTING": node},
        **more,
    )


def tell_ports(session, node):
    """Say for a node's dashboard agent, which has no ports here, that it has none.

    It would say so itself, but a node ends where it hears nothing for 15 seconds, and on a busy
    machine the agent takes longer to start.
    """
    from ray import _raylet

    session.mkdir(exist_ok=True)
    for name in ("METRICS_AGENT", "METRICS_EXPORT", "DASHBOARD_AGENT_LISTEN"):
        _raylet.persist_port(str(session), node, getattr(_raylet, f"{name}_PORT_NAME"), -1)


def values(found):
    return {result.task: [row.value for row in result.measurements] for result in found.finished}


@pytest.mark.slow
def test_a_cluster_gives_what_one_machine_gives(cluster, tmp_path):
    plan = toy.plan(texts=("prose", "code"))
    there = quiet(plan, tmp_path / "there", ray=cluster.address, measure=toy.count)
    here = quiet(plan, tmp_path / "here", measure=toy.count)
    assert values(there) == values(here)
    assert {result.machine for result in there.finished} == {here.finished[0].machine}
    again = quiet(plan, tmp_path / "there", ray=cluster.address, measure=None)
    assert again.done_before == len(plan.tasks())


@pytest.mark.slow
def test_a_real_perplexity_is_the_same_there_and_here(cluster, smollm2, tmp_path):
    shape = {"measure": ("perplexity",), "chunks": 1, "context": 64}
    plan = Plan(("smollm2-135m-instruct",), ("Q4_0",), **shape)
    there = quiet(plan, tmp_path / "there", ray=cluster.address)
    here = quiet(plan, tmp_path / "here")
    assert not there.failed and not here.failed
    [row] = summary(here.finished + there.finished)
    assert row.number.conditions["repetitions"] == 2 and row.number.value > 1


@pytest.mark.slow
def test_a_timed_task_has_its_node_for_itself(cluster, tmp_path):
    log = tmp_path / "log"
    log.mkdir()
    plan = toy.plan("perplexity", "speed", repetitions=3)
    found = quiet(plan, tmp_path / "out", ray=cluster.address, measure=partial(toy.noting, log=log))
    assert not found.failed
    noted = {task: (log / task.id).read_text().split() for task in plan.tasks()}
    assert len({node for _, _, node in noted.values()}) == 2
    for task in filter(lambda task: task.is_timed, noted):
        start, end, node = noted[task]
        for other, (other_start, other_end, other_node) in noted.items():
            if other != task and other_node == node:
                assert float(other_end) <= float(start) or float(end) <= float(other_start)


@pytest.mark.slow
@pytest.mark.parametrize("quantity", ["perplexity", "speed"])
def test_a_node_removed_in_the_middle_loses_nothing(cluster, tmp_path, quantity):
    victim = add_node(cluster, cpus=1)
    marker = tmp_path / "stuck"

    def remove():
        while not marker.exists():
            time.sleep(0.1)
        cluster.remove_node(victim, allow_graceful=False)

    removing = threading.Thread(target=remove, daemon=True)
    removing.start()
    plan = toy.plan(quantity, repetitions=4)
    stuck = partial(toy.stuck_once, victim=victim.node_id, marker=marker)
    found = quiet(plan, tmp_path / "out", ray=cluster.address, measure=stuck)
    removing.join()
    assert not found.failed
    assert values(found) == values(quiet(plan, tmp_path / "here", measure=toy.count))


@pytest.mark.slow
def test_a_failure_on_a_node_is_told_and_stops_nothing(cluster, smollm2, tmp_path):
    plan = toy.plan_with_a_model_that_is_none(tmp_path)
    found = quiet(plan, tmp_path / "out", ray=cluster.address)
    assert [result.task.model for result in found.finished] == ["smollm2-135m-instruct"]
    [failed] = found.failed
    assert "none.gguf is not a usable model file" in failed.failure


@pytest.mark.slow
@pytest.mark.parametrize("quantity", ["perplexity", "speed"])
def test_a_task_that_ends_its_worker_three_times_is_a_failure(cluster, tmp_path, quantity):
    log = tmp_path / "log"

    def crash(task, threads):
        import os

        with log.open("a", encoding="utf-8") as file:
            file.write("crash\n")
        os._exit(1)

    plan = toy.plan(quantity, quantisations=("Q4_0",))
    [failed] = quiet(plan, tmp_path / "out", ray=cluster.address, measure=crash).failed
    assert failed.failure.startswith("Ray could not do it: ")
    assert log.read_text().split() == ["crash"] * 3


@pytest.mark.slow
@pytest.mark.parametrize("quantity", ["perplexity", "speed"])
def test_without_a_machine_left_it_does_not_wait(cluster, tmp_path, monkeypatch, quantity):
    begun = tmp_path / "begun"

    def stay(task, threads):
        import time

        begun.touch()
        time.sleep(600)

    nodes = on_ray._nodes
    monkeypatch.setattr(on_ray, "_LOOK_EVERY", 0.5)
    monkeypatch.setattr(on_ray, "_nodes", lambda: {} if begun.exists() else nodes())
    with pytest.raises(NotPossibleHere, match="No machine is left in the Ray cluster"):
        quiet(toy.plan(quantity), tmp_path / "out", ray=cluster.address, measure=stay)


@pytest.mark.slow
def test_no_cluster_is_a_sentence(tmp_path):
    pytest.importorskip("ray")
    with pytest.raises(NotPossibleHere, match=r"There is no Ray cluster at 127\.0\.0\.1:9 "):
        quiet(toy.plan(), tmp_path, ray="127.0.0.1:9", measure=toy.count)


def test_a_cluster_of_other_versions_is_a_sentence(tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    from ray._private.utils import check_version_info

    cluster = {"ray_version": "1.13.0", "python_version": "3.7.0"}
    monkeypatch.setattr(ray, "init", lambda **_: check_version_info(cluster, "this node"))
    with pytest.raises(NotPossibleHere) as problem:
        quiet(toy.plan(), tmp_path, ray="auto", measure=toy.count)
    assert "The Ray cluster at auto does not take us (Version mismatch: " in str(problem.value)
    assert " Ray: 1.13.0 Python: 3.7.0 " in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_process_that_is_connected_to_ray_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(pytest.importorskip("ray"), "is_initialized", lambda: True)
    with pytest.raises(NotPossibleHere, match=r"connected .* already; call ray\.shutdown"):
        quiet(toy.plan(), tmp_path, ray="auto", measure=toy.count)


def test_without_ray_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "slmlab[ray]" in on_ray.why_not()
    with pytest.raises(NotPossibleHere, match="Ray is not installed"):
        quiet(toy.plan(), tmp_path, ray="auto", measure=toy.count)
