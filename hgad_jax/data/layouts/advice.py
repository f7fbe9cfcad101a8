"""What is said of a folder of another layout: what it seems to hold, and what makes it readable."""

import itertools
import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from hgad_jax.data.layouts import moves, shell
from hgad_jax.data.layouts.groups import Group, Parts, group
from hgad_jax.data.layouts.heaps import Heap, heaps
from hgad_jax.data.layouts.papers import recognised
from hgad_jax.data.layouts.survey import Survey, survey
from hgad_jax.data.names import Role, roles
from hgad_jax.data.problems import printable
from hgad_jax.data.records import ImageFile
from hgad_jax.data.signatures import image_format
from hgad_jax.errors import UserError

_SHOWN = 20  # lines of each kind in an error that ends a program
_COMMAND = "python -m hgad_jax.data check"
_MEANINGS: dict[tuple[Role | None, Role], str] = {
    (Role.GOOD, Role.TRAIN): "good, to train on",
    (Role.GOOD, Role.VALIDATION): "good, to train on as well",
    (Role.GOOD, Role.TEST): "good, to test with",
    (None, Role.TEST): "to test with; no name says which of them are good",
}
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".7z", ".rar")
_TABLES = (".json", ".xml", ".csv")


class Advice(NamedTuple):
    """What a folder would be taken for, and how to make it so.

    Attributes:
        root: the folder to check when that is done.
        seen: what is there, a line for each folder.
        remarks: what else there is to say, each a sentence or two.
        commands: for a shell, that move things.
        options: folders by key of `data`, below the root, where these can be used as they are.
        misplaced: images in folders that are not read, by folder.
        complete: whether the remarks say all that there is to do.
        partial: whether other images of the folder are where they are read.
    """

    root: str
    seen: list[str]
    remarks: list[str]
    commands: list[str]
    options: dict[str, list[str]]
    misplaced: dict[str, int]
    complete: bool = False
    partial: bool = False

    def lines(self, shown: int | None = None) -> list[str]:
        """For the user; at most `shown` lines of each kind."""
        text = []
        if self.seen:
            what = "not where it belongs" if self.partial else "there"
            text += [f"What is {what}, and what it would be taken for by its names:"]
            text += _some(self.seen, shown)
        text += self.remarks
        if self.options:
            given = self.options.items()
            flags = [f"--{key.replace('_', '-')}={path}" for key, paths in given for path in paths]
            config = [f"--config.data.{key}={_tuple(paths)}" for key, paths in given]
            text += ["If that is right, it can be used as it is. To check it:"]
            text += [f"  {_COMMAND} {' '.join(map(shell.quoted, [self.root, *flags]))}"]
            config.insert(0, f"--config.data.root={self.root}")
            text += ["To train on it, with --config=configs/hgad_folder.py or another *_folder.py:"]
            text += [f"  {' '.join(map(shell.quoted, config))}"]
        elif self.commands:
            text += ["If that is right, these commands put everything in its place (they move files):"]
            text += [*_some([f"  {line}" for line in self.commands], shown), f"  {_check(self.root)}"]
        return text


class NoClass(UserError):
    """A folder without any class; `whole` is the message with all lines of the advice."""

    def __init__(self, first: str, advice: Advice, tree: str):
        tree = "" if advice.commands or advice.options or advice.complete else tree
        self.whole, short = ("\n".join(filter(None, [first, *advice.lines(n), tree])) for n in (None, _SHOWN))
        super().__init__(short)


def advise(root: str) -> Advice:
    """Look through a folder in which no class was found."""
    if paper := recognised(root):
        return Advice(root, [], [paper], [], {}, {}, complete=True)
    found = survey(root)
    if not found.places:
        return Advice(root, [], _without_images(found), [], {}, {})
    groups = group(found.places)
    mixed = heaps(found, groups)
    groups = _with_defective(groups, mixed)
    deeper = {one.product[0] for one in groups} if all(len(one.product) > 1 for one in groups) else set()
    if len(deeper) == 1:
        return _one_deeper(root, os.path.join(root, *deeper))
    options = {} if mixed else _options(groups)
    commands = [] if options else moves.commands(found, groups, groups, mixed)
    remarks = [heap.remark for heap in mixed.values()] + _remarks(found, groups)
    return Advice(root, _seen(found, groups), remarks, commands, options, {})


def advise_rest(root: str, read: Collection[ImageFile], told: Collection[str]) -> Advice | None:
    """Look through a folder that is read for what is not read of it; None where that is nothing.

    Args:
        root: the folder.
        read: paths of the images and masks that are read.
        told: files and folders of which a problem tells already.
    """
    found = survey(root)
    groups = group(found.places)
    bases = moves.bases(found, groups)
    rest = [one for one in groups if not moves.in_place(one, bases[one.product])]
    known = {*read, *told}
    misplaced = {}
    for place in (place for one in rest if one.kind is not Role.DEPTH for place in one.places):
        ways = [os.path.join(root, *place.parts[:n]) for n in range(1, len(place.parts) + 1)]
        count = sum(os.path.join(root, *place.parts, name) not in known for name in place.images)
        if count and known.isdisjoint(ways):
            misplaced[os.path.join(root, *place.parts)] = count
    # A folder of which nothing is said by its names or by those above may hold anything.
    wanted = [one for one in groups if not one.guessed or any(map(roles, one.folder))]
    mixed = heaps(found, groups)
    commands = moves.commands(found, groups, wanted, mixed)
    if not rest and not commands:
        return None
    remarks = [*filter(None, [recognised(root)]), *(heap.remark for heap in mixed.values())]
    return Advice(root, _seen(found, rest), remarks, commands, {}, misplaced, partial=True)


