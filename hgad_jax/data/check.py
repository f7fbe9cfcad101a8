"""What `python -m hgad_jax.data check DIR` prints: what is there, and everything that is wrong with it."""

import collections
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hgad_jax.data.folder import Listing
from hgad_jax.data.problems import listed, merged
from hgad_jax.data.records import GOOD, Record
from hgad_jax.data.screen import Facts, inspect_all, problems_of, summarise

_HEAD = ("class", "split", "defect", "images", "masks", "width × height", "modes")


class _Group(NamedTuple):
    """The images of one class, split and defect."""

    counts: collections.Counter  # "images", "masks"
    sizes: collections.Counter  # (height, width)
    modes: collections.Counter


def check(listing: Listing, *, num_workers: int, say: Callable[[str], None] = print) -> bool:
    """Decode every image and mask of a listing and report.

    Args:
        listing: of `own.scan`.
        num_workers: threads that decode.
        say: gets the lines of the report.

    Returns:
        Whether all is well; files that were passed over are mentioned but do no harm.
    """
    records = sorted(listing.records, key=lambda record: record.split == "test")
    groups: dict[tuple[str, str, str], _Group] = {}
    facts = _counted(records, inspect_all(records, num_workers=num_workers), groups)
    problems = merged([*listing.problems, *problems_of(records, summarise(facts))])
    say(f"{listing.root}: {len(listing.good_folders)} class(es), {len(records)} images")
    for line in _table(groups):
        say(line)
    if listing.ignored:
        ignored = listed(sorted(listing.ignored))
        say(f"Passed over, {len(listing.ignored)} that are no images or not where images belong: {ignored}")
    if not problems:
        say("No problems found.")
        return True
    say(f"{len(problems)} problem(s):")
    for number, problem in enumerate(problems, 1):
        say(f"{number}. {problem.text(shown=None)}")
    return False


def _counted(records: list[Record], facts: Iterator[Facts], groups: dict) -> Iterator[Facts]:
    """Pass the facts on and count them."""
    for record, fact in zip(records, facts, strict=True):
        key = (record.class_name, record.split, record.defect)
        group = groups.setdefault(key, _Group(*(collections.Counter() for _ in _Group._fields)))
        group.counts["images"] += 1
        group.counts["masks"] += record.mask is not None
        if fact.mode:
            group.modes[fact.mode] += 1
        if fact.size != (0, 0):
            group.sizes[fact.size] += 1
        yield fact


def _table(groups: dict[tuple[str, str, str], _Group]) -> Iterator[str]:
    # Training images first, good ones first.
    order = sorted(groups, key=lambda key: (key[0], key[1] == "test", key[2] != GOOD, key[2]))
    rows = [_HEAD] + [(*key, *_cells(groups[key])) for key in order]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cells(group: _Group) -> tuple[str, str, str, str]:
    sizes = sorted(group.sizes, key=lambda size: (size[0] * size[1], size))
    texts = [f"{width}×{height}" for height, width in sizes]
    span = f"{texts[0]} to {texts[-1]}, {len(texts)} sizes" if len(texts) > 1 else "".join(texts)
    modes = ", ".join(f"{mode} {count}" for mode, count in sorted(group.modes.items()))
    return str(group.counts["images"]), str(group.counts["masks"] or "-"), span, modes
