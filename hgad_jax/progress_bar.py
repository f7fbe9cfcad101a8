"""How far something is: a bar on a terminal; elsewhere, as in a log file, a line now and then."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, cast

from tqdm import tqdm

_FIRST, _LONGEST = 10.0, 600.0  # seconds between lines; each gap is twice as long as the one before
_LINE = "{desc}: {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


def progress_bar(iterable: Iterable | None = None, **settings: Any) -> Any:
    """What tells how far something is, on standard error; used as tqdm's bar is.

    Args:
      iterable: to go through; None where `update` is called.
      **settings: of tqdm: total, initial, desc, unit, unit_scale, unit_divisor, disable (None: where it is no
        terminal, nothing is written of what takes less than ten seconds).
    """
    if sys.stderr is not None and sys.stderr.isatty():
        return tqdm(iterable, dynamic_ncols=True, **settings)
    return Lines(iterable, **settings)


class Lines:
    """Writes a line after ten seconds, then ever more seldom, and one at the end."""

    def __init__(
        self,
        iterable: Iterable | None = None,
        *,
        total: int | None = None,
        initial: int = 0,
        desc: str = "",
        disable: bool | None = False,
        clock: Any = time.monotonic,
        **units: Any,
    ):
        self._iterable = () if iterable is None else iterable
        self._disabled, self._clock = disable, clock
        self._total = len(iterable) if total is None and isinstance(iterable, Sized) else total
        self._desc, self._units, self._postfix = desc, units, ""
        self._initial = self.n = initial
        self._start, self._gap = clock(), _FIRST
        self._next = self._start + self._gap
        self._closed = False

    def __iter__(self) -> Iterator:
        with self:
            for item in self._iterable:
                yield item
                self.update()

    def update(self, count: int = 1) -> None:
        """So many more are done."""
        self.n += count
        now = self._clock()
        if now >= self._next:
            self._write(now)
            self._gap = min(2 * self._gap, _LONGEST)
            self._next = now + self._gap

    def set_postfix(self, **values: Any) -> None:
        """What else the next line shows."""
        self._postfix = ", ".join(f"{name}={value}" for name, value in values.items())

    def close(self) -> None:
        """Writes the last line."""
        if not self._closed:
            self._closed = True
            if self._disabled is not None or self._gap > _FIRST:
                self._write(self._clock())

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _write(self, now: float) -> None:
        if self._disabled or sys.stderr is None:
            return
        line = tqdm.format_meter(
            self.n,
            cast(float, self._total),  # None where it is unknown, which tqdm's stub does not have
            now - self._start,
            prefix=self._desc,
            initial=self._initial,
            postfix=self._postfix,
            bar_format=_LINE if self._total is not None else None,
            **self._units,
        )
        print(line, file=sys.stderr, flush=True)
