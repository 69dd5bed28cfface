"""An evaluation on disk: `evaluation.json`, `rows.parquet`, a page that opens without a network, CSV and LaTeX.

Everything is written under a temporary name and renamed, the JSON last: where it stands, all of it stands.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pinlab.measure.accuracy import K, Row
from pinlab.measure.evaluate import FORMAT, METRICS, plain
from pinlab.measure.page import render_page
from pinlab.records import PinLabError

JSON_NAME, ROWS_NAME, PAGE_NAME = "evaluation.json", "rows.parquet", "evaluation.html"
CSV_NAME, TEX_NAME = "evaluation.csv", "evaluation.tex"
LATEX = {character: f"\\{character}" for character in "&%$#_{}"}
LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "[": "{[}", "]": "{]}", "*": "{*}"}
_TEXT, _INTEGERS = ("task", "board", "other", "variant", "kind"), ("size", "cluster", "query_pins", "held_out", "found")


def write_report(
    report: Mapping[str, Any],
    rows: Sequence[Row],
    folder: Path,
    provenance: Mapping[str, Any] | None = None,
    pictures: Mapping[str, bytes] | None = None,
) -> None:
    """Write an evaluation to `folder`, a lab's `reports/`, in place of the one there.

    Args:
        report, rows: what `evaluate` returns. provenance: what it was made with (`Lab.provenance()`); it is stored
            under "provenance" in the JSON file and shown on the page. pictures: for the page, see `render_page`.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stored = plain(dict(report) | ({"provenance": provenance} if provenance is not None else {}))
    text = json.dumps(stored, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    texts = {PAGE_NAME: render_page(stored, pictures), CSV_NAME: report_csv(stored), TEX_NAME: report_latex(stored)}
    texts[JSON_NAME] = text
    drafts = {name: folder / (name + ".tmp") for name in (ROWS_NAME, *texts)}
    _write_rows(rows, drafts[ROWS_NAME])
    for name, content in texts.items():
        drafts[name].write_text(content, encoding="utf-8")
    (folder / JSON_NAME).unlink(missing_ok=True)  # between the renames there is no report, rather than a mixed one
    for name, draft in drafts.items():
        os.replace(draft, folder / name)


def read_report(folder: Path) -> dict[str, Any] | None:
    """The report in `folder`, or None when nothing was evaluated yet.

    Raises:
        PinLabError: the file is not JSON, lacks a part, or was written by another format of PinLab.
    """
    path = Path(folder) / JSON_NAME
    return read_report_file(path) if path.exists() else None


def read_report_file(path: Path) -> dict[str, Any]:
    """A report by the path of its JSON file; PinLabError as for `read_report`, or when there is no such file."""
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
    if broken := [name for name, fields in report["variants"].items() if not isinstance(fields, dict)]:
        raise PinLabError(f"{path}: variant {broken[0]!r} has no fields; {again}")
    return report


def read_rows(folder: Path, task: str | None = None) -> list[Row]:
    """The rows of the report in `folder`, see `evaluate`; PinLabError when they are missing or broken.

    Args:
        task: "pins", "words" ... for the rows of one case set only.
    """
    import pyarrow.parquet as pq

    path = Path(folder) / ROWS_NAME
    try:
        return pq.read_table(path, filters=None if task is None else [("task", "=", task)]).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise PinLabError(f"{path}: cannot be read ({error}); run `python -m pinlab evaluate` again") from error


def report_csv(report: Mapping[str, Any]) -> str:
    """One line per variant and metric of accuracy: mean and interval, and the boards and clusters it rests on.

    A number about all lists together, such as coverage, has no interval and rests on all boards. Empty cells are
    numbers that there are not. Costs stay in the JSON file: they are no means over boards.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("variant", "metric", "mean", "low", "high", "boards", "clusters"))
    for name, fields in report["variants"].items():
        for metric, value in fields.items():
            if _is_metric(metric, value):
                found = value if isinstance(value, Mapping) else {"mean": value, "low": None, "high": None}
                counts = (report.get("counts") or {}).get(metric) or ({} if found is value else report)
                numbers = [found[key] for key in ("mean", "low", "high")]
                writer.writerow((name, metric, *numbers, counts.get("boards"), counts.get("clusters")))
    return text.getvalue()


def report_latex(report: Mapping[str, Any]) -> str:
    """A booktabs table of the variants; it needs \\usepackage{booktabs} only."""
    heads = [f"Recall@{K}", "Strict", "Cold", f"nDCG@{K}", "p50, ms", "GFLOP"]
    lines = []
    for name, fields in report["variants"].items():
        latency = fields["latency_ms"]
        p50 = {"mean": latency["p50"], "low": latency.get("p50_low"), "high": latency.get("p50_high")}
        metrics = (f"{metric}_at_{K}" for metric in ("recall", "strict_recall", "cold_recall", "ndcg"))
        cells = [_latex_interval(fields[metric], 3) for metric in metrics]
        cells += [_latex_interval(p50, 1), "--" if fields["gflops"] is None else f"{fields['gflops']:.3f}"]
        lines.append(f"{_latex(name)} & {' & '.join(cells)} \\\\\n")
    about = f"{report['boards']} boards in {report.get('clusters', '?')} groups; 95 % intervals in brackets"
    return (
        f"% PinLab: {_latex(report['lab'])}, {_latex(about)}. Needs the package booktabs.\n"
        f"\\begin{{tabular}}{{l{'r' * len(heads)}}}\n\\toprule\n"
        f"Variant & {' & '.join(heads)} \\\\\n\\midrule\n{''.join(lines)}\\bottomrule\n\\end{{tabular}}\n"
    )


def _is_metric(name: str, value: Any) -> bool:
    """Whether a field of a variant says how good its answers are: {mean, low, high}, or one number about a list."""
    return isinstance(value, Mapping) and "mean" in value or "_at_" in name and isinstance(value, int | float)


def _latex_interval(found: Mapping[str, Any], digits: int) -> str:
    if found["mean"] is None:
        return "--"
    interval = "" if found["low"] is None else f" [{found['low']:.{digits}f}, {found['high']:.{digits}f}]"
    return f"{found['mean']:.{digits}f}{interval}"


def _latex(text: object) -> str:
    """Text that LaTeX prints as it is. Brackets and stars are in braces: after a line's end they would be options."""
    return "".join(LATEX.get(character, character) for character in " ".join(str(text).split()))


def _write_rows(rows: Sequence[Row], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Typed by hand: a lab without cold pins has only nulls there, whose type cannot be inferred.
    fields = [(name, pa.string()) for name in _TEXT] + [(name, pa.int64()) for name in _INTEGERS]
    fields += [(f"{part}_held_out", pa.int64()) for part in ("strict", "cold")]
    fields += [(name, pa.float64()) for name in METRICS]
    fields += [("latency_ms", pa.float64()), ("hits", pa.list_(pa.string()))]
    table = pa.Table.from_pylist(list(rows), schema=pa.schema(fields))
    pq.write_table(table, path, compression="zstd", compression_level=19)
