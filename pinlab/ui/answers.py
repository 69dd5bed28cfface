"""Asking the lab: one question at a time and warm, so that its cost can be believed; failures stay on their side."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from pinlab.records import Answer, Evidence, Hit, PinLabError, Query, Recognised
from pinlab.ui import text

if TYPE_CHECKING:
    from pinlab.lab import Lab

log = logging.getLogger(__name__)

# What a model can raise on a question it was not made for, or on a device that ran out of memory
# (torch's errors are RuntimeErrors). Anything else is a bug and shows up as one.
MODEL_ERRORS = (RuntimeError, ValueError, MemoryError, OSError)


class OneAtATime:
    """A lab that answers on one thread, first come first served.

    Answers that ran side by side would measure each other, and a fresh thread pays for its own pool of workers
    (a third of a second here). For the same reason a model's first answer, and its first to a picture, is given
    twice and only the second is shown: the numbers on the page are warm ones. Everything else is the lab's.
    """

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._line = ThreadPoolExecutor(1, thread_name_prefix="answers")
        self._warm: set[tuple[str, bool]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lab, name)

    def answer(self, variant: str, query: Query, k: int = 10) -> Answer:
        """As the lab's, once everyone who asked before has an answer."""
        return self._line.submit(self._answer, variant, query, k).result()

    def nearest_to_pictures(self, images: Sequence[np.ndarray], k: int = 8) -> tuple[tuple[Hit, ...], ...]:
        """As the lab's, in line: encoding a picture beside an answer would be measured as a part of it."""
        return self._line.submit(self._lab.nearest_to_pictures, images, k).result()

    @property
    def neighbour_overlap(self) -> np.ndarray:
        """As the lab's, in line for the same reason; two visitors who ask at once do not compute it twice."""
        return self._line.submit(lambda: self._lab.neighbour_overlap).result()

    def explain(self, variant: str, query: Query, pin: str) -> Evidence:
        """As the lab's, in the same line: it runs models too."""
        return self._line.submit(self._lab.explain, variant, query, pin).result()

    def recognise(self, images: Sequence[np.ndarray]) -> tuple[Recognised, ...]:
        """As the lab's, in the same line."""
        return self._line.submit(self._lab.recognise, images).result()

    def learn_pictures(self, pictures: int) -> bool:
        """As the lab's, in the same line: no answer is timed while pictures are looked at."""
        return self._line.submit(self._lab.learn_pictures, pictures).result()

    def unload(self, name: str) -> None:
        """As the lab's; the model's next answers are its first again."""
        self._warm = {kind for kind in self._warm if kind[0] != name}
        self._lab.unload(name)

    def _answer(self, variant: str, query: Query, k: int) -> Answer:
        kind = (variant, bool(query.images))
        if kind not in self._warm:
            self._lab.answer(variant, query, k)
            self._warm.add(kind)
        return self._lab.answer(variant, query, k)


def one_at_a_time(lab: Lab) -> Lab:
    """The lab, answering one question at a time; a lab that already does is given back."""
    return lab if isinstance(lab, OneAtATime) else cast("Lab", OneAtATime(lab))


def ask(lab: Lab, variant: str, query: Query, k: int) -> tuple[Answer | None, str]:
    """The answer and an empty string, or None and one sentence on why there is none."""
    try:
        return lab.answer(variant, query, k), ""
    except PinLabError as error:
        why = str(error).rstrip(".")
        return None, f"{text.SIDE_FAILED} {why[:1].upper()}{why[1:]}."
    except MODEL_ERRORS:
        log.exception("variant %s failed on a question with %d pins", variant, len(query.pins))
        return None, text.SIDE_CRASHED
