"""A model inside a web page, on the learner's own machine: wllama, served from 127.0.0.1."""

from slmlab.deployment.browser.measuring import (
    QUESTION,
    Run,
    Visit,
    as_measurements,
    measure,
    native,
    open_site,
    reported,
    why_not,
)
from slmlab.deployment.browser.site import Site

__all__ = [
    "QUESTION",
    "Run",
    "Site",
    "Visit",
    "as_measurements",
    "measure",
    "native",
    "open_site",
    "reported",
    "why_not",
]
