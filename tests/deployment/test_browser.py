"""The site that brings a model into a web page, and the pages in a real browser."""

import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time

import psutil
import pytest

from slmlab.acquisition import npm
from slmlab.deployment import browser
from slmlab.deployment.browser import chromium, measuring, wllama
from slmlab.deployment.browser.measuring import Run
from slmlab.errors import NotPossibleHere, ServerFailed, VerificationError

MODEL = bytes(range(256)) * 10


# The site


@pytest.fixture
def package(tmp_path, monkeypatch):
    """wllama's place, with two files that only have its names."""
    folder = tmp_path / "package"
    (folder / "esm" / "wasm").mkdir(parents=True)
    (folder / "esm" / "index.js").write_text("export {};", "utf-8")
    (folder / "esm" / "wasm" / "wllama.wasm").write_bytes(b"\0asm")
    monkeypatch.setattr(wllama, "fetch", lambda: folder)
    return folder


@pytest.fixture
def site(package, tmp_path):
    model = tmp_path / "tiny-Q4_0.gguf"
    model.write_bytes(MODEL)
    (tmp_path / "secret.gguf").write_bytes(b"not offered")
    with browser.Site([model]) as running:
        yield running


def ask(site, path, method="GET", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
    connection.request(
        method, path, body, {name.replace("_", "-"): headers[name] for name in headers}
    )
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def tell(site, body, **headers):
    return ask(site, "/report", "POST", body, **{"Origin": site.url, **headers})[0].status


def test_a_page_gets_the_headers_that_threads_need_and_may_ask_nobody_else(site):
    answer, _ = ask(site, "/chat.html")
    assert answer.getheader("Cross-Origin-Opener-Policy") == "same-origin"
    assert answer.getheader("Cross-Origin-Embedder-Policy") == "require-corp"
    policy = answer.getheader("Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "script-src 'self' 'wasm-unsafe-eval';" in policy
    assert "data:" not in policy
    assert "http" not in policy and "*" not in policy


def test_a_site_that_is_not_isolated_lacks_only_those_two(package):
    with browser.Site([], isolated=False) as site:
        answer, _ = ask(site, "/chat.html")
    assert answer.getheader("Cross-Origin-Opener-Policy") is None
    assert answer.getheader("Cross-Origin-Embedder-Policy") is None
    assert answer.getheader("Content-Security-Policy")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/chat.html", "text/html; charset=utf-8"),
        ("/chat.js", "text/javascript; charset=utf-8"),
        ("/style.css", "text/css; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
        ("/plan.json", "application/json"),
        ("/wllama/index.js", "text/javascript; charset=utf-8"),
        ("/wllama/wllama.wasm", "application/wasm"),
        ("/models/tiny-Q4_0.gguf?v=1", "application/octet-stream"),
    ],
)
def test_each_file_says_what_it_is(site, path, kind):
    answer, content = ask(site, path)
    assert (answer.status, answer.getheader("Content-Type")) == (200, kind)
    assert int(answer.getheader("Content-Length")) == len(content)


@pytest.mark.parametrize(
    "path",
    [
        "/models/secret.gguf",
        "/models/../secret.gguf",
        "/models/%2e%2e/secret.gguf",
        "/models/..%2fsecret.gguf",
        "/../site.py",
        "/%2e%2e/site.py",
        "//etc/passwd",
        "/etc/passwd",
        "/wllama/../package.json",
        "/models/",
    ],
)
def test_only_what_is_offered_can_be_had(site, path):
    answer, content = ask(site, path)
    assert (answer.status, content) == (404, b"")


@pytest.mark.parametrize(
    ("span", "status", "content", "says"),
    [
        ("bytes=0-9", 206, MODEL[:10], "bytes 0-9/2560"),
        ("bytes=2550-", 206, MODEL[2550:], "bytes 2550-2559/2560"),
        ("bytes=-5", 206, MODEL[-5:], "bytes 2555-2559/2560"),
        ("bytes=2550-9999", 206, MODEL[2550:], "bytes 2550-2559/2560"),
        ("bytes=2560-", 416, b"", "bytes */2560"),
        ("bytes=-0", 416, b"", "bytes */2560"),
        ("bytes=9-3", 200, MODEL, None),
        ("bytes=" + "9" * 5000, 200, MODEL, None),
        ("lines=1-2", 200, MODEL, None),
        ("", 200, MODEL, None),
    ],
)
def test_a_part_of_a_model_can_be_asked_for(site, span, status, content, says):
    answer, came = ask(site, "/models/tiny-Q4_0.gguf", Range=span)
    assert (answer.status, came, answer.getheader("Content-Range")) == (status, content, says)


def test_the_head_of_a_model_is_its_size_without_its_bytes(site):
    answer, content = ask(site, "/models/tiny-Q4_0.gguf", "HEAD")
    assert (answer.getheader("Content-Length"), content) == (str(len(MODEL)), b"")
    assert site.sent("/models/") == 0


def test_it_counts_what_went_out(site):
    ask(site, "/models/tiny-Q4_0.gguf")
    ask(site, "/models/tiny-Q4_0.gguf", Range="bytes=0-99")
    deadline = time.monotonic() + 10
    while len(site.requests) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)  # a request is noted just after its last byte has gone
    assert site.sent("/models/") == len(MODEL) + 100
    assert [(one.method, one.status) for one in site.requests] == [("GET", 200), ("GET", 206)]


