"""The command line: `python -m pinlab VERB`. One function per verb.

`--json` prints one JSON object as the last line of standard output; progress goes to standard error.
Exit 0 on success, 2 on bad input with one clear line; `verify` exits 1 when what it measured breaks a bound.
"""

from __future__ import annotations

import io
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

from pinlab.cores import limit_threads
from pinlab.measure.statistics import MARGIN
from pinlab.records import Answer, PinLabError, Query

if TYPE_CHECKING:
    from pinlab.measure.verify import Row

cli = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


def path(text: str) -> Path:
    """A path from the command line. An empty one would be the working directory, which nobody means by it."""
    return Path(word(text))


def word(text: str) -> str:
    if not text:
        raise typer.BadParameter("it is empty")
    return text


LabPath = Annotated[Path, typer.Argument(metavar="LAB", parser=path, help="lab folder, such as assets/illustrations")]
UNTRAINED_TURNS = "note: no model here was trained on follow-ups; each is read as a second question, at its own risk"
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object as the last line")]


@cli.command()
def build(
    source: Annotated[Path, typer.Argument(parser=path, help="folder of pictures (subfolder = board) or imagefolder")],
    out: Annotated[
        Path, typer.Option(parser=path, help="where the lab is written: a new or empty folder, or an earlier lab")
    ],
) -> None:
    """Make a lab from pictures: catalog, split, lab.json."""
    from pinlab.steps import build_from

    catalog = build_from(source, out)
    skipped = catalog.provenance.get("skipped", [])
    print(f"{out}: {len(catalog)} pins on {len(catalog.boards)} boards; {len(skipped)} files skipped (catalog.json)")


@cli.command()
def train(
    lab: LabPath,
    base: Annotated[
        str | None,
        typer.Option(
            parser=word,
            help="`nano`, a folder with a Qwen3-VL, or a Hub id: Qwen/Qwen3-VL-2B-Instruct[@COMMIT]; without it what "
            "the lab's models were trained from, `nano` in a new lab",
        ),
    ] = None,
    try_rates: Annotated[
        bool, typer.Option("--try-rates", help="also try every learning rate on both rivals, in short runs")
    ] = False,
) -> None:
    """Train base, pin encoder, swapped, full (all seeds), pooled and shallow. Resumes where it stopped."""
    from pinlab.lab import open_lab
    from pinlab.steps import Workshop

    shop = Workshop(open_lab(lab), base)
    shop.train_all()
    if try_rates:
        shop.try_rates()
    print(f"{lab}: trained; next: python -m pinlab embed {lab}")


@cli.command()
def embed(lab: LabPath) -> None:
    """Fill or refresh the embedding table and the item vectors; only what changed."""
    from pinlab.lab import open_lab
    from pinlab.steps import embed_lab

    made = embed_lab(open_lab(lab))
    print(f"{lab}: {'embedded' if made else 'all fresh, nothing to do'}; next: python -m pinlab map {lab}")


@cli.command(name="map")
def make_map(lab: LabPath) -> None:
    """Freeze the 2-D maps of pin embeddings and of full's item vectors."""
    from pinlab.lab import open_lab
    from pinlab.steps import map_lab

    made = map_lab(open_lab(lab))
    print(f"{lab}: {'mapped' if made else 'all fresh, nothing to do'}")


