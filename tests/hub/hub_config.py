"""The course's own JupyterHub configuration, and a service that may do what an instructor does."""

import os

load_subconfig(os.environ["HUB_CONFIG"])  # noqa: F821

c = get_config()  # noqa: F821
c.JupyterHub.services = [{"name": "instructor", "api_token": os.environ["HUB_TOKEN"]}]
c.JupyterHub.load_roles = [
    {
        "name": "instructor",
        "services": ["instructor"],
        "scopes": ["admin:users", "admin:servers", "tokens", "shutdown"],
    }
]