def test_a_model_that_has_gone_is_said_to_be_missing(site, tmp_path):
    (tmp_path / "tiny-Q4_0.gguf").unlink()
    assert ask(site, "/models/tiny-Q4_0.gguf")[0].status == 404


def test_it_listens_on_this_machine_only(site):
    listening = [one for one in psutil.Process().net_connections() if one.status == "LISTEN"]
    assert {one.laddr.ip for one in listening if one.laddr.port == site.port} == {"127.0.0.1"}


def test_another_name_for_this_machine_is_refused(site):
    assert ask(site, "/chat.html", Host=f"evil.example:{site.port}")[0].status == 403
    assert tell(site, "{}", Host=f"evil.example:{site.port}") == 403


def test_a_report_of_its_own_page_is_kept(site):
    assert tell(site, '{"done": true}') == 204
    assert site.reports == [{"done": True}]


def test_any_other_report_is_refused_and_the_site_goes_on(site):
    assert tell(site, "{}", Origin="http://evil.example") == 403
    assert ask(site, "/report", "POST", "{}")[0].status == 403
    assert tell(site, "{not json") == 400
    assert tell(site, "[1]") == 400
    assert tell(site, b"", Content_Length=str(10**9)) == 413
    assert ask(site, "/elsewhere", "POST", "{}", Origin=site.url)[0].status == 404
    assert ask(site, "/chat.html", "DELETE")[0].status == 501
    assert site.reports == []
    assert tell(site, "{}") == 204


def test_the_plan_names_the_models_and_a_changed_file_has_another_address(site, tmp_path):
    [before] = json.loads(ask(site, "/plan.json")[1])["models"]
    assert (before["name"], before["bytes"]) == ("tiny-Q4_0.gguf", len(MODEL))
    os.utime(tmp_path / "tiny-Q4_0.gguf", (1, 1))
    with browser.Site([tmp_path / "tiny-Q4_0.gguf"]) as again:
        [after] = json.loads(ask(again, "/plan.json")[1])["models"]
    assert after["url"] != before["url"]


def test_a_closed_site_answers_nobody_not_even_who_was_connected(package):
    site = browser.Site([])
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)
    connection.request("GET", "/style.css")
    assert connection.getresponse().read()
    site.close()
    with pytest.raises(ConnectionRefusedError):
        ask(site, "/chat.html")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        connection.request("GET", "/style.css")
        connection.getresponse()


