"""The same model file measured inside a web page and natively, by the same rules."""

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from slmlab import engines
from slmlab.deployment.browser import chromium, wllama
from slmlab.deployment.browser.site import Request, Site, thread_counts
from slmlab.errors import ServerFailed, SlmlabError
from slmlab.machine import installed_version
from slmlab.measurement.record import Measurement, measured

QUESTION = "Explain in three sentences why leaves are green in summer."

PORT = 8911
"""The port of every site to look at: a browser stores models for one port alone."""

_CONTEXT = 512
_LIMIT = 60.0  # seconds that one answer may take
_PATIENCE = 600.0
_TYPE = re.compile(r"[.-]([A-Z]+\d\w*)$")


@dataclass(frozen=True)
class Run:
    """One model, loaded and asked once; what is not said to be bytes is seconds or tokens.

    `seconds_to_first_token` is the time to read the prompt, `backend` what computed, in words.
    """

    model: str
    backend: str
    threads: int
    downloaded_bytes: int
    load_seconds: float
    prompt_tokens: int
    seconds_to_first_token: float
    new_tokens: int
    decode_tokens_per_second: float
    text: str

    @property
    def type(self) -> str:
        """The quantisation, as the file's name says it."""
        found = _TYPE.search(Path(self.model).stem)
        return found[1] if found else self.model

    @property
    def prompt_tokens_per_second(self) -> float:
        """How fast the prompt was read."""
        return self.prompt_tokens / self.seconds_to_first_token


@dataclass(frozen=True)
class Visit:
    """What a page found out: about its browser, the models it ran, and lines that are outdated.

    `limits` are bytes, `webgpu` names the graphics processor that the page may use, if any.
    `requests` are all that the site answered.
    """

    browser: str
    cores: int
    isolated: bool
    webgpu: str | None
    limits: dict[str, int]
    runs: tuple[Run, ...]
    old: tuple[dict[str, str], ...]
    requests: tuple[Request, ...]


def why_not() -> str | None:
    """Return why no page can be measured here and what to do, or None where one can.

    It fetches wllama where that is not there yet.
    """
    if reason := chromium.why_not():
        return reason
    try:
        wllama.fetch()
    except SlmlabError as problem:
        return str(problem)
    return None


def open_site(
    models: Sequence[Path],
    max_tokens: int = 32,
    threads: Sequence[int] | None = None,
    isolated: bool = True,
    old: bool = False,
    port: int = PORT,
) -> Site:
    """Return a running site that offers models, and whose `/measure.html` measures each of them.

    A page that is not `isolated` may not use several threads. With `old`, it also tries what
    outdated lessons print. Where its `port` is taken, the site gets one that is free.
    """
    plan = {
        "prompt": _prompt(models[0]),
        "max_tokens": max_tokens,
        "context": _CONTEXT,
        "limit_seconds": _LIMIT,
        "threads": list(threads or thread_counts()),
        "old": old,
    }
    try:
        return Site(models, plan, isolated, port)
    except OSError:
        return Site(models, plan, isolated)


def measure(models: Sequence[Path], **options: Any) -> Visit:
    """Measure models in a browser without a window; `options` are those of `open_site`.

    Progress goes to stderr. Raises `NotPossibleHere` without a browser, `FetchError` without
    wllama, and `ServerFailed` with the reason where the page does not get to its end.
    """
    with (
        open_site(models, **{"port": 0, **options}) as pages,
        chromium.opened(f"{pages.url}/measure.html") as browser,
    ):
        end = time.monotonic() + _PATIENCE
        said = 0
        while not (visits := reported(pages)):
            said = _say(pages, said)
            if browser.poll() is not None:
                raise ServerFailed("The browser ended before the page was done; try again.")
            if time.monotonic() > end:
                raise ServerFailed(f"The page was not done after {_PATIENCE:.0f} s.")
            time.sleep(0.1)
        _say(pages, said)
        return visits[-1]


def reported(pages: Site) -> list[Visit]:
    """Return what pages have measured to the end so far, whatever browser they were opened in.

    Raises `ServerFailed` with the page's own sentence where one could not go on.
    """
    done = [report for report in pages.reports if report.get("done")]
    for report in done:
        if report["problem"]:
            raise ServerFailed(f"The page could not go on: {report['problem']}")
    return [_visit(report, tuple(pages.requests)) for report in done]


def native(model: Path, threads: int, max_tokens: int = 32) -> Run:
    """Do natively what the page does with a model, with the same rules."""
    start = time.perf_counter()
    with engines.load(model, "llama_cpp", context=_CONTEXT, threads=threads) as engine:
        loaded = time.perf_counter() - start
        engine.generate("Hello", 8)
        answer = engine.generate(_messages(), max_tokens)
    return Run(
        model=model.name,
        backend=f"native, {threads} {'threads' if threads > 1 else 'thread'}",
        threads=threads,
        downloaded_bytes=0,
        load_seconds=loaded,
        prompt_tokens=answer.prompt_tokens,
        seconds_to_first_token=answer.seconds_to_first_token,
        new_tokens=answer.new_tokens,
        decode_tokens_per_second=answer.decode_tokens_per_second,
        text=answer.text,
    )


def as_measurements(runs: Sequence[Run], browser: str = "") -> list[Measurement]:
    """Return runs as labelled numbers; those without a `browser` ran natively.

    A run that was stopped did not count its prompt, so it has no prompt speed.
    """
    versions = {"wllama": wllama.VERSION, "browser": browser}
    versions = versions if browser else {"llama-cpp-python": installed_version("llama-cpp-python")}
    rows = []
    for run in runs:
        numbers = [
            ("load time", run.load_seconds, "s"),
            ("decode speed", run.decode_tokens_per_second, "tokens/s"),
        ]
        if run.prompt_tokens:
            numbers.insert(1, ("prompt speed", run.prompt_tokens_per_second, "tokens/s"))
        if browser:
            numbers.insert(0, ("downloaded", run.downloaded_bytes, "bytes"))
        for quantity, value, unit in numbers:
            row = measured(f"{run.type} · {run.backend}", quantity, value, unit, packages=())
            rows.append(replace(row, versions=row.versions | versions))
    return rows


def _messages() -> list[dict[str, str]]:
    return [{"role": "user", "content": QUESTION}]


def _prompt(model: Path) -> str:
    """Return the question in the model's own template, so that page and engine read the same."""
    with engines.load(model, "llama_cpp", context=_CONTEXT, threads=1) as engine:
        return engine.chat_prompt(_messages())


def _visit(report: dict[str, Any], requests: tuple[Request, ...]) -> Visit:
    names = [field.name for field in fields(Run)]
    return Visit(
        browser=report["browser"],
        cores=report["cores"],
        isolated=report["isolated"],
        webgpu=report["webgpu"],
        limits=report["limits"],
        runs=tuple(Run(**{name: run[name] for name in names}) for run in report["runs"]),
        old=tuple(report["old"]),
        requests=requests,
    )


def _say(pages: Site, said: int) -> int:
    """Print a line for each run that was reported since the last call."""
    runs = pages.reports[-1]["runs"] if pages.reports else []
    for run in runs[said:]:
        speed = run["decode_tokens_per_second"]
        print(f"{run['model']}: {run['backend']}, {speed:.1f} tokens/s", file=sys.stderr)
    return len(runs)
