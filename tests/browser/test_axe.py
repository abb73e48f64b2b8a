"""axe-core finds what the other tests here hope not to find."""

import axe
import pytest

BAD = """<!doctype html><html lang="en"><head><title>Bad</title></head><body><main><h1>Bad</h1>
<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">
<p style="color: #999; background: #888">Hard to read.</p></main></body></html>"""


def rules(violations):
    return [violation.partition(" ")[0] for violation in violations]


@pytest.mark.slow
def test_what_is_bad_is_found(page):
    page.set_content(BAD)
    assert sorted(rules(axe.violations(page))) == ["color-contrast", "image-alt"]


@pytest.mark.slow
def test_only_what_is_ours_is_looked_at(page):
    page.set_content(BAD)
    assert rules(axe.violations(page, ["p"])) == ["color-contrast"]
