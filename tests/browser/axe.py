"""axe-core, which looks for barriers to accessibility in a page: fetched once, then kept.

Run as a script, it is fetched and its path printed.
"""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slmlab.acquisition import npm
from slmlab.files import cache_path, locked, whole

if TYPE_CHECKING:
    from playwright.sync_api import Page

VERSION = "4.14.1"
INTEGRITY = (
    "sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASy"
    "FNNtuFooJpZe37OgudVGtQ=="
)
"""What npm's own lock files would say of the package of this version."""

_RUN = """async scope => {
    const found = await axe.run(scope ?? document, { resultTypes: ['violations'] });
    return found.violations
        .filter(rule => ['serious', 'critical'].includes(rule.impact))
        .flatMap(rule => rule.nodes.map(node =>
            `${rule.id} (${rule.impact}): ${node.target} ${node.html.slice(0, 200)}: ` +
            node.failureSummary.replaceAll(/\\s+/g, ' ')));
}"""

_SETTLED = """async () => {
    await new Promise(requestAnimationFrame);
    const fading = document.getAnimations().filter(it => it instanceof CSSTransition);
    await Promise.allSettled(fading.map(it => it.finished));
}"""


def fetch() -> Path:
    """Return axe-core's script, fetched once (0.7 MB) and then kept in the cache.

    Raises `FetchError` where no registry can be reached, and `VerificationError` where it gives
    another package.
    """
    script = cache_path(f"axe-core-{VERSION}.min.js")
    with locked(script):
        if not script.is_file():
            source = _script_in(npm.download("axe-core", VERSION, INTEGRITY))
            with whole(script) as aside:
                aside.write_bytes(source)
    return script


def _script_in(package: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        return archive.extractfile("package/axe.min.js").read()


def violations(page: "Page", within: Sequence[str] | None = None) -> list[str]:
    """Return each serious or critical violation in a page, or in what these selectors find."""
    page.evaluate(fetch().read_text("utf-8"))
    return page.evaluate(_RUN, {"include": within} if within else None)


def violations_in_light_and_dark(page: "Page") -> list[str]:
    """Return the violations in a page that follows the browser's light or dark scheme."""
    found = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.evaluate(_SETTLED)  # no colours on their way from one scheme to the other
        found += [f"{scheme}: {violation}" for violation in violations(page)]
    return found


if __name__ == "__main__":
    print(fetch())