def _with_defective(groups: Sequence[Group], mixed: Mapping[Parts, Heap]) -> list[Group]:
    """Folders of unknown kind all of whose images have a mask with a defect are defects, not products."""
    defective = {
        one
        for one in groups
        if one.guessed and one.product and one.kind is Role.GOOD
        if all((heap := mixed.get(p.parts)) and heap.masks and not heap.good for p in one.places)
    }
    above = {one.product[:-1] for one in defective}
    changed = []
    for one in groups:
        product = one.product
        if one.guessed and product and product[:-1] in above:  # beside such a folder: of one product
            product = product[:-1]
        if one in defective:
            defect = {"kind": Role.BAD, "split": Role.TEST, "defect": one.product[-1], "guessed": False}
            one = one._replace(**defect)
        changed.append(one._replace(product=product))
    return changed


def _one_deeper(root: str, inner: str) -> Advice:
    advice = advise(inner)
    remark = f"Its classes lie one folder deeper: give '{inner}' instead of '{root}'."
    if advice.commands or advice.options:
        return advice._replace(remarks=[remark, *advice.remarks])
    return Advice(inner, advice.seen, [remark, f"  {_check(inner)}"], [], {}, {}, complete=True)


def _options(groups: Sequence[Group]) -> dict[str, list[str]]:
    """Folders by key, if one class can be read from them as they are."""
    folders = [one.folder for one in groups]
    if len({one.product for one in groups}) > 1 or any(map(_is_part, itertools.chain(*folders))):
        return {}
    if any(a != b and a == b[: len(a)] for a in folders for b in folders):
        return {}

    def of(kind: Role, *splits: Role) -> list[Group]:
        return [one for one in groups if one.kind is kind and one.split in splits]

    bad = of(Role.BAD, Role.TEST)
    truth = {one.defect: one for one in of(Role.MASK, Role.TEST)}
    masks = [truth[one.defect] for one in bad if one.defect in truth]
    if len(masks) != len(of(Role.MASK, Role.TEST)) or len(masks) not in (0, len(bad)):
        return {}
    chosen = {
        "normal_dir": of(Role.GOOD, Role.TRAIN, Role.VALIDATION),
        "normal_test_dir": of(Role.GOOD, Role.TEST),
        "abnormal_dir": bad,
        "mask_dir": masks,
    }
    if not chosen["normal_dir"]:
        return {}
    return {
        key: [os.path.join("", *one.folder) or os.curdir for one in own] for key, own in chosen.items() if own
    }


def _is_part(name: str) -> bool:
    """Whether a folder's name is one of those of MVTec AD's layout, or nearly."""
    return bool({Role.TRAIN, Role.TEST} & set(roles(name)))


def _seen(found: Survey, groups: Sequence[Group]) -> list[str]:
    rows = []
    for one in sorted(groups, key=lambda one: one.folder):
        by_kind: dict[Role | None, str] = {
            Role.BAD: f"defective: {one.defect}",
            Role.MASK: f"masks of {one.defect}" if one.defect else "masks, of which defect is not clear",
            Role.DEPTH: "depths; these are not used",
        }
        meaning = _MEANINGS.get((one.kind, one.split)) or by_kind.get(one.kind, "")
        guess = " (a guess: no name says so)" if one.guessed and one.kind else ""
        path = printable(os.path.join(found.root, *one.folder))
        rows.append((path, f"{one.images} images", meaning + guess))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)] if rows else []
    return [f"  {path:<{widths[0]}}  {count:>{widths[1]}}  {meaning}" for path, count, meaning in rows]


def _remarks(found: Survey, groups: Sequence[Group]) -> list[str]:
    remarks = []
    if not any(one.kind is Role.GOOD and one.split is not Role.TEST for one in groups):
        remarks.append("No good images are among them: images without defects are needed to train on.")
    if products := {one.product[-1] for one in groups if one.product} if len(groups) > 1 else set():
        classes = ", ".join(f"'{printable(name)}'" for name in sorted(products)[:5])
        more = " ..." if len(products) > 5 else ""
        remarks.append(f"That would be {len(products)} class(es) of one model: {classes}{more}.")
    if tables := [suffix for suffix in _TABLES if found.others[suffix]]:
        remarks.append(f"Nothing is read from the {', '.join(tables)} files; sort the images into folders.")
    return remarks + _rest(found)


def _without_images(found: Survey) -> list[str]:
    most = found.others.most_common(5)
    counted = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in most)
    remarks = [f"No image is in it; its files are: {counted}." if counted else "There is no file in it."]
    for suffix, path in found.examples.items():
        if kind := image_format(path):
            remarks.append(
                f"'{printable(path)}' is a {kind} file: such files are not read by the suffix "
                f"'{suffix}'. Save them as png."
            )
    return remarks + _rest(found)


def _rest(found: Survey) -> list[str]:
    remarks = []
    if archives := [suffix for suffix in _ARCHIVES if found.others[suffix]]:
        remarks.append(f"Archives ({', '.join(archives)}) are not read: unpack those with images.")
    if not found.complete:
        remarks.append("There are so many files that not all of them were looked at.")
    return remarks


def _some(lines: Sequence[str], shown: int | None) -> list[str]:
    left = 0 if shown is None else len(lines) - shown
    return [*lines[:shown], f"  ... and {left} lines more, which check prints"] if left > 0 else list(lines)


def _check(root: str) -> str:
    return f"{_COMMAND} {shell.quoted(root)}"


def _tuple(paths: Sequence[str]) -> str:
    """Paths as `--config` takes a tuple: bare where that is unambiguous."""
    if len(paths) == 1 and re.fullmatch(r"[^\W\d][\w./-]*", paths[0]):
        return paths[0]
    return "(" + ",".join(json.dumps(path, ensure_ascii=False) for path in paths) + ",)"
