"""How far an evaluation is, and how long it will take: one bar on standard error.

The parts of an evaluation differ a hundredfold in cost, so the bar counts expected milliseconds, not boards. They are
rough figures of two CPU cores; only their ratios matter, since the time left follows from how long this machine took
for what is done. Scores that were kept from a run before count as done and not as speed: see `Bar.step`.
"""

from __future__ import annotations

from typing import Any, Protocol

from tqdm import tqdm

# What scores queries: expected ms of a query in a batch, and of one alone. Models are told apart by what they hold.
FULL, STORED, SWAPPED, FLOOR = (14.0, 100.0), (14.0, 15.0), (3.0, 8.0), (0.5, 1.0)
PICTURE_MS = 40.0  # an upload alone: decoded, encoded and answered
TOWER_MS, ITEM_MS, EMBED_MS = 4.0, 4.0, 9.0  # one of many pins: through a tower, a text stack, the pin encoder


class Progress(Protocol):
    """Told of every step: a line on what goes on, its share of the work, and whether it was kept from before."""

    def __call__(self, line: str, work: float = 0.0, kept: bool = False) -> object: ...


def say_nothing(line: str, work: float = 0.0, kept: bool = False) -> None:
    """The progress of whoever does not want to hear of it."""


def batched_work(scorer: Any) -> float:
    """Expected milliseconds of one query among many."""
    return _kind(scorer)[0]


def alone_work(scorer: Any) -> float:
    """Expected milliseconds of one query at batch 1."""
    return _kind(scorer)[1]


def _kind(scorer: Any) -> tuple[float, float]:
    inner = getattr(scorer, "variant", scorer)  # what `Remembered` wraps
    if not hasattr(inner, "backbone"):
        return FLOOR
    if hasattr(inner, "projector"):
        return SWAPPED
    return STORED if inner.name.startswith(("cached", "pooled")) else FULL


class Bar:
    """A progress bar with the time left; use it in a `with` statement.

    Args:
        total: expected work in all, in the unit of `step`.
    """

    def __init__(self, total: float) -> None:
        self._bar = tqdm(
            total=total,
            desc="evaluate",
            smoothing=0,  # the average so far: parts differ too much for the last seconds to tell the next
            dynamic_ncols=True,
            bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed}, {remaining} left{postfix}",
        )

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        if failed is None:
            self.step("done", self._bar.total - self._bar.n)
        self._bar.close()

    def step(self, line: str, work: float = 0.0, kept: bool = False) -> None:
        """Some work is done.

        Args:
            line: what goes on. work: of the total; the bar never passes its end. kept: nothing was computed for it,
                so the speed, and with it the time left, is reckoned without it.
        """
        work = max(0.0, min(work, self._bar.total - self._bar.n))
        if kept:
            self._bar.initial += work
        self._bar.set_postfix_str(line, refresh=False)
        self._bar.update(work)

    @property
    def state(self) -> dict[str, Any]:
        """As tqdm tells it: n, total, initial, elapsed, postfix ..."""
        return dict(self._bar.format_dict)
