"""Roles: what each may do, and that refusals are sentences and leave a trace."""

import pytest

from slmlab.deployment.audit import AuditLog
from slmlab.deployment.roles import Access, Account, accounts
from slmlab.errors import NotAllowed, UsageError

PEOPLE = accounts({"ana": "owner", "ben": "user", "cleo": "reader"})
ACTIONS = ("register", "run", "read", "publish", "fetch")


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
    access.require("ben", "run", "d1")
    for who, what in (("cleo", "run"), ("dora", "read")):
        with pytest.raises(NotAllowed):
            access.require(who, what, "d1")
    told = [(entry.who, entry.what, entry.model, entry.allowed) for entry in log.entries()]
    assert told == [
        ("ben", "run", "d1", True),
        ("cleo", "run", "d1", False),
        ("dora", "read", "d1", False),
    ]


def test_who_comes_without_a_key_is_logged_as_somebody(access, log):
    access.turn_away("run", "d1")
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
        Account("ana", "king", "k")
