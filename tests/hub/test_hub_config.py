"""What the two configurations promise before anything is started."""

import os
import pwd
import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest
import yaml
from jupyterhub.spawner import Spawner
from traitlets.config import Config
from traitlets.config.loader import PyFileConfigLoader

from slmlab.notebooks.labs import LABS, all_labs

HUB = Path(__file__).parents[2] / "hub"
COUNT, NUMBER, TEXT, FLAG, LIST = int, (int, float), str, bool, list
ON = {"enabled": FLAG}

# What the chart's jupyterhub/values.schema.yaml allows of the keys that are used, as it was read at
# commit 02dd73df01bdbb6d602fed21b0be12565ab38080. It allows no others there, except below
# hub.config, which has the traits of JupyterHub's classes, and singleuser.extraEnv. The schema
# itself comes with the chart, from a site that is none of the package registries.
KNOWN = {
    "hub": {
        "config": {
            "JupyterHub": {"authenticator_class": TEXT},
            "KubeSpawner": {"notebook_dir": TEXT},
        },
        "concurrentSpawnLimit": COUNT,
        "activeServerLimit": COUNT,
        "networkPolicy": ON,
    },
    "proxy": {"service": {"type": TEXT}, "chp": {"networkPolicy": ON}},
    "singleuser": {
        "image": {"name": TEXT, "tag": TEXT},
        "defaultUrl": TEXT,
        "startTimeout": COUNT,
        "lifecycleHooks": {"postStart": {"exec": {"command": LIST}}},
        "memory": {"guarantee": TEXT, "limit": TEXT},
        "cpu": {"guarantee": NUMBER, "limit": NUMBER},
        "extraEnv": {"OMP_WAIT_POLICY": TEXT, "SLMLAB_LABS": TEXT, "SLMLAB_SHARED_CACHE": TEXT},
        "storage": {
            "type": TEXT,
            "capacity": TEXT,
            "homeMountPath": TEXT,
            "extraVolumes": LIST,
            "extraVolumeMounts": LIST,
        },
        "allowPrivilegeEscalation": FLAG,
        "cloudMetadata": {"blockWithIptables": FLAG, "ip": TEXT},
        "networkPolicy": {
            "enabled": FLAG,
            "egressAllowRules": {
                "cloudMetadataServer": FLAG,
                "privateIPs": FLAG,
                "nonPrivateIPs": FLAG,
            },
        },
    },
    "scheduling": {
        "userScheduler": ON,
        "podPriority": ON,
        "userPlaceholder": {"enabled": FLAG, "replicas": COUNT},
    },
    "prePuller": {"continuous": ON},
    "cull": {"enabled": FLAG, "timeout": COUNT, "every": COUNT, "maxAge": COUNT},
}


@pytest.fixture
def config(monkeypatch):
    """Load the JupyterHub configuration as the hub would, as if by the user of this id."""

    def load(uid=0):
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        return PyFileConfigLoader("jupyterhub_config.py", HUB).load_config()

    before = os.umask(0)
    os.umask(before)
    yield load
    os.umask(before)


@pytest.fixture
def values():
    return yaml.safe_load((HUB / "zero-to-jupyterhub.yaml").read_text("utf-8"))


def misfits(given, known, path=""):
    """Return the keys that are unknown, or whose values are of another kind."""
    if not isinstance(known, dict):
        return [] if isinstance(given, known) else [path]
    if not isinstance(given, dict):
        return [path]
    unknown = [f"{path}.{key}" for key in given if key not in known]
    for key in given.keys() & known.keys():
        unknown += misfits(given[key], known[key], f"{path}.{key}")
    return unknown


def test_only_root_can_start_the_hub(config):
    with pytest.raises(SystemExit, match="as root"):
        config(uid=1000)


def test_the_hub_listens_on_this_machine_until_told_otherwise(config):
    assert config().JupyterHub.bind_url.startswith("http://127.0.0.1:")


def test_whoever_may_administer_may_log_in(config):
    found = config()
    assert (
        found.LocalAuthenticator.allowed_groups == found.PAMAuthenticator.admin_groups == {"sudo"}
    )


@pytest.mark.parametrize("where", ["hub", "pod"])
def test_labs_that_were_copied_in_part_are_copied_anew(config, values, tmp_path, where):
    home, course = tmp_path / "home", tmp_path / "course"
    (home / ".labs.part").mkdir(parents=True)
    (home / ".labs.part" / "half.ipynb").write_text("ha")
    course.mkdir()
    (course / "00.ipynb").write_text("whole")
    if where == "hub":
        shell, option, script, *_ = config().Spawner.cmd
        command = [shell, option, script, course, "true"]
    else:
        hook = values["singleuser"]["lifecycleHooks"]["postStart"]["exec"]["command"]
        command = [part.replace("/srv/course/labs", str(course)) for part in hook]
    for _ in range(2):
        subprocess.run(command, env={"HOME": str(home), "PATH": os.environ["PATH"]}, check=True)
        assert [path.name for path in home.iterdir()] == ["labs"]
        assert (home / "labs" / "00.ipynb").read_text() == "whole"
        (course / "00.ipynb").write_text("newer")


