"""The files that come with the course: the small plan, and the manifest for KubeRay."""

import shlex

import jsonschema
import yaml
from kubernetes_validate import validate

from slmlab import cli
from slmlab.files import data_path
from slmlab.sweeping import read_plan

KUBERNETES = "1.37"
CLAIM, JOB = yaml.safe_load_all(data_path("sweeps", "kuberay.yaml").read_text("utf-8"))
CLUSTER = JOB["spec"]["rayClusterSpec"]
[WORKERS] = CLUSTER["workerGroupSpecs"]


def container(group):
    [found] = group["template"]["spec"]["containers"]
    return found


def test_the_small_plan_has_eight_tasks():
    tasks = read_plan(data_path("sweeps", "quick.toml")).tasks()
    assert len(tasks) == 8
    assert {task.quantity for task in tasks} == {"perplexity", "speed"}


def test_what_the_job_starts_is_a_sweep_of_a_plan_that_is_here():
    program, *arguments = shlex.split(JOB["spec"]["entrypoint"])
    options = cli.parser().parse_args(arguments)
    assert (program, options.ray) == ("slmlab", "auto")
    assert data_path("sweeps", options.plan.name).is_file()


def test_its_fields_are_those_of_kuberay():
    """As `ray-operator/apis/ray/v1/rayjob_types.go` and `raycluster_types.go` have them.

    Read in KubeRay at commits 0057210ed5a9 and 026f143324c0; without what is not used here.
    """
    text, number = {"type": "string"}, {"type": "integer"}
    pods = {"rayStartParams": {"type": "object", "additionalProperties": text}, "template": {}}
    replicas = dict.fromkeys(["replicas", "minReplicas", "maxReplicas"], number)
    worker = _fields(pods | {"groupName": text} | replicas)
    workers = {"type": "array", "items": worker}
    cluster = {"rayVersion": text, "headGroupSpec": _fields(pods), "workerGroupSpecs": workers}
    job = {"entrypoint": text, "shutdownAfterJobFinishes": {"type": "boolean"}}
    assert (JOB["apiVersion"], JOB["kind"]) == ("ray.io/v1", "RayJob")
    jsonschema.validate(JOB["spec"], _fields(job | {"rayClusterSpec": _fields(cluster)}))


def _fields(types: dict[str, dict]) -> dict:
    required = list(types)
    return {
        "type": "object",
        "properties": types,
        "required": required,
        "additionalProperties": False,
    }


def test_its_parts_keep_to_the_schemas_of_kubernetes():
    validate(CLAIM, KUBERNETES, strict=True)
    for group in (CLUSTER["headGroupSpec"], WORKERS):
        pod = {"metadata": {"name": "pod"}} | group["template"]
        pod["metadata"] = {"name": "pod"} | pod["metadata"]
        validate({"apiVersion": "v1", "kind": "Pod"} | pod, KUBERNETES, strict=True)


def test_results_outlive_the_cluster():
    [volume] = CLUSTER["headGroupSpec"]["template"]["spec"]["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == CLAIM["metadata"]["name"]
    [mount] = container(CLUSTER["headGroupSpec"])["volumeMounts"]
    assert f"--out {mount['mountPath']}/" in JOB["spec"]["entrypoint"]


def test_only_workers_measure_and_each_has_a_node():
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    resources = container(WORKERS)["resources"]
    assert resources["requests"] == resources["limits"]
    assert resources["limits"]["cpu"].isdigit()
    affinity = WORKERS["template"]["spec"]["affinity"]["podAntiAffinity"]
    [rule] = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
    labels = WORKERS["template"]["metadata"]["labels"]
    assert rule["labelSelector"]["matchLabels"].items() <= labels.items()
    assert rule["topologyKey"] == "kubernetes.io/hostname"


def test_the_head_keeps_off_the_nodes_of_the_workers_where_it_can():
    affinity = CLUSTER["headGroupSpec"]["template"]["spec"]["affinity"]["podAntiAffinity"]
    [rule] = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    labels = WORKERS["template"]["metadata"]["labels"]
    assert rule["podAffinityTerm"]["labelSelector"]["matchLabels"].items() <= labels.items()
    assert rule["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"


def test_the_values_of_start_parameters_are_strings():
    for group in (CLUSTER["headGroupSpec"], WORKERS):
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
