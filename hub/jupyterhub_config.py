"""JupyterHub for a room: each learner is a Unix user, and all read one copy of the models.

Start it as root with `jupyterhub -f hub/jupyterhub_config.py`; README.md says what comes before.
"""

import os
import pwd
import sys
from pathlib import Path

LABS = Path(__file__).resolve().parents[1] / "labs"
PROGRAMS = Path(sys.executable).parent
SHARED_CACHE = os.environ.get("SLMLAB_SHARED_CACHE", "/srv/slmlab")
FIRST_START = """
[ -d ~/labs ] || { rm -rf ~/.labs.part && cp -r "$0" ~/.labs.part && mv ~/.labs.part ~/labs; }
exec "$@"
"""
ADMINISTRATORS = {"sudo"}
CULL_AFTER_SECONDS = 3600

if os.geteuid() != 0:
    sys.exit("Start JupyterHub as root: only then does each learner's server run as that learner.")


def check_home(spawner):
    """Refuse a learner whose home other users could enter."""
    home = Path(pwd.getpwnam(spawner.user.name).pw_dir)
    if home.stat().st_mode & 0o077:
        problem = PermissionError(f"Others could enter {home}: close it with `chmod 700 {home}`.")
        problem.jupyterhub_message = str(problem)
        raise problem


os.umask(0o077)  # what the hub and the learners write is for its owner alone

c = get_config()  # noqa: F821

c.JupyterHub.bind_url = "http://127.0.0.1:8000"

c.JupyterHub.authenticator_class = "pam"
c.Authenticator.allow_existing_users = True
c.Authenticator.blocked_users = {"root"}
c.PAMAuthenticator.admin_groups = ADMINISTRATORS
c.LocalAuthenticator.allowed_groups = ADMINISTRATORS  # an administrator may log in, too
c.LocalAuthenticator.create_system_users = True
c.LocalAuthenticator.add_user_cmd = [
    *("useradd", "--create-home", "--key", "HOME_MODE=0700", "--shell", "/bin/bash")
]

c.JupyterHub.spawner_class = "localprocess"
c.Spawner.pre_spawn_hook = check_home
c.Spawner.cmd = ["sh", "-c", FIRST_START, str(LABS), str(PROGRAMS / "jupyterhub-singleuser")]
c.Spawner.args = [
    f"--MappingKernelManager.cull_idle_timeout={CULL_AFTER_SECONDS}",
    f"--ServerApp.shutdown_no_activity_timeout={CULL_AFTER_SECONDS}",
]
c.Spawner.environment = {
    "OMP_WAIT_POLICY": "passive",  # a thread that waits sleeps, for others want the cores
    "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
    "SLMLAB_LABS": "~/labs",
    "SLMLAB_SHARED_CACHE": SHARED_CACHE,
}
c.Spawner.default_url = "/lab/tree/labs/00_start_here.ipynb"
c.Spawner.start_timeout = c.Spawner.http_timeout = 300
