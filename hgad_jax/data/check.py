"""What `python -m hgad_jax.data check DIR` prints: what is there, and everything that is wrong with it."""

import collections
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from hgad_jax.data import depth, leaks
from hgad_jax.data.findings import cut_away, made_smaller, problems_of, too_few_different
from hgad_jax.data.folder import Listing
from hgad_jax.data.geometry import Transform
from hgad_jax.data.problems import NOTE, SHOWN, Problem, listed, merged
from hgad_jax.data.records import GOOD, Record
from hgad_jax.data.screen import Facts, inspect_all, summarise
from hgad_jax.files import disk_errors, expanded, write_atomically

_HEAD = ("class", "split", "defect", "images", "masks", "width × height", "modes")


class _Group(NamedTuple):
    """The images of one class, split and defect."""

    counts: collections.Counter  # "images", "masks"
    sizes: collections.Counter  # (height, width)
    modes: collections.Counter


def check(
    listing: Listing,
    transform: Transform,
    *,
    num_workers: int,
    beforehand: Sequence[Problem] = (),
    out: str = "",
    say: Callable[[str], None] = print,
) -> bool:
    """Decode every image and mask of a listing and report.

    Args:
        listing: of `own.scan`.
        transform: that images will go through.
        num_workers: threads that decode.
        beforehand: what is known without decoding, beside the problems of the listing.
        out: a file for the whole report, with all names; "" for none.
        say: gets the lines of the report.

    Returns:
        Whether there is nothing to mend; files that were passed over and notes do no harm.

    Raises:
        UserError: `out` cannot be written.
    """
    records = sorted(listing.records, key=lambda record: record.split == "test")
    groups: dict[tuple[str, str, str], _Group] = {}
    facts = inspect_all(records, transform, num_workers=num_workers, thumbnails=True)
    seen: list[leaks.Seen] = []
    screening = summarise(_counted(records, facts, groups, seen))
    _, screening, of_depth = depth.judge(records, screening, transform.white_level, find=True)
    found = [*listing.problems, *beforehand, *problems_of(records, screening), *of_depth]
    found += too_few_different(records, screening)
    found += [*cut_away(records, screening, transform), *made_smaller(records, screening, transform)]
    found += leaks.problems(records, seen)
    problems = merged(found)
    head = [f"{listing.root}: {len(listing.good_folders)} class(es), {len(records)} images", *_table(groups)]
    for line in [*head, *_passed_over(listing, SHOWN), *_told(problems, SHOWN), *_advised(listing)]:
        say(line)
    if out:
        whole = [*head, *_passed_over(listing, None), *_told(problems, None), *_advised(listing), ""]
        save(out, "\n".join(whole))
        say(f"The whole report, with all names, is in {out}.")
    elif any(len(names) > SHOWN for names in (listing.ignored, *(problem.names for problem in problems))):
        say("Lists are cut here: --out=FILE writes the whole report, with all names.")
    return all(problem.level == NOTE for problem in problems)


def save(out: str, text: str) -> None:
    """Write a report.

    Raises:
        UserError: it cannot be written.
    """
    with disk_errors(f"--out={out} cannot be written", otherwise="choose another file"):
        write_atomically(expanded(out), text, parents=True)


def _passed_over(listing: Listing, shown: int | None) -> Iterator[str]:
    if listing.ignored:
        ignored = listed(sorted(listing.ignored), shown)
        yield f"Passed over, {len(listing.ignored)} that are no images or not where images belong: {ignored}"


def _told(problems: Sequence[Problem], shown: int | None) -> Iterator[str]:
    """What is to be mended, numbered, and what is worth knowing."""
    wrong = [problem for problem in problems if problem.level != NOTE]
    yield f"{len(wrong)} problem(s):" if wrong else "No problems found."
    for number, problem in enumerate(wrong, 1):
        first, *rest = problem.lines(shown)
        yield f"{number}. {first}"
        yield from (f"   {line}" for line in rest)
    for problem in problems:
        if problem.level == NOTE:
            first, *rest = problem.lines(shown)
            yield f"Note: {first}"
            yield from (f"   {line}" for line in rest)


def _advised(listing: Listing) -> list[str]:
    return listing.advice.lines() if listing.advice else []


def _counted(
    records: list[Record], facts: Iterator[Facts], groups: dict, seen: list[leaks.Seen]
) -> Iterator[Facts]:
    """Pass the facts on, count them, and keep what near-duplicates are known by."""
    for record, fact in zip(records, facts, strict=True):
        key = (record.class_name, record.split, record.defect)
        group = groups.setdefault(key, _Group(*(collections.Counter() for _ in _Group._fields)))
        group.counts["images"] += 1
        group.counts["masks"] += record.mask is not None
        if fact.mode:
            group.modes[fact.mode] += 1
        if fact.size != (0, 0):
            group.sizes[fact.size] += 1
        seen.append(leaks.Seen(fact.digest, fact.thumbnail))
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
