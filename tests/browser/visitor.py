"""A learner at JupyterLab, in a real browser: opens a lab, runs its cells, types answers."""

import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat

from slmlab.deployment.server import free_port, is_taken
from slmlab.environments.guarded import guarded
from slmlab.notebooks.labs import Lab

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Locator, Page

PICTURES = Path(__file__).parents[2] / "build" / "browser"
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}

_PATIENCE = 600_000  # milliseconds, for what JupyterLab does by itself
_SETTINGS = {
    "apputils-extension/notification": {"checkForUpdates": False, "fetchNews": "false"},
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is in the page
}
_CONFIGURATION = (
    "--no-browser",
    "--ServerApp.ip=127.0.0.1",
    "--ServerApp.port_retries=0",
    "--ServerApp.allow_root=True",
    "--LabApp.extension_manager=readonly",
    "--LabApp.expose_app_in_browser=True",
)
_READY = """async () => {
    const context = jupyterapp.shell.currentWidget.sessionContext;
    await context.ready;
    await context.session.kernel.info;
}"""
_FINISHED = r"""([cell, before]) => {
    if (document.querySelector('.jp-Dialog')) return true;
    const prompt = cell.querySelector('.jp-InputPrompt').textContent;
    return /\[\d+\]/.test(prompt) && prompt !== before;
}"""


@dataclass(frozen=True)
class Jupyter:
    """A running JupyterLab: its address, its token, and its folder, where the labs are."""

    url: str
    token: str
    folder: Path


@contextmanager
def jupyterlab(home: Path) -> Iterator[Jupyter]:
    """Run a JupyterLab that keeps its settings, its labs and the progress in a folder."""
    folder, port, token = home / "labs", free_port(), secrets.token_hex()
    folder.mkdir()
    _write_settings(home)
    command = [sys.executable, "-m", "jupyterlab", *_CONFIGURATION, f"--ServerApp.port={port}"]
    command.append(f"--ServerApp.root_dir={folder}")
    env = _own(home) | {"JUPYTER_TOKEN": token}
    log = home / "jupyter.log"
    with (
        log.open("w", encoding="utf-8") as remarks,
        guarded(command, env, home, stderr=remarks, stdout=remarks) as process,
    ):
        while not is_taken(port):
            assert process.poll() is None, log.read_text("utf-8")
            time.sleep(0.2)
        yield Jupyter(f"http://127.0.0.1:{port}", token, folder)