def test_a_site_to_look_at_has_the_same_port_where_it_is_free(package, tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "_prompt", lambda _: "")
    model = tmp_path / "tiny-Q4_0.gguf"
    model.write_bytes(MODEL)
    with browser.Site([]) as free:
        port = free.port
    with browser.open_site([model], port=port) as first:
        assert first.port == port
        with browser.open_site([model], port=port) as second:
            assert second.port != port
            assert ask(second, "/chat.html")[0].status == 200
    with browser.open_site([model], port=port) as again:
        assert again.port == port


# wllama's package


def a_package(**files):
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, text in files.items():
            about = tarfile.TarInfo(f"package/{name}")
            about.size = len(text)
            archive.addfile(about, io.BytesIO(text.encode()))
    return made.getvalue()


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SLMLAB_CACHE", str(tmp_path))
    return tmp_path


def test_the_package_is_fetched_once_and_kept(own_cache, monkeypatch):
    asked = []

    def download(*package):
        asked.append(package)
        return a_package(**{"esm.js": "export {};"})

    monkeypatch.setattr(npm, "download", download)
    folder = wllama.fetch()
    assert wllama.fetch() == folder
    assert (folder / "esm.js").read_text("utf-8") == "export {};"
    assert asked == [("@wllama/wllama", wllama.VERSION, wllama.INTEGRITY)]


def test_of_a_package_that_is_refused_nothing_is_kept(own_cache, monkeypatch):
    def download(*_):
        raise VerificationError("It is not the one that is pinned here.")

    monkeypatch.setattr(npm, "download", download)
    with pytest.raises(VerificationError, match="pinned"):
        wllama.fetch()
    assert [path for path in own_cache.glob("*wllama*") if path.suffix != ".lock"] == []


# The browser


def test_the_browser_is_the_one_that_is_named(tmp_path, monkeypatch):
    program = tmp_path / "mine"
    program.write_text("", "utf-8")
    program.chmod(0o755)
    monkeypatch.setenv(chromium.VARIABLE, str(program))
    assert chromium.find() == program


def test_a_name_that_leads_nowhere_is_said(monkeypatch):
    monkeypatch.setenv(chromium.VARIABLE, "/nowhere/chrome")
    assert "/nowhere/chrome" in chromium.why_not()
    with (
        pytest.raises(NotPossibleHere, match="no such program"),
        chromium.opened("http://127.0.0.1"),
    ):
        pass


def test_without_any_browser_it_says_what_to_install(monkeypatch):
    monkeypatch.delenv(chromium.VARIABLE, raising=False)
    monkeypatch.setattr(chromium.shutil, "which", lambda _: None)
    monkeypatch.setattr(chromium, "_elsewhere", lambda: iter(()))
    assert "install Chromium, Chrome or Edge" in chromium.why_not()


def test_profiles_of_killed_processes_go_and_those_of_running_ones_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(chromium.tempfile, "gettempdir", lambda: str(tmp_path))
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    mine = tmp_path / f"slmlab-browser-{os.getpid()}-abc"
    left = tmp_path / f"slmlab-browser-{killed.pid}-abc"
    mine.mkdir()
    left.mkdir()
    chromium._remove_leftovers()
    assert (mine.exists(), left.exists()) == (True, False)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="Windows has no root")
@pytest.mark.parametrize(("user", "without"), [(0, True), (1000, False)])
def test_only_root_goes_without_the_sandbox(monkeypatch, user, without):
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert ("--no-sandbox" in chromium.options()) == without


# The pages, in a real browser


def a_run(**changes):
    known = {"model": "tiny-Q4_0.gguf", "backend": "WebAssembly, 1 thread", "threads": 1}
    numbers = {"downloaded_bytes": 10, "load_seconds": 2.0}
    numbers |= {"prompt_tokens": 40, "seconds_to_first_token": 4.0, "new_tokens": 8}
    rest = {"decode_tokens_per_second": 9.0, "text": "x"}
    return Run(**{**known, **numbers, **rest, **changes})


