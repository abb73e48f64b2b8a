"""Who may do what with the models of a device; each permission and refusal is logged."""

import hmac
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from slmlab.deployment.audit import AuditLog
from slmlab.errors import NotAllowed, UsageError

RIGHTS = {
    "owner": frozenset({"register", "run", "read"}),
    "user": frozenset({"run", "read"}),
    "reader": frozenset({"read"}),
}

STRANGER = "somebody"
"""What the log calls whoever came without a valid key."""

_SHORTEST = 16
"""Characters of a key: a shorter one could be guessed."""


@dataclass(frozen=True)
class Account:
    """Somebody with a role, one of `RIGHTS`, and the key that their requests carry.

    Raises `UsageError` for a role that is none, the name `STRANGER`, and a key of fewer than 16
    characters.
    """

    who: str
    role: str
    key: str = field(repr=False)

    def __post_init__(self) -> None:
        if self.role not in RIGHTS:
            raise UsageError(f"There is no role {self.role!r}; choose {', '.join(RIGHTS)}.")
        if self.who == STRANGER:
            raise UsageError(f"{STRANGER!r} stands for whoever has no account; take another name.")
        if len(self.key) < _SHORTEST:
            raise UsageError(f"The key of {self.who} needs at least {_SHORTEST} characters.")


class Access:
    """The accounts of a device, and the log that learns of every permission and refusal.

    Raises `UsageError` where two accounts have one name or one key.
    """

    def __init__(self, accounts: Iterable[Account], log: AuditLog | None = None) -> None:
        self._accounts = by_name(accounts)
        self._log = log

    def require(self, who: str, what: str, model: str = "") -> None:
        """Return if somebody may do this; raise `NotAllowed` if not. Either is logged first.

        `what` is an action of the audit log, `model` a digest.
        """
        account = self._accounts.get(who)
        allowed = account is not None and what in RIGHTS[account.role]
        if self._log:
            self._log.append(who, what, model, allowed)
        if account is None:
            raise NotAllowed(f"Nobody here is called {who!r}; ask an owner for an account.")
        if not allowed:
            able = ", ".join(role for role, rights in RIGHTS.items() if what in rights)
            raise NotAllowed(
                f"{who} may not {what} models as {account.role}; that takes one of: {able}."
            )

    def turn_away(self, what: str, model: str = "") -> None:
        """Log that somebody without a valid key asked for this."""
        if self._log:
            self._log.append(STRANGER, what, model, allowed=False)

    def whose(self, key: str) -> Account | None:
        """Return the account with this key, or None; it takes as long for a near miss."""
        found = None
        for account in self._accounts.values():
            if hmac.compare_digest(account.key.encode(), key.encode()):
                found = account
        return found


def by_name(accounts: Iterable[Account]) -> dict[str, Account]:
    """Return accounts by name; raise `UsageError` where two have one name or one key."""
    found: dict[str, Account] = {}
    for account in accounts:
        if account.who in found:
            raise UsageError(f"There are two accounts called {account.who}; each needs its own.")
        if any(account.key == other.key for other in found.values()):
            raise UsageError(f"{account.who} has the key of another account; each needs its own.")
        found[account.who] = account
    return found


def accounts(roles: Mapping[str, str]) -> dict[str, Account]:
    """Return an account with a new random key for each name in a mapping of names to roles."""
    return {who: Account(who, role, secrets.token_urlsafe(24)) for who, role in roles.items()}
