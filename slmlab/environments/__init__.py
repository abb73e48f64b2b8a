"""Environments for frameworks that cannot live with the others: made on demand, kept, repaired."""

from slmlab.environments.environment import Environment
from slmlab.environments.making import NAMES, RECIPES, ensure, status, version

__all__ = ["NAMES", "RECIPES", "Environment", "ensure", "status", "version"]
