"""A browser without a window: found on this machine, run, and ended with us."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from slmlab.environments.guarded import guarded
from slmlab.errors import NotPossibleHere

VARIABLE = "SLMLAB_BROWSER"

_PROFILE = "slmlab-browser-"

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_NAMES += ("microsoft-edge", "microsoft-edge-stable", "msedge")
_MAC = ("Google Chrome", "Chromium", "Microsoft Edge")
_WINDOWS = ("Google/Chrome/Application/chrome.exe", "Microsoft/Edge/Application/msedge.exe")

OPTIONS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
    "--password-store=basic",
    "--use-mock-keychain",
)
"""Switches off what a browser asks of its own accord, as far as its options go."""


def find() -> Path | None:
    """Return the program of a Chromium-like browser: `$SLMLAB_BROWSER`, or one of those known."""
    if named := os.environ.get(VARIABLE):
        found = shutil.which(named)
        return Path(found) if found else None
    on_path = (shutil.which(name) for name in _NAMES)
    return next((Path(found) for found in [*on_path, *_elsewhere()] if found), None)


def why_not() -> str | None:
    """Return why no browser can be run here and what to do, or None where one can."""
    if find():
        return None
    if named := os.environ.get(VARIABLE):
        return f"{VARIABLE} names {named}, and there is no such program; correct it."
    return (
        "No Chromium-like browser was found; install Chromium, Chrome or Edge, or name the "
        f"program of one in {VARIABLE}."
    )


def options() -> list[str]:
    """Return the browser's options; root may only run it without its sandbox."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return [*OPTIONS, *(["--no-sandbox"] if is_root else [])]


@contextmanager
def opened(address: str) -> Iterator[subprocess.Popen[str]]:
    """Open a page in a browser without a window and with a profile of its own; then end it.

    Raises `NotPossibleHere` where there is no browser.
    """
    program = find()
    if program is None:
        raise NotPossibleHere(why_not())
    _remove_leftovers()
    prefix = f"{_PROFILE}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as profile:
        command = [program, *options(), f"--user-data-dir={profile}", address]
        with guarded(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            yield process


def _remove_leftovers() -> None:
    """Remove the profiles of processes that were killed: each may hold the models of a lab."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PROFILE}*"):
        owner = folder.name.removeprefix(_PROFILE).partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _elsewhere() -> Iterator[str | None]:
    """Give the programs that are there where an installer puts them and no PATH leads."""
    places = []
    if sys.platform == "darwin":
        places = [Path(f"/Applications/{name}.app/Contents/MacOS/{name}") for name in _MAC]
    elif sys.platform == "win32":
        roots = ("ProgramFiles", "ProgramFiles(x86)", "LocalAppData")
        places = [
            Path(os.environ[root], name)
            for root in roots
            if root in os.environ
            for name in _WINDOWS
        ]
    yield from (str(place) for place in places if place.exists())
