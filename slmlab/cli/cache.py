"""The cache: `cache`, `cache prune`, and a remark for commands that may have overfilled it."""

from argparse import SUPPRESS, ArgumentParser, Namespace

from slmlab.cli.arguments import Work, add_json
from slmlab.cli.printing import print_json, print_table, remark
from slmlab.errors import SlmlabError, UsageError
from slmlab.measurement.words import quantity


def cache(parser: ArgumentParser) -> Work:
    """Say what is kept in the cache, how large, and when last used."""
    add_json(parser)
    prune = parser.add_subparsers(metavar="[prune]").add_parser(
        "prune", help="remove what was used longest ago, and nothing that is in use"
    )
    prune.set_defaults(command=_prune)
    prune.add_argument("--json", action="store_true", default=SUPPRESS, help="print JSON")
    what = prune.add_mutually_exclusive_group()
    what.add_argument("names", metavar="NAME", nargs="*", default=[], help="from `slmlab cache`")
    what.add_argument("--to", metavar="SIZE", help="such as 20GB (default: $SLMLAB_CACHE_LIMIT)")
    what.add_argument("--all", action="store_true", help="everything")
    return _cache


def _cache(options: Namespace) -> None:
    from slmlab import cache
    from slmlab.files import cache_path

    items, limit = cache.items(), cache.limit()
    if options.json:
        return print_json(cache.as_data(items, limit))
    print_table(
        ("item", ">size", "last used", "in use by process"),
        [
            (
                item.name,
                quantity(item.bytes, "bytes"),
                "left behind" if item.leftover else item.last_used_utc,
                ", ".join(map(str, item.used_by)) or "-",
            )
            for item in items
        ],
    )
    kinds = cache.kinds(items)
    for kind, held in kinds.most_common():
        remark(f"{kind}: {quantity(held, 'bytes')}")
    remark(f"{cache_path()} holds {quantity(kinds.total(), 'bytes')}, {_limited(limit)}")


def _limited(limit: int | None) -> str:
    if limit is None:
        return "and SLMLAB_CACHE_LIMIT sets no limit"
    return f"and may hold {quantity(limit, 'bytes')}: `slmlab cache prune` keeps to that"


def _prune(options: Namespace) -> int:
    from slmlab import cache

    if options.names or options.all:
        limit = None
        done = cache.remove(options.names or [item.name for item in cache.items()])
    else:
        limit = cache.size(options.to) if options.to else cache.limit()
        if limit is None:
            raise UsageError("Say what to remove: --to SIZE, --all, or names from `slmlab cache`.")
        done = cache.prune(limit)
    for item in done.in_use:
        remark(f"{item.name} is in use and stays: end what uses it, such as a notebook")
    if options.json:
        print_json(done.as_data())
    else:
        for item in done.removed:
            print(item.name)
        freed, left = quantity(done.bytes_freed, "bytes"), quantity(done.bytes_left, "bytes")
        remark(f"{freed} freed, {left} left")
    return int(bool(done.in_use) if limit is None else done.bytes_left > limit)


def remark_excess() -> None:
    """Say where the cache is over its limit; where that cannot be told, nothing else fails."""
    from slmlab import cache

    try:
        excess = cache.excess()
    except (SlmlabError, OSError) as problem:
        return remark(f"the cache's size cannot be told: {problem}")
    if excess:
        remark(
            f"the cache is {quantity(excess, 'bytes')} over SLMLAB_CACHE_LIMIT: `slmlab cache "
            f"prune` makes room"
        )
