"""The table of backbones in the documentation, made from the catalogue."""

from hgad_jax.backbones.catalogue import CATALOGUE, Entry
from hgad_jax.backbones.spec import Spec
from hgad_jax.backbones.weights import parameter_count

_HEADER = ("name", "taps (channels, stride)", "parameters", "weights: tags", "licence", "papers (their tag)")


def markdown_table() -> str:
    """One row per architecture."""
    rows = [_HEADER, ("---",) * len(_HEADER)]
    rows += [_row(name, entry) for name, entry in CATALOGUE.items()]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def _row(name: str, entry: Entry) -> tuple[str, ...]:
    spec = entry.build()
    tags = ", ".join(f"`{tag}`" for tag in entry.tags)
    return (
        f"`{name}`",
        _taps(spec, entry.taps),
        f"{parameter_count(spec):,}",
        f"{tags}; in `{entry.package.requirement.split('==')[0]}`" if entry.package else tags,
        entry.licence,
        _papers(entry),
    )


def _taps(spec: Spec, chosen: tuple[str, ...]) -> str:
    blocks = [name for name in spec.taps if name.endswith(".norm")]
    if blocks:  # a transformer: every block has the same map
        first, last = blocks[0].removesuffix(".norm"), blocks[-1].removesuffix(".norm")
        channels, stride = spec.taps[blocks[0]]
        means = ", and means of several" if spec.means else ""
        taken = ", ".join(f"**`{name}`**" for name in chosen)
        return f"`{first}` … `{last}`, each also with `.norm`{means} ({channels}, {stride}); {taken}"
    return ", ".join(
        f"{_bold(name, chosen)} ({channels}, {stride})" for name, (channels, stride) in spec.taps.items()
    )


def _bold(name: str, chosen: tuple[str, ...]) -> str:
    return f"**`{name}`**" if name in chosen else f"`{name}`"


def _papers(entry: Entry) -> str:
    papers = ", ".join(f"{paper} (`{tag}`)" if tag else paper for paper, tag in entry.papers.items())
    taps = ", ".join(f"`{tap}`" for tap in entry.paper_taps)
    return f"{papers}: {taps}" if papers else ""