def test_a_run_becomes_numbers_that_name_browser_and_version():
    rows = browser.as_measurements([a_run()], browser="Chromium 1.2")
    found = {row.quantity: (row.value, row.unit) for row in rows}
    assert found == {
        "downloaded": (10, "bytes"),
        "load time": (2.0, "s"),
        "prompt speed": (10.0, "tokens/s"),
        "decode speed": (9.0, "tokens/s"),
    }
    assert {row.subject for row in rows} == {"Q4_0 · WebAssembly, 1 thread"}
    assert rows[0].versions["browser"] == "Chromium 1.2"
    assert rows[0].versions["wllama"] == wllama.VERSION


def test_a_run_that_did_not_count_its_prompt_has_no_prompt_speed():
    rows = browser.as_measurements([a_run(prompt_tokens=0)], browser="Chromium 1.2")
    assert [row.quantity for row in rows] == ["downloaded", "load time", "decode speed"]


@pytest.fixture(scope="session")
def q4(smollm2):
    from slmlab.quantization import quantize

    return quantize(smollm2, ["Q4_0"])[0].path


@pytest.fixture(scope="session")
def real_browser():
    """The browser, or a skip that says why there is none."""
    if reason := browser.why_not():
        pytest.skip(reason)
    return chromium.find()


@pytest.fixture(scope="module")
def playwright_browser(real_browser):
    sync_api = pytest.importorskip("playwright.sync_api")
    options = [option for option in chromium.options() if "headless" not in option]
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(real_browser), args=options)
        yield running
        running.close()


@pytest.fixture
def chat_site(q4):
    with browser.Site([q4], {"threads": [1]}) as running:
        yield running


@pytest.fixture
def page(playwright_browser, chat_site):
    """The chat page, untouched; it must end without an error and without a stray request."""
    grants = ["clipboard-read", "clipboard-write"]
    context = playwright_browser.new_context(permissions=grants)
    opened = context.new_page()
    opened.set_default_timeout(120_000)
    errors, requests = [], []
    opened.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    opened.on("pageerror", lambda error: errors.append(str(error)))
    context.on("request", lambda request: requests.append(request.url))
    opened.goto(chat_site.url)
    opened.wait_for_selector("#load:focus")
    yield opened
    context.close()
    assert errors == []
    ours = (chat_site.url, f"blob:{chat_site.url}")
    assert [url for url in requests if not url.startswith(ours)] == []


