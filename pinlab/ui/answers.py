"""Asking one or two variants through the lab, so that one side's failure never reaches the other."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pinlab.records import Answer, PinLabError, Query
from pinlab.ui import text

if TYPE_CHECKING:
    from pinlab.lab import Lab

log = logging.getLogger(__name__)

# What a model can raise on a question it was not made for, or on a device that ran out of memory
# (torch's errors are RuntimeErrors). Anything else is a bug and shows up as one.
_MODEL_ERRORS = (RuntimeError, ValueError, MemoryError, OSError)


def ask(lab: Lab, variant: str, query: Query, k: int) -> tuple[Answer | None, str]:
    """The answer and an empty string, or None and one sentence on why there is none."""
    try:
        return lab.answer(variant, query, k), ""
    except PinLabError as error:
        return None, f"{text.SIDE_FAILED} {str(error).capitalize()}."
    except _MODEL_ERRORS:
        log.exception("variant %s failed on a question with %d pins", variant, len(query.pins))
        return None, text.SIDE_CRASHED