def test_what_hub_and_learners_write_is_for_the_owner_alone(config):
    config()
    assert os.umask(0o077) == 0o077


@pytest.mark.parametrize(("mode", "refused"), [(0o700, False), (0o755, True), (0o710, True)])
def test_a_home_that_others_could_enter_gets_no_server(
    config, tmp_path, monkeypatch, mode, refused
):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    monkeypatch.setattr(pwd, "getpwnam", lambda name: SimpleNamespace(pw_dir=str(home)))
    check_home = config().Spawner.pre_spawn_hook
    spawner = SimpleNamespace(user=SimpleNamespace(name="ada"))
    if refused:
        with pytest.raises(PermissionError, match="chmod 700"):
            check_home(spawner)
    else:
        check_home(spawner)


def test_learners_read_the_cache_that_is_named(config, monkeypatch):
    monkeypatch.setenv("SLMLAB_SHARED_CACHE", "/srv/models")
    assert config().Spawner.environment["SLMLAB_SHARED_CACHE"] == "/srv/models"


def test_threads_that_wait_leave_the_cores_to_others(config, values):
    for environment in (config().Spawner.environment, values["singleuser"]["extraEnv"]):
        assert environment["OMP_WAIT_POLICY"] == "passive"


def test_the_values_use_keys_that_the_chart_knows(values):
    assert misfits(values, KNOWN) == []
    assert misfits({"cull": {"enabled": "yes", "after": 1}}, KNOWN) == [
        ".cull.after",
        ".cull.enabled",
    ]


def test_what_a_learner_opens_and_resets_lies_on_the_volume_that_outlives_the_pod(values):
    learner = values["singleuser"]
    config = Config({"Spawner": values["hub"]["config"]["KubeSpawner"]})
    config.Spawner.default_url = learner["defaultUrl"]
    opened = Spawner(config=config)
    assert opened.notebook_dir == learner["storage"]["homeMountPath"]
    first = PurePosixPath(opened.notebook_dir, opened.default_url.removeprefix("/lab/tree/"))
    assert first.parent == PurePosixPath(learner["extraEnv"]["SLMLAB_LABS"])
    assert (LABS / first.name).is_file()


def test_the_image_is_built_for_the_user_and_the_home_of_the_pod(values):
    command = (HUB / "README.md").read_text("utf-8").replace("\\\n", " ")
    [built] = re.findall(r"^jupyter-repo2docker .*$", command, re.MULTILINE)
    said = dict(pairwise(shlex.split(built)))
    assert f"/home/{said['--user-name']}" == values["singleuser"]["storage"]["homeMountPath"]
    assert said["--user-id"] == "1000"  # the chart's default for singleuser.uid
    [*_, copying] = values["singleuser"]["lifecycleHooks"]["postStart"]["exec"]["command"]
    assert f"cp -r {said['--target-repo-dir']}/labs" in copying


def test_a_learner_resets_the_copy_that_the_first_start_makes(config):
    assert config().Spawner.environment["SLMLAB_LABS"] == "~/labs"


def test_the_models_are_mounted_read_only_where_the_labs_look(values):
    learner = values["singleuser"]
    [volume], [mount] = (learner["storage"][key] for key in ("extraVolumes", "extraVolumeMounts"))
    assert volume["name"] == mount["name"]
    assert volume["persistentVolumeClaim"]["readOnly"] is mount["readOnly"] is True
    assert mount["mountPath"] == learner["extraEnv"]["SLMLAB_SHARED_CACHE"]


def test_every_lab_but_that_of_vllm_fits_the_memory(values):
    limit = int(values["singleuser"]["memory"]["limit"].removesuffix("G")) * 2**30
    assert {lab.name for lab in all_labs() if lab.memory_bytes > limit} == {"09_vllm"}


def test_learners_reach_nothing_but_the_hub(values):
    policy = values["singleuser"]["networkPolicy"]
    assert policy["enabled"]
    assert not any(policy["egressAllowRules"].values())
    assert values["proxy"]["service"]["type"] == "ClusterIP"
    assert values["hub"]["config"]["JupyterHub"]["authenticator_class"] == "null"
