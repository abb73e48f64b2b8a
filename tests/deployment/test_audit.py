"""The audit log: what it holds, and that nothing in it can be changed or taken out unseen."""

import json

import pytest

from slmlab.deployment.audit import AuditLog, Head
from slmlab.errors import AuditBroken, UsageError

KEY = bytes(range(32))
DIGEST = "ab" * 32


@pytest.fixture
def log(tmp_path):
    log = AuditLog(tmp_path / "audit.jsonl", KEY)
    log.append("ana", "register", DIGEST)
    log.append("ben", "run", DIGEST)
    log.append("cleo", "run", DIGEST, allowed=False)
    return log


def lines(log):
    return log.path.read_text("utf-8").splitlines(keepends=True)


def rewrite(log, changed):
    log.path.write_text("".join(changed), "utf-8")


def test_a_line_says_who_did_what_with_which_model_and_when(log):
    first, _, refused = log.entries()
    assert (first.number, first.who, first.what, first.model) == (1, "ana", "register", DIGEST)
    assert first.when.endswith("+00:00")
    assert first.allowed and not refused.allowed


def test_another_process_goes_on_where_the_first_ended(log):
    AuditLog(log.path, KEY).append("ana", "read")
    assert [entry.number for entry in log.entries()] == [1, 2, 3, 4]
    assert log.verify().count == 4


def test_an_empty_log_is_whole(tmp_path):
    assert AuditLog(tmp_path / "audit.jsonl", KEY).verify() == Head(0, 0, "")


@pytest.mark.parametrize(
    "field, value",
    [
        ("who", "ana"),
        ("allowed", True),
        ("when", "2001"),
        ("seal", 5),
        ("seal", "é"),
    ],
)
def test_a_changed_line_is_found(log, field, value):
    changed = lines(log)
    changed[2] = json.dumps(json.loads(changed[2]) | {field: value}) + "\n"
    rewrite(log, changed)
    with pytest.raises(AuditBroken, match="line 3 is not as it was written"):
        log.verify()


def test_a_changed_line_is_found_though_its_seal_was_made_anew_with_another_key(log, tmp_path):
    forged = AuditLog(tmp_path / "forged.jsonl", bytes(32))
    for who in ("ana", "ben", "ana"):
        forged.append(who, "run", DIGEST)
    rewrite(log, [*lines(log)[:2], lines(forged)[2]])
    with pytest.raises(AuditBroken, match="line 3"):
        log.verify()


@pytest.mark.parametrize("order", [(0, 2), (1, 2), (0, 1, 1, 2), (1, 0, 2)])
def test_a_line_that_was_removed_inserted_or_moved_is_found(log, order):
    written = lines(log)
    rewrite(log, [written[i] for i in order])
    with pytest.raises(AuditBroken, match="removed or put in"):
        log.verify()


def test_the_removal_of_the_last_line_is_found(log):
    rewrite(log, lines(log)[:2])
    with pytest.raises(AuditBroken, match="1 line is missing after line 2"):
        log.verify()
    with pytest.raises(AuditBroken, match="ends too early"):
        log.append("ana", "read")


def test_half_a_last_line_is_found(log):
    rewrite(log, [*lines(log)[:2], lines(log)[2][:40]])
    with pytest.raises(AuditBroken, match="1 line is missing"):
        log.verify()


def test_the_removal_of_the_log_or_of_its_head_is_found(log):
    head = log.path.with_name("audit.jsonl.head")
    sealed = head.read_text("utf-8")
    head.unlink()
    with pytest.raises(AuditBroken, match="lost its head"):
        log.verify()
    head.write_text(sealed, "utf-8")
    log.path.unlink()
    with pytest.raises(AuditBroken, match="3 lines are missing"):
        log.verify()


def test_a_head_that_was_made_to_fit_is_found(log):
    rewrite(log, lines(log)[:2])
    head = log.path.with_name("audit.jsonl.head")
    written = json.loads(head.read_text("utf-8"))
    written["head"]["count"] = 2
    head.write_text(json.dumps(written), "utf-8")
    with pytest.raises(AuditBroken, match="head is not as it was written"):
        log.verify()


def test_an_earlier_log_with_its_own_head_is_found_only_with_a_head_kept_elsewhere(log):
    head = log.path.with_name("audit.jsonl.head")
    earlier = (log.path.read_bytes(), head.read_bytes())
    log.append("mallory", "run", DIGEST)
    kept = log.verify()
    log.path.write_bytes(earlier[0])
    head.write_bytes(earlier[1])
    assert log.verify().count == 3
    with pytest.raises(AuditBroken, match="put back to an earlier state"):
        log.verify(kept)


def test_a_log_that_was_deleted_with_its_head_is_found_only_with_a_head_kept_elsewhere(log):
    kept = log.verify()
    log.path.unlink()
    log.path.with_name("audit.jsonl.head").unlink()
    assert log.verify().count == 0
    with pytest.raises(AuditBroken, match="begun anew"):
        log.verify(kept)


def test_a_head_kept_elsewhere_is_still_part_of_a_longer_log(log):
    kept = log.verify()
    log.append("ana", "read")
    assert log.verify(kept).count == 4


def test_what_a_power_cut_left_is_settled_by_the_next_line(log):
    head = log.path.with_name("audit.jsonl.head")
    before = head.read_bytes()
    log.append("ana", "read")
    head.write_bytes(before)  # the line was written, its head was not
    with log.path.open("a") as file:
        file.write('{"number": 5, "wh')
    assert log.verify().count == 4
    log.append("ben", "read")
    assert [entry.who for entry in log.entries()][3:] == ["ana", "ben"]


def test_no_text_gets_in(log):
    for who, what, model in [
        ("ana", "Tell me a secret", ""),
        ("ana", "run", "word " * 50),
        ("ana", "run", "secret"),
        ("ana", "run", DIGEST.upper()),
        ("ana", "run", f"{DIGEST}\n"),
        ("ana\nben", "run", ""),
    ]:
        with pytest.raises(UsageError):
            log.append(who, what, model)
    assert log.verify().count == 3


def test_a_key_that_can_be_guessed_is_refused(tmp_path):
    with pytest.raises(UsageError, match="16 bytes"):
        AuditLog(tmp_path / "audit.jsonl", b"secret")