@cli.command()
def evaluate(
    lab: LabPath,
    variants: Annotated[str, typer.Option(help="names, comma between; all by default")] = "",
    margin: Annotated[float, typer.Option(help="a loss of Recall up to this still counts as not worse")] = MARGIN,
    prices: Annotated[
        Path | None, typer.Option(parser=path, help="own price an hour, an API's price: a JSON file, see README")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Accuracy on held-out saves and cost on the fixed workload, with intervals; writes reports/.

    An evaluation of some variants only goes to reports/some/: it does not replace the lab's report.
    """
    from pinlab.assessment import evaluate_lab
    from pinlab.lab import open_lab

    names = [name.strip() for name in variants.split(",") if name.strip()]
    report = evaluate_lab(open_lab(lab), names or None, margin, prices)
    if as_json:
        print(json.dumps(report, allow_nan=False))
        return
    for name, row in report["variants"].items():
        recall, strict = row["recall_at_10"], row["strict_recall_at_10"]
        p50 = row["latency_ms"]["p50"]
        latency = "not timed" if p50 is None else f"{p50} ms"
        print(f"{name:9} Recall@10 {_interval(recall)}  strict {_interval(strict)}  p50 {latency}")
    for name, pair in report["pairs"].items():
        words = {metric.partition("_")[0]: found["verdict"] for metric, found in pair.items()}
        print(f"{name}: {words['recall']}; strict: {words['strict']}; cold: {words['cold']}")


@cli.command()
def compare(
    a: Annotated[
        Path, typer.Argument(metavar="A.json", parser=path, help="a report, such as LAB/reports/evaluation.json")
    ],
    b: Annotated[Path, typer.Argument(metavar="B.json", parser=path, help="a report on the same boards")],
    as_json: AsJson = False,
) -> None:
    """Two reports side by side, B less A; refuses when they are not about the same boards."""
    from pinlab.measure.comparison import compare_files, comparison_lines

    found = compare_files(a, b)
    print(json.dumps(found, allow_nan=False) if as_json else "\n".join(comparison_lines(found)))


@cli.command()
def recommend(
    lab: LabPath,
    variant: Annotated[str, typer.Option(help="full, swapped, base, nearest ...")],
    board: Annotated[str | None, typer.Option(help="board id")] = None,
    text: Annotated[str, typer.Option(help="a title or a wish")] = "",
    image: Annotated[list[Path] | None, typer.Option(parser=path, help="a picture; may be given again")] = None,
    then: Annotated[list[str] | None, typer.Option(help="a follow-up that refines; may be given again")] = None,
    like: Annotated[list[str] | None, typer.Option(help="id of a pin to find more like; may be given again")] = None,
    unlike: Annotated[list[str] | None, typer.Option(help="id of a pin to find less like; may be given again")] = None,
    k: Annotated[int, typer.Option("-k", help="how many")] = 10,
    as_json: AsJson = False,
) -> None:
    """Answer one query."""
    from pinlab.catalog.images import read_image
    from pinlab.lab import open_lab

    opened = open_lab(lab)
    images = [read_image(path, path.name) for path in image or ()]
    query = opened.board_query(board, text, images) if board is not None else Query(images=tuple(images), text=text)
    query = replace(query, turns=tuple(then or ()), liked=tuple(like or ()), disliked=tuple(unlike or ()))
    answer = opened.answer(variant, query, k)
    if query.turns:
        print(UNTRAINED_TURNS, file=sys.stderr)
    if as_json:
        print(json.dumps(answer_record(variant, answer)))
        return
    for hit in answer.hits:
        mark = "held out here" if hit.held_out else ""
        print(f"{hit.rank:3}  {hit.score:.4f}  {hit.pin}  {hit.title}  {mark}".rstrip())
    print(f"{answer.cost.latency_ms:.1f} ms, {answer.cost.tokens} tokens, {answer.cost.images_encoded} images encoded")


@cli.command()
def bench(
    size: Annotated[str, typer.Option(help="nano, 2b, 4b or 8b: published shapes, random weights")] = "nano",
    pins: Annotated[int, typer.Option(min=1, help="pictures of the query")] = 10,
    pixels: Annotated[int, typer.Option(min=32, help="side of each picture, a multiple of 32")] = 256,
    grid: Annotated[bool, typer.Option("--grid", help="time 1 to 50 pins at 256 to 512 px, too; takes long")] = False,
    as_json: AsJson = False,
    out: Annotated[Path | None, typer.Option(parser=path, help="also write a page with pictures, an HTML file")] = None,
) -> None:
    """Latency, FLOPs and memory at real Qwen3-VL sizes; needs no lab and no download."""
    from pinlab.measure.bench import run_bench
    from pinlab.measure.bench_cost import Point
    from pinlab.measure.bench_page import check_writable, summary_lines, write_page

    if out is not None:
        check_writable(out)
    report = run_bench(size, Point(pins, pixels), grid)
    if out is not None:
        write_page(report, out)
    print(json.dumps(report, allow_nan=False) if as_json else "\n".join(summary_lines(report)))


@cli.command()
def verify(lab: LabPath, as_json: AsJson = False) -> None:
    """Measure what must be the same: cached and full, swapped and a plain Qwen3 ... Exit 1 when a row fails."""
    from pinlab.lab import open_lab
    from pinlab.release import verify_lab, verify_record

    opened = open_lab(lab)
    rows = verify_lab(opened, lambda name: print(f"measuring {name}", file=sys.stderr))
    if as_json:
        print(json.dumps(verify_record(opened, rows), allow_nan=False))
    else:
        for row in rows:
            print(f"{_verdict(row.passed):11}  {row.name:33}  {row.dtype:8}  {_measured(row):24}  {row.compares}")
        print(f"{sum(row.passed is True for row in rows)} of {len(rows)} pass on {opened.device}, {opened.dtype}")
    if any(row.passed is False for row in rows):
        raise typer.Exit(1)


@cli.command()
def export(
    lab: LabPath,
    out: Annotated[Path, typer.Option(parser=path, help="a new or empty folder, or an earlier export")],
    variant: Annotated[str, typer.Option(help="`swapped` is the only one that can be exported")] = "swapped",
    as_json: AsJson = False,
) -> None:
    """Write swapped as a plain Qwen3 checkpoint with projector, pin embeddings and a README on serving it."""
    from pinlab.lab import open_lab
    from pinlab.release import export_lab

    record = export_lab(open_lab(lab), variant, out)
    if as_json:
        print(json.dumps(record))
        return
    size, trip = sum(record["files"].values()), record["round_trip"]
    print(f"{out}: Qwen3 and {record['pins']} pins, {size / 1e6:.1f} MB; {out / 'README.md'} says how to use it")
    print(f"round trip: query vectors differ by at most {trip['max_difference']:.1e} (bound {trip['bound']:.0e})")


def _verdict(passed: bool | None) -> str:
    return {True: "pass", False: "FAIL", None: "not checked"}[passed]


def _measured(row: Row) -> str:
    if row.difference is None:
        return row.reason
    return f"{'exact' if row.exact else f'{row.difference:.1e}'} (bound {row.bound:.0e})"


def answer_record(variant: str, answer: Answer) -> dict:
    """The shape of DESIGN.md section 9, the same in command line and app."""
    return {"variant": variant, "hits": [asdict(hit) for hit in answer.hits], "cost": asdict(answer.cost)}


def _interval(value: dict) -> str:
    if value["mean"] is None:
        return "-"
    if value["low"] is None:  # one group of linked boards has no interval
        return f"{value['mean']:.3f} (no interval)"
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def main() -> None:
    """Run a verb; bad input is one line on standard error and exit 2."""
    limit_threads()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that cannot show a sign of a title shows "?"
        sys.stdout.reconfigure(errors="replace")
    try:
        code = cli(standalone_mode=False)
        sys.stdout.flush()  # so that a full disk is reported here, not when Python exits
        sys.exit(code)
    except PinLabError as error:
        print(f"pinlab: {error}", file=sys.stderr)
    except OSError as error:  # whatever no module told in better words
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - what cannot be written is not tried again
        if not isinstance(error, BrokenPipeError):  # there, nobody reads on
            print(f"pinlab: {f'{error.filename}: ' if error.filename else ''}{error.strerror}", file=sys.stderr)
    except UnicodeError as error:  # a name that is no UTF-8, where a library needs one
        print(f"pinlab: {error}; rename the file or folder", file=sys.stderr)
    except TyperException as error:  # a wrong option or a missing one
        message = error.format_message()
        if message:  # without a verb the help was printed, and there is none
            print(f"pinlab: {message} See `python -m pinlab --help`.", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
