"""An evaluation on disk: `evaluation.json`, `rows.parquet` and a page that opens without a network.

Everything is written under a temporary name and renamed, the JSON last: where it stands, all of it stands.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pinlab.measure.accuracy import K, Row
from pinlab.measure.evaluate import FORMAT, plain
from pinlab.measure.page import render_page
from pinlab.records import PinLabError

JSON_NAME, ROWS_NAME, PAGE_NAME = "evaluation.json", "rows.parquet", "evaluation.html"
_TEXT, _INTEGERS = ("board", "variant", "kind"), ("size", "cluster", "query_pins", "held_out", "found")
_NUMBERS = tuple(f"{name}_at_{K}" for name in ("recall", "ndcg", "mrr", "hit", "strict_recall", "cold_recall"))


def write_report(
    report: Mapping[str, Any], rows: Sequence[Row], folder: Path, provenance: Mapping[str, Any] | None = None
) -> None:
    """Write an evaluation to `folder`, a lab's `reports/`, in place of the one there.

    Args:
        report, rows: what `evaluate` returns. provenance: what it was made with (`Lab.provenance()`); it is stored
            under "provenance" in the JSON file and shown on the page.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stored = plain(dict(report) | ({"provenance": provenance} if provenance is not None else {}))
    text = json.dumps(stored, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    drafts = {name: folder / (name + ".tmp") for name in (ROWS_NAME, PAGE_NAME, JSON_NAME)}
    _write_rows(rows, drafts[ROWS_NAME])
    drafts[PAGE_NAME].write_text(render_page(stored), encoding="utf-8")
    drafts[JSON_NAME].write_text(text, encoding="utf-8")
    (folder / JSON_NAME).unlink(missing_ok=True)  # between the renames there is no report, rather than a mixed one
    for name, draft in drafts.items():
        os.replace(draft, folder / name)


def read_report(folder: Path) -> dict[str, Any] | None:
    """The report in `folder`, or None when nothing was evaluated yet.

    Raises:
        PinLabError: the file is not JSON, lacks a part, or was written by another format of PinLab.
    """
    path = Path(folder) / JSON_NAME
    if not path.exists():
        return None
    again = "run `python -m pinlab evaluate` again"
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PinLabError(f"{path}: not a readable report ({error}); {again}") from error
    if not isinstance(report, dict) or report.get("format") != FORMAT:
        found = report.get("format") if isinstance(report, dict) else None
        raise PinLabError(f"{path}: report format {found!r}, this PinLab reads {FORMAT}; {again}")
    for name, kind in (("lab", str), ("boards", int), ("variants", dict), ("pairs", dict)):
        if not isinstance(report.get(name), kind):
            raise PinLabError(f"{path}: the report has no {name!r}; {again}")
    return report


def read_rows(folder: Path) -> list[Row]:
    """The per-board rows of the report in `folder`; PinLabError when they are missing or broken."""
    import pyarrow.parquet as pq

    path = Path(folder) / ROWS_NAME
    try:
        return pq.read_table(path).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise PinLabError(f"{path}: cannot be read ({error}); run `python -m pinlab evaluate` again") from error


def _write_rows(rows: Sequence[Row], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Typed by hand: a lab without cold pins has only nulls there, whose type cannot be inferred.
    fields = [(name, pa.string()) for name in _TEXT] + [(name, pa.int64()) for name in _INTEGERS]
    fields += [(f"{part}_held_out", pa.int64()) for part in ("strict", "cold")]
    fields += [(name, pa.float64()) for name in _NUMBERS]
    fields += [("hits", pa.list_(pa.string()))]
    pq.write_table(pa.Table.from_pylist(list(rows), schema=pa.schema(fields)), path, compression="zstd")
