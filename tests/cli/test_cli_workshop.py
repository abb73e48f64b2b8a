"""`slmlab pack` and `progress`: what an instructor hands out, and where a learner stands."""

from pathlib import Path

from slmlab.lessons import progress
from slmlab.lessons.question import Verdict
from slmlab.tiers import DEFAULT_MODEL


def test_pack_ends_with_its_path(slmlab, tmp_path, monkeypatch):
    from slmlab.workshop import packing

    asked = []

    def pack(*arguments):
        asked.extend(arguments)
        return packing.Pack(tmp_path / "stick.zip", 10**9, [], ["Beware."])

    monkeypatch.setattr(packing, "pack", pack)
    terms = ["--licence-text", "gemma-3-270m=terms.txt"]
    code, out, err = slmlab(
        "pack", "--out", tmp_path / "stick", "--archive", "--pythons", "3.12", *terms
    )
    assert (code, out) == (0, f"{tmp_path / 'stick.zip'}\n")
    assert "Beware." in err
    models, texts = [DEFAULT_MODEL], {"gemma-3-270m": Path("terms.txt")}
    assert asked == [tmp_path / "stick", models, (), ["3.12"], True, False, texts]


def test_pack_takes_a_licences_text_only_with_its_model(slmlab, tmp_path):
    code, _, err = slmlab("pack", "--out", tmp_path / "stick", "--licence-text", "terms.txt")
    assert code == 2
    assert "'terms.txt' is not of the form MODEL=FILE" in err


def test_progress_shows_every_question(slmlab, as_json):
    progress.remember(Verdict("tiers.q1", "correct", ""))
    found = as_json("progress")
    assert found["tiers.q1"]["outcome"] == "correct"
    assert found["tiers.q2"] == {"outcome": "not attempted", "attempts": 0, "last": None}
    code, out, err = slmlab("progress")
    assert code == 0 and "tiers.q1" in out and "1 of " in err
