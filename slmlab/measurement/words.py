"""Numbers in words: with the digits that mean something, and with where they come from."""

from collections.abc import Sequence

from slmlab.measurement.record import Measurement


def provenance(row: Measurement) -> str:
    """Return how a number was got, so that one got elsewhere can never look measured here."""
    origin = {
        "published": f": {row.source}",
        "recorded": f" {row.date}, not here and now",
    }
    conditions = "".join(f", {name} {value}" for name, value in row.conditions.items())
    return row.how + origin.get(row.how, "") + conditions


def origins(rows: Sequence[Measurement]) -> list[str]:
    """Return one line for each machine, set of versions and date the numbers come from."""
    lines = []
    for row in rows:
        if row.how in ("measured", "recorded"):
            versions = ", ".join(f"{name} {version}" for name, version in row.versions.items())
            parts = [row.machine, versions, row.date]
            lines.append(f"{row.how.capitalize()} on {'; '.join(filter(None, parts))}.")
    return list(dict.fromkeys(lines))


def quantity(value: float, unit: str = "", spread: float | None = None) -> str:
    """Return a number with its unit and spread, with the digits that mean something.

    Bytes become kB, MB or GB (powers of 1,000). A spread keeps two significant digits and the value
    as many decimals; without one, the value keeps four significant digits.
    """
    if unit == "bytes" and abs(value) >= 1000:
        scale, unit = next(
            pair for pair in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if abs(value) >= pair[0]
        )
        value, spread = value / scale, spread and spread / scale
    decimals = _decimals(spread, 2) if spread else _decimals(value, 4)
    text = f"{value:,.{decimals}f}"
    if float(value).is_integer() and not spread:
        text = f"{value:,.0f}"
    if spread:
        text += f" ± {spread:,.{decimals}f}"
    return f"{text} {unit}".rstrip()


def _decimals(value: float, significant: int) -> int:
    """Return how many decimals show `significant` digits of a value."""
    if not value or value != value or abs(value) == float("inf"):
        return 0
    exponent = int(f"{abs(value):e}".partition("e")[2])
    return max(0, significant - 1 - exponent)
