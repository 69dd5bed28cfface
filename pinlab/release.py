"""What leaves a lab, and the proof that it is exact: the verbs export and verify.

Both load the models through the lab, as every answer does, and hand tensors to the writer and to the checks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import cast

import torch

from pinlab.embed.keys import content_keys
from pinlab.embed.table import read_table
from pinlab.lab import Lab
from pinlab.measure.evaluate import plain
from pinlab.measure.exactness import round_trip
from pinlab.measure.verify import EXPORT_BOUND, Row, Subject, verify
from pinlab.models.checkpoint import weights_hash
from pinlab.models.export import Pins, check_target, replacing, write_export
from pinlab.recommend.variants import CachedVariant, FullVariant, SwappedVariant
from pinlab.records import PinLabError, Query

QUERIES = 8
EXPORTED = "swapped"


def export_lab(lab: Lab, variant: str, out: Path) -> dict:
    """Write `swapped` as a plain Qwen3 checkpoint; put in place only when its query vectors are the lab's.

    Returns:
        What `--json` prints: where, the files with their bytes, and the round trip's largest difference.

    Raises:
        PinLabError: another variant, `swapped` is not trained, `out` is taken, or the round trip fails.
    """
    lab_has = [info.name for info in lab.variants()]
    if variant != EXPORTED:
        raise PinLabError(
            f"{variant} cannot be exported: only {EXPORTED} is a plain text model (one token per pin, no vision layer)"
        )
    if variant not in lab_has:
        raise PinLabError(f"{variant} is not trained in {lab.path}; run `python -m pinlab train {lab.path}`")
    check_target(out)
    queries = sample_queries(lab)
    with replacing(out) as draft:
        write_swapped(lab, draft)
        difference = round_trip(partial(_in_float32, lab), draft, queries)
        if not difference < EXPORT_BOUND:  # NaN is no pass
            raise PinLabError(
                f"{out}: not written, since the exported model's query vectors differ from the lab's by "
                f"{difference:.1e} (bound {EXPORT_BOUND:.0e}); run `python -m pinlab verify {lab.path}`"
            )
    return {
        "out": str(out),
        "variant": variant,
        "model_type": "qwen3",
        "pins": len(lab.catalog),
        "files": {path.name: path.stat().st_size for path in sorted(out.iterdir())},
        "round_trip": {"max_difference": difference, "bound": EXPORT_BOUND, "queries": len(queries)},
    }


def _in_float32(lab: Lab) -> SwappedVariant:
    return cast(SwappedVariant, lab.in_float32(EXPORTED))


def write_swapped(lab: Lab, folder: Path) -> None:
    """Write an export of a lab's trained `swapped` into an empty folder, unchecked."""
    models = lab.path / "models"
    encoder = weights_hash(models / "pin-encoder")
    table = read_table(lab.path / "embeddings" / "pins.safetensors")
    ids = [pin.id for pin in lab.catalog.pins]
    codes, scales = table.stored(ids, content_keys(lab.catalog), lab.table_key)
    provenance = {
        "catalog": lab.catalog.content_hash[:16],
        "swapped": weights_hash(models / EXPORTED),
        "pin-encoder": encoder,
        "pinlab": lab.commit,
        **{name: version(name) for name in ("torch", "transformers")},
    }
    write_export(folder, models / EXPORTED, Pins(ids, codes, scales, lab.items(EXPORTED)), provenance)


def verify_lab(lab: Lab, progress: Callable[[str], None] | None = None) -> list[Row]:
    """The exactness table of a lab; a row whose models are not trained says so."""
    there = [info.name for info in lab.variants()]

    def load(name: str) -> FullVariant | SwappedVariant | None:
        return cast(FullVariant | SwappedVariant, lab.variant(name)) if name in there else None

    subject = Subject(
        full=cast(FullVariant | None, load("full")),
        cached=cast(CachedVariant | None, load("cached")),
        swapped=cast(SwappedVariant | None, load("swapped")),
        in_float32=partial(_in_float32, lab),
        write_export=partial(write_swapped, lab),
    )
    return verify(subject, sample_queries(lab), progress)


def verify_record(lab: Lab, rows: Sequence[Row]) -> dict:
    """What `verify --json` prints; a difference that is no number is null, and fails."""
    return {
        "lab": lab.path.name,
        "device": lab.device,
        "dtype": lab.dtype,
        "threads": torch.get_num_threads(),
        "rows": [plain(asdict(row) | {"passed": row.passed}) for row in rows],
        **{
            word: sum(row.passed is value for row in rows)
            for word, value in (("passed", True), ("failed", False), ("not_checked", None))
        },
    }


def sample_queries(lab: Lab, count: int = QUERIES) -> Sequence[Query]:
    """`count` queries that differ in kind: boards from all over the lab, with 1 to all of their query pins, some
    with words, and one of words alone. The same for the same lab."""
    boards = [board for board in lab.catalog.boards if lab.split.query_pins(board.id)]
    if not boards:
        raise PinLabError(f"{lab.path}: no board has a pin to ask with; there is nothing to compare")
    queries = []
    for i in range(count - 1):
        board = boards[i * len(boards) // (count - 1)]
        pins = lab.split.query_pins(board.id)
        shown = pins[: 1 + i] if i % 2 == 0 else pins  # 1, 3, 5 and 7 pins, and all
        queries.append(Query(pins=shown, text=board.title if i % 3 == 1 else "", board=board.id))
    return (*queries, Query(text=boards[0].title))
