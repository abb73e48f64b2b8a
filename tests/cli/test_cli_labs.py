"""What `slmlab` says of the labs on this machine."""

import pytest

from slmlab.notebooks.verify import Proof


def test_doctor_says_of_each_lab_what_it_does_here(as_json):
    found = as_json("doctor")
    assert found["machine"]["cores"] >= 1
    assert [lab["lab"] for lab in found["labs"]][:2] == ["00_start_here", "01_tiers"]
    statuses = {"runs", "runs smaller", "recorded", "not here"}
    assert {lab["status"] for lab in found["labs"]} <= statuses


@pytest.mark.parametrize(("faults", "code"), [((), 0), (("It is not.",), 1)])
def test_verify_tells_of_each_fault(slmlab, monkeypatch, faults, code):
    proofs = [Proof("tiers.q1", 3, ()), Proof("tiers.q2", 2, faults)]
    monkeypatch.setattr("slmlab.notebooks.verify.verify", lambda labs: proofs)
    found, out, _ = slmlab("verify", "01")
    assert found == code
    assert out.splitlines()[1].split() == ["tiers.q1", "3", "proven"]
    assert [line for line in out.splitlines() if "It is not" in line] == [
        f"tiers.q2: {fault}" for fault in faults
    ]
