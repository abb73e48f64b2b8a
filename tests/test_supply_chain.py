"""What the course is made of is known: its licences, its hashes, its list, its vulnerabilities."""

import importlib.util
import json
import re
import subprocess
import sysconfig
import tomllib
from pathlib import Path

import pytest

from slmlab.acquisition import llama_cpp_source
from slmlab.deployment.browser import wllama
from slmlab.environments import NAMES, lock
from slmlab.files import data_path, sha256
from slmlab.tiers import cards

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
DATA = data_path()
LICENCES = tomllib.loads(data_path("licences.toml").read_text("utf-8"))
FIXED = {entry["path"]: entry for entry in LICENCES["fixed"]}
WRITTEN = [path for entry in LICENCES["written"] for path in entry["paths"]]


def script(path: str):
    """Import one of the programs that make runs."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


AUDIT = script("tests/audit.py")


class TestData:
    def test_every_file_has_a_licence(self):
        written = {path for pattern in WRITTEN for path in DATA.glob(pattern)}
        files = {path for path in DATA.rglob("*") if path.is_file() and path.suffix != ".pyc"}
        assert files - written <= {DATA / path for path in FIXED}

    @pytest.mark.parametrize("path", FIXED)
    def test_what_must_not_change_is_what_it_was(self, path):
        assert sha256(DATA / path) == FIXED[path]["sha256"]
        assert FIXED[path]["licence"] and FIXED[path]["source"]

    def test_every_text_and_every_trained_model_must_not_change(self):
        texts = {f"texts/{path.name}" for path in data_path("texts").glob("*.txt")}
        trained = {f"bitnet/{path.name}" for path in data_path("bitnet").glob("*.safetensors")}
        assert texts | trained <= FIXED.keys()

    def test_licences_are_named_as_spdx_names_them(self):
        from packaging.licenses import canonicalize_license_expression

        for entry in [*LICENCES["fixed"], *LICENCES["written"]]:
            assert canonicalize_license_expression(entry["licence"]) == entry["licence"]


class TestDownloads:
    def test_every_model_has_a_licence(self):
        for card in cards().values():
            assert card.licence, card.name

    def test_every_model_that_can_be_fetched_has_the_hash_of_its_file(self):
        for card in cards().values():
            if card.gguf_file or card.wheels:
                assert re.fullmatch(r"[0-9a-f]{64}", card.sha256), card.name

    def test_a_model_in_a_package_has_the_version_of_each_package(self):
        for card in cards().values():
            assert all(re.fullmatch(r"[\w-]+==[\d.]+", wheel) for wheel in card.wheels)

    def test_the_source_of_llama_cpp_is_the_one_in_the_lock(self):
        (pin,) = (pin for pin in lock.pins(LOCK) if pin.name == llama_cpp_source.PACKAGE)
        assert f"--hash=sha256:{llama_cpp_source.SHA256[pin.version]}" in pin.hashes

    def test_packages_of_npm_have_their_integrity(self):
        for package in (wllama, script("tests/browser/axe.py")):
            assert re.fullmatch(r"sha512-[\w+/]{86}==", package.INTEGRITY)


def test_every_lock_has_a_bill_of_materials_and_an_audit():
    environments = re.search(r"^ENVIRONMENTS := (.+)$", MAKEFILE, re.M)[1].split()
    (names,) = re.findall(r"^LOCKS := (.+)$", MAKEFILE, re.M)
    every = {f"slmlab/environments/{name}.txt" for name in environments}
    every |= set(re.findall(r"[\w-]+\.lock", names))
    assert every == {path.relative_to(ROOT).as_posix() for path in AUDIT.LOCKS}
    assert {"requirements.lock", "requirements-test.lock"} < every
    assert set(environments) == set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("path", AUDIT.LOCKS, ids=lambda path: path.name)
def test_bill_of_materials_has_every_package_with_its_hashes(path, tmp_path):
    made = tmp_path / "sbom.json"
    options = re.search(r"^SBOM := (.+)$", MAKEFILE, re.M)[1]
    program = Path(sysconfig.get_path("scripts"), "cyclonedx-py")
    command = [program, "requirements", path, *options.split(), "-o", made]
    subprocess.run(command, cwd=ROOT, check=True)
    bill = json.loads(made.read_text("utf-8"))
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "slmlab")
    listed = {}
    for part in bill["components"]:
        (source,) = part["externalReferences"]
        hashes = {f"--hash=sha256:{each['content']}" for each in source["hashes"]}
        listed[f"{part['name']}=={part['version']}"] = hashes
    pins = lock.pins(path)
    assert listed == {f"{pin.name}=={pin.version}": set(pin.hashes.split()) for pin in pins}


class TestVulnerabilities:
    def found(self, identity: str, *aliases: str, missing: int = 0) -> str:
        known = {"id": identity, "aliases": aliases, "fix_versions": ["2.1"]}
        packages = [
            {"name": "one", "version": "2.0", "vulns": [known]},
            {"name": "two", "version": "1.0", "vulns": []},
            *({"name": f"m{n}", "skip_reason": "not there"} for n in range(missing)),
        ]
        return json.dumps({"dependencies": packages, "fixes": []})

    def test_a_known_one_fails(self):
        assert AUDIT.verdict(self.found("GHSA-1", "CVE-1"), "") == (
            1,
            "2 of 2 packages looked up: 1 known vulnerability.\none 2.0: GHSA-1, mended in 2.1",
        )

    @pytest.mark.parametrize("missing", [1, 300])
    def test_to_look_up_a_part_is_not_enough(self, missing):
        (accepted, _), *_ = AUDIT.ACCEPTED.items()
        assert AUDIT.verdict(self.found(accepted, missing=missing), "") == (
            3,
            f"2 of {2 + missing} packages looked up: no known vulnerability.\n"
            f"Not looked up: {missing}, first m0, not there",
        )
        code, _ = AUDIT.verdict(self.found("GHSA-1", missing=missing), "")
        assert code == 1

    @pytest.mark.parametrize(
        ("codes", "code"), [((0, 0), 0), ((0, 3), 3), ((3, 1), 1), ((1, 0), 1)]
    )
    def test_the_worst_lock_decides_and_every_one_is_named(self, monkeypatch, capsys, codes, code):
        found = dict(zip((Path("a.lock"), Path("b.lock")), codes, strict=True))
        monkeypatch.setattr(AUDIT, "audit", lambda lock: (found[lock], "What was found."))
        assert AUDIT.main(list(found)) == code
        assert capsys.readouterr().out == "a.lock: What was found.\nb.lock: What was found.\n"

    def test_two_known_ones_are_counted(self):
        found = json.loads(self.found("GHSA-1"))
        found["dependencies"][0]["vulns"] *= 2
        code, said = AUDIT.verdict(json.dumps(found), "")
        assert (code, ": 2 known vulnerabilities.\n" in said) == (1, True)

    def test_an_empty_lock_is_said_to_be_one(self):
        code, said = AUDIT.verdict('{"dependencies": []}', "")
        assert (code, said) == (3, "The lock names no package.")

    def test_one_that_does_not_concern_us_is_accepted_under_any_of_its_names(self):
        (accepted, reason), *_ = AUDIT.ACCEPTED.items()
        said = "2 of 2 packages looked up: no known vulnerability."
        assert AUDIT.verdict(self.found("PYSEC-1", accepted), "") == (0, said)
        assert reason

    def test_without_a_database_the_reason_is_said(self):
        code, said = AUDIT.verdict("", "Traceback\nConnectionError: refused\n")
        assert (code, said.endswith("(ConnectionError: refused).")) == (3, True)

    @pytest.mark.slow
    def test_of_the_locked_packages_nothing_is_known(self, tmp_path, capsys):
        one = tmp_path / "one.txt"
        one.write_text(str(lock.pins(LOCK)[0]))
        code = AUDIT.main([one]) or AUDIT.main()
        said = capsys.readouterr().out.strip()
        if code == 3:
            pytest.skip(f"no database has all that is locked: {said.splitlines()[-1]}")
        assert code == 0, said
