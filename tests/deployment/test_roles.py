"""Roles: what each may do, and that refusals are sentences and leave a trace."""

import pytest

from slmlab.deployment.audit import AuditLog
from slmlab.deployment.roles import STRANGER, Access, Account, accounts
from slmlab.errors import NotAllowed, UsageError

PEOPLE = accounts({"ana": "owner", "ben": "user", "cleo": "reader"})
ACTIONS = ("register", "run", "read")
DIGEST = "ab" * 32


@pytest.fixture
def log(tmp_path):
    return AuditLog(tmp_path / "audit.jsonl", bytes(32))


@pytest.fixture
def access(log):
    return Access(PEOPLE.values(), log)


def permitted(access, who):
    able = set()
    for what in ACTIONS:
        try:
            access.require(who, what)
        except NotAllowed:
            continue
        able.add(what)
    return able


def test_each_role_may_do_what_it_says(access):
    assert permitted(access, "ana") == set(ACTIONS)
    assert permitted(access, "ben") == {"run", "read"}
    assert permitted(access, "cleo") == {"read"}
    assert permitted(access, "dora") == set()


def test_a_refusal_names_the_role_and_who_could(access):
    with pytest.raises(NotAllowed, match=r"cleo may not run models as reader.*owner, user"):
        access.require("cleo", "run")
    with pytest.raises(NotAllowed, match="Nobody here is called 'dora'"):
        access.require("dora", "read")


def test_permissions_and_refusals_are_logged(access, log):
    access.require("ben", "run", DIGEST)
    for who, what in (("cleo", "run"), ("dora", "read")):
        with pytest.raises(NotAllowed):
            access.require(who, what, DIGEST)
    told = [(entry.who, entry.what, entry.model, entry.allowed) for entry in log.entries()]
    assert told == [
        ("ben", "run", DIGEST, True),
        ("cleo", "run", DIGEST, False),
        ("dora", "read", DIGEST, False),
    ]


def test_who_comes_without_a_key_is_logged_as_somebody(access, log):
    access.turn_away("run", DIGEST)
    [entry] = log.entries()
    assert (entry.who, entry.what, entry.allowed) == ("somebody", "run", False)


def test_a_key_leads_to_its_account_and_a_wrong_one_to_nobody(access):
    assert access.whose(PEOPLE["ben"].key).who == "ben"
    assert access.whose("") is None
    assert access.whose(PEOPLE["ben"].key + "x") is None
    assert access.whose("clé") is None


def test_keys_are_random_and_never_shown():
    assert accounts({"ana": "owner"})["ana"].key != PEOPLE["ana"].key
    assert PEOPLE["ana"].key not in repr(PEOPLE["ana"])


def test_an_unknown_role_is_refused():
    with pytest.raises(UsageError, match="owner, user, reader"):
        Account("ana", "king", "k" * 16)


def test_a_key_that_can_be_guessed_is_refused():
    with pytest.raises(UsageError, match="key of ana needs at least 16 characters"):
        Account("ana", "owner", "k" * 15)


def test_nobody_may_be_called_as_the_log_calls_strangers():
    with pytest.raises(UsageError, match="take another name"):
        Account(STRANGER, "owner", "k" * 16)


@pytest.mark.parametrize(
    "second, sentence",
    [
        (Account("ana", "reader", "l" * 16), "two accounts called ana"),
        (Account("ben", "reader", "k" * 16), "ben has the key of another account"),
    ],
)
def test_accounts_that_cannot_be_told_apart_are_refused(second, sentence):
    with pytest.raises(UsageError, match=sentence):
        Access([Account("ana", "owner", "k" * 16), second])