def until(page, expression, seconds=90):
    """Wait until an expression is true; the page bars playwright's own way, which is an eval."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def is_loaded(page):
    page.wait_for_selector("#asking:not([hidden])")


def wait_for_answer(page, count=1):
    until(page, f"document.querySelectorAll('.below').length === {count}")


@pytest.mark.slow
def test_loading_shows_bytes_and_percent_and_can_be_cancelled(page, chat_site):
    page.keyboard.press("Enter")
    bar = page.locator("#progress")
    until(page, "document.getElementById('progress').ariaValueNow > 0")
    assert re.fullmatch(r"[\d.]+ MB of 91\.7 MB, \d+ %", bar.get_attribute("aria-valuetext"))
    page.keyboard.press("Escape")
    page.wait_for_selector("#load:focus")
    assert page.locator("#asking").is_hidden()
    page.keyboard.press("Enter")
    is_loaded(page)
    assert page.locator("#question").evaluate("it => it === document.activeElement")
    assert "WebAssembly, 1 thread" in page.inner_text("#about")
    assert page.evaluate("crossOriginIsolated")


@pytest.mark.slow
def test_a_conversation_with_the_keyboard_alone(page):
    page.keyboard.press("Enter")
    is_loaded(page)
    page.keyboard.type("Tell me a long story")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("about a fox.")
    assert page.input_value("#question") == "Tell me a long story\nabout a fox."
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('.text')[1]?.textContent.length > 5")
    page.keyboard.press("Escape")
    wait_for_answer(page)
    assert "stopped" in page.inner_text(".below")
    assert "tokens/s" in page.inner_text(".below")
    stopped_at = page.inner_text("li:last-child .text")
    page.wait_for_timeout(1500)
    assert page.inner_text("li:last-child .text") == stopped_at

    page.keyboard.press("Shift+Tab")  # out of the question, back to the answer's button
    assert page.evaluate("document.activeElement.textContent") == "Copy"
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Copied")
    assert page.evaluate("navigator.clipboard.readText()") == stopped_at

    page.focus("#question")
    page.keyboard.type("What is the capital of France?")
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('.text')[3]?.textContent.includes('Paris')")
    page.keyboard.press("Escape")
    wait_for_answer(page, 2)
    page.focus("#clear")
    page.keyboard.press("Enter")
    assert page.inner_text("#conversation") == ""
    assert page.evaluate("document.activeElement.id") == "question"


def load_and_begin_a_long_answer(page):
    page.keyboard.press("Enter")
    is_loaded(page)
    page.keyboard.type("Tell me a long story about a fox.")
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('.text')[1]?.textContent.length > 5")


@pytest.mark.slow
def test_a_question_while_an_answer_runs_is_told_to_wait_or_sent_when_it_has_stopped(page):
    load_and_begin_a_long_answer(page)
    page.keyboard.type("What is the capital of France?")
    page.keyboard.press("Enter")
    assert page.inner_text("#status") == "The model is still answering; Escape stops it."
    assert page.input_value("#question") == "What is the capital of France?"
    page.evaluate(
        """() => {
            const send = (key) => document.getElementById('question').dispatchEvent(
                new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
            send('Escape');
            send('Enter');
        }"""
    )
    until(page, "document.querySelectorAll('.text')[2]?.textContent.includes('France')")
    assert page.input_value("#question") == ""
    until(page, "document.querySelectorAll('.text')[3]?.textContent.includes('Paris')")
    page.keyboard.press("Escape")
    wait_for_answer(page, 2)


@pytest.mark.slow
def test_another_model_can_be_loaded_while_the_first_still_answers(page):
    load_and_begin_a_long_answer(page)
    page.focus("#change")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "model"
    assert page.locator("#asking").is_hidden()
    assert page.inner_text("#about").startswith("The model runs in this tab")
    until(page, "!document.getElementById('load').disabled")
    page.focus("#load")
    page.keyboard.press("Enter")
    is_loaded(page)
    assert page.locator("#conversation li").count() == 0
    page.keyboard.type("What is the capital of France?")
    page.keyboard.press("Enter")
    until(page, "document.querySelectorAll('.text')[1]?.textContent.includes('Paris')")
    page.keyboard.press("Escape")
    wait_for_answer(page)


STORED = """async () => {
    const home = await navigator.storage.getDirectory();
    return (await Array.fromAsync(home.keys())).includes('cache');
}"""


@pytest.mark.slow
def test_stored_models_can_be_deleted_and_come_again(page, chat_site, q4):
    page.keyboard.press("Enter")
    is_loaded(page)
    assert page.evaluate(STORED)
    page.click("#change")
    for said in ("The stored models were deleted.", "No model was stored."):
        page.focus("#forget")
        page.keyboard.press("Enter")
        page.wait_for_selector(f"#status:has-text('{said}')")
        assert not page.evaluate(STORED)
    page.click("#load")
    is_loaded(page)
    assert chat_site.sent("/models/") == 2 * q4.stat().st_size


@pytest.mark.slow
def test_the_conversation_is_a_log_that_the_keyboard_can_scroll(page):
    page.keyboard.press("Enter")
    is_loaded(page)
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("document.activeElement.role") == "log"
    assert page.evaluate("getComputedStyle(document.activeElement).overflowY") == "auto"


@pytest.mark.slow
def test_what_goes_wrong_is_said_in_a_sentence(page):
    page.keyboard.press("Enter")
    is_loaded(page)
    page.fill("#question", "word " * 2500)
    page.keyboard.press("Enter")
    page.wait_for_selector("#problem:not([hidden])")
    assert "longer than the model" in page.inner_text("#problem")
    assert page.input_value("#question").startswith("word word")


@pytest.mark.slow
def test_the_page_can_ask_nobody_else(playwright_browser, chat_site):
    page = playwright_browser.new_page()
    page.goto(chat_site.url)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"http://127.0.0.1:{other.getsockname()[1]}"
        script = f"fetch('{address}', {{mode: 'no-cors'}}).then(() => 'came', it => it.name)"
        with page.expect_console_message(lambda said: "Content Security Policy" in said.text):
            assert page.evaluate(script) == "TypeError"
        page.close()
        other.settimeout(0.2)
        with pytest.raises(TimeoutError):
            other.accept()


@pytest.mark.slow
def test_a_missing_model_and_a_site_that_ended_are_said(playwright_browser, tmp_path):
    model = tmp_path / "gone-Q4_0.gguf"
    model.write_bytes(MODEL)
    site = browser.Site([model])
    page = playwright_browser.new_page()
    page.goto(site.url)
    page.click("#load")
    page.wait_for_selector("#problem:not([hidden])")
    assert "damaged, or not a model" in page.inner_text("#problem")
    model.unlink()
    page.reload()
    page.evaluate(
        "navigator.storage.getDirectory().then(it => it.removeEntry('cache', {recursive: true}))"
    )
    page.click("#load")
    page.wait_for_selector("#problem:not([hidden])")
    assert "The model is not there (404)" in page.inner_text("#problem")
    site.close()
    page.click("#load")
    until(page, "document.getElementById('problem').textContent.includes('not answer')")
    page.close()


@pytest.mark.slow
def test_the_page_measures_what_the_native_engine_does_too(real_browser, q4):
    visit = browser.measure([q4], max_tokens=6, threads=[1], old=True)
    [run] = visit.runs
    native = browser.native(q4, threads=1, max_tokens=6)
    assert visit.isolated
    assert (run.type, run.threads, run.backend) == ("Q4_0", 1, "WebAssembly, 1 thread")
    assert run.downloaded_bytes == q4.stat().st_size
    assert (run.prompt_tokens, run.new_tokens) == (native.prompt_tokens, native.new_tokens)
    assert run.text == native.text
    assert run.decode_tokens_per_second > 0
    assert visit.limits["memory32_bytes"] <= 2**32
    assert len(visit.old) == 3 and not any(one["came"].startswith("worked") for one in visit.old)
    assert {one.status for one in visit.requests} == {200, 204}


@pytest.mark.slow
def test_two_threads_compute_under_the_policy(real_browser, q4):
    visit = browser.measure([q4], max_tokens=2, threads=[2])
    assert (visit.isolated, visit.runs[0].threads) == (True, 2)


@pytest.mark.slow
def test_a_model_that_writes_nothing_in_time_is_said(real_browser, q4, monkeypatch):
    monkeypatch.setattr(measuring, "_LIMIT", 0.001)
    with pytest.raises(ServerFailed, match=r"wrote too little to measure in 0.001 s"):
        browser.measure([q4], threads=[1])


@pytest.mark.slow
def test_without_isolation_two_threads_become_one(real_browser, q4):
    visit = browser.measure([q4], max_tokens=2, threads=[2], isolated=False)
    assert (visit.isolated, visit.runs[0].threads) == (False, 1)


_OPEN = """
import sys, time
from slmlab.deployment.browser import Site, chromium
site = Site([])
with chromium.opened(site.url):
    while not site.requests:
        time.sleep(0.05)
    print(site.port, flush=True)
    time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no kill -9")
def test_nothing_is_left_where_the_kernel_is_killed(real_browser):
    kernel = subprocess.Popen([sys.executable, "-c", _OPEN], stdout=subprocess.PIPE, text=True)
    address = f"http://127.0.0.1:{kernel.stdout.readline().strip()}"
    assert browsers_at(address)
    os.kill(kernel.pid, signal.SIGKILL)
    kernel.wait()
    end = time.monotonic() + 10
    while browsers_at(address) and time.monotonic() < end:
        time.sleep(0.2)
    assert browsers_at(address) == []


def browsers_at(address):
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if address in (process.info["cmdline"] or []):
            found.append(process)
    return found