class Notebook:
    """One lab, open in JupyterLab."""

    def __init__(self, page: "Page", jupyter: Jupyter, lab: Lab) -> None:
        """Open a fresh copy of the lab and wait for its kernel."""
        self.page = page
        self.path = jupyter.folder / lab.path.name
        self.console: list[str] = []
        self._patience = 4 * 1000 * lab.time_limit_seconds
        shutil.copyfile(lab.path, self.path)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.set_default_timeout(_PATIENCE)
        page.goto(f"{jupyter.url}/lab/tree/{lab.path.name}?reset&token={jupyter.token}")
        page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]")
        page.evaluate(_READY)  # a cell that runs before its kernel has said hello is forgotten
        page.keyboard.press("Control+b")  # the side bar takes room away
        self.cell(0).click()
        page.keyboard.press("Escape")

    def cell(self, index: int) -> "Locator":
        """Return one cell of the notebook as it is in the page."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def run(self, index: int) -> None:
        """Run the selected cell, which must be this one, and wait until it has finished."""
        cell = self.cell(index)
        assert "jp-mod-selected" in cell.get_attribute("class"), f"cell {index} is not selected"
        is_code = "jp-CodeCell" in cell.get_attribute("class")
        before = cell.locator(".jp-InputPrompt").text_content() if is_code else ""
        self.page.keyboard.press("Shift+Enter")
        if is_code:
            state = [cell.element_handle(), before]
            self.page.wait_for_function(_FINISHED, arg=state, timeout=self._patience)
        for said in self.page.locator(".jp-Dialog").all_inner_texts():
            raise AssertionError(f"After cell {index}, JupyterLab says: {said}")

    def answer(self, index: int, code: str) -> None:
        """Replace what is in an answer cell by typing, and run it."""
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Control+a")
        self.page.keyboard.insert_text(code)
        self.run(index)

    def again(self, index: int) -> str:
        """Go to a cell, run it once more, and return what it shows."""
        self.cell(index).locator(".cm-content").click()
        self.run(index)
        return self.shown(index)

    def shown(self, index: int) -> str:
        """Return the text below a cell."""
        return "\n".join(self.cell(index).locator(".jp-OutputArea-output").all_inner_texts())

    def use_widget(self, index: int) -> tuple[str, str]:
        """Use one control of the widget below a cell, with the keyboard alone.

        Return the HTML of its view before and after.
        """
        panel = self.cell(index).locator(".jp-OutputArea-output > .widget-vbox")
        view = panel.locator("> .jp-RenderedHTMLCommon")
        before = view.inner_html()
        if panel.locator("textarea").count():
            panel.locator("textarea").focus()
            self.page.keyboard.type("Which planet is the largest?")
            keys = ("Tab", "Enter")
        else:
            choice = panel.locator("select").first
            choice.focus()
            is_last = choice.evaluate("it => it.selectedIndex === it.length - 1")
            keys = ("Space", "ArrowUp" if is_last else "ArrowDown", "Enter")
        for key in keys:
            self.page.keyboard.press(key)
        state = [view.element_handle(), before]
        changed = "([view, before]) => view.innerHTML !== before"
        self.page.wait_for_function(changed, arg=state, timeout=self._patience)
        for button in panel.locator("button").all()[:1]:  # while a model writes it cannot be used
            button.click(trial=True, timeout=self._patience)
        return before, view.inner_html()

    def save(self) -> nbformat.NotebookNode:
        """Save the notebook and return it."""
        self._command("docmanager:save")
        return nbformat.read(self.path, as_version=4)

    def show_in(self, theme: str) -> None:
        """Change JupyterLab's theme."""
        self._command("apputils:change-theme", theme=THEMES[theme])
        chosen = f"body[data-jp-theme-name='{THEMES[theme]}']"
        self.page.wait_for_selector(chosen, state="attached")  # the body itself has no height

    def photograph(self, name: str) -> int:
        """Write the notebook as pictures, from its top to its end; return how many."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        for old in PICTURES.glob(f"{name}-*.png"):
            old.unlink()
        panel = self.page.locator(".jp-Notebook .jp-WindowedPanel-outer")
        height = panel.locator(".jp-WindowedPanel-inner").evaluate("it => it.scrollHeight")
        tops = range(0, height, panel.evaluate("it => it.clientHeight"))
        for number, top in enumerate(tops):
            panel.evaluate("(it, top) => { it.scrollTop = top }", top)
            self.page.wait_for_timeout(300)
            self.page.screenshot(path=PICTURES / f"{name}-{number:02}.png")
        return len(tops)

    def close(self) -> None:
        """End the kernel, so that the next lab has the memory."""
        self.page.evaluate("jupyterapp.serviceManager.sessions.shutdownAll()")
        self.page.close()

    def _command(self, name: str, **arguments: str) -> None:
        """Give JupyterLab a command, and wait until it is done."""
        command = "async ([name, given]) => { await jupyterapp.commands.execute(name, given) }"
        self.page.evaluate(command, [name, arguments])

    def _hear(self, said: "ConsoleMessage") -> None:
        if said.type == "error":
            self.console.append(said.text)


def _own(home: Path) -> dict[str, str]:
    """Return an environment in which nothing of this user's Jupyter and progress is touched."""
    places = {
        "IPYTHONDIR": home / "ipython",
        "JUPYTER_CONFIG_DIR": home / "config",
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "JUPYTERLAB_SETTINGS_DIR": home / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        "SLMLAB_PROGRESS": home / "progress.json",
    }
    return os.environ | {name: str(place) for name, place in places.items()}


def _write_settings(home: Path) -> None:
    for name, values in _SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values), "utf-8")
