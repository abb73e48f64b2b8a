"""A real browser, and which labs it goes through."""

from collections.abc import Iterator

import pytest

from slmlab.deployment.browser import chromium
from slmlab.notebooks.labs import all_labs

PATIENCE = 600_000  # milliseconds


def pytest_addoption(parser):
    parser.addoption("--all-labs", action="store_true", help="go through every lab, not only 00")


def pytest_ignore_collect(collection_path, config):
    """Leave the widgets, which take minutes, to the run through all labs."""
    if "widgets" in collection_path.name and not config.getoption("--all-labs", default=False):
        return True


def pytest_generate_tests(metafunc):
    if "visit" in metafunc.fixturenames:
        labs = all_labs()
        if not metafunc.config.getoption("--all-labs", default=False):
            labs = labs[:1]
        metafunc.parametrize("visit", labs, indirect=True, scope="module", ids=lambda it: it.name)


@pytest.fixture(scope="module")
def real_browser() -> Iterator:
    """Chromium, driven by playwright; or a skip that says why there is none."""
    if reason := chromium.why_not():
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    options = [option for option in chromium.options() if "headless" not in option]
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(chromium.find()), args=options)
        yield running
        running.close()


@pytest.fixture
def page(real_browser) -> Iterator:
    """An empty page in which axe-core may run: our own pages allow no script but theirs."""
    context = real_browser.new_context(bypass_csp=True)
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE)
    yield opened
    context.close()
