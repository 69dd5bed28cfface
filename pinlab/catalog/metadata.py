"""Metadata files beside pictures: CSV as spreadsheets write it, JSON lines, parquet. Text stays as it was written.

Read here and not by a library of tables: those turn "007" into 7, "NA" into nothing and "1e5" into 100000.0.
"""

from __future__ import annotations

import ast
import codecs
import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pinlab.records import PinLabError

NAMES = ("metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.parquet")
FILE = "file_name"
COLUMNS = (FILE, "title", "description", "source", "author", "license", "boards")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as that of UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

Row = dict[str, object]


def read_metadata(path: Path) -> list[Row]:
    """The rows of a metadata file: those of `COLUMNS` that it has, as text or, from JSON and parquet, as lists.

    Raises:
        PinLabError: names the file, and the line where there is one, that cannot be understood.
    """
    read = {".jsonl": _json_lines, ".parquet": _parquet}.get(path.suffix.lower(), _csv)
    try:
        rows = read(path)
    except OSError as error:
        raise PinLabError(f"{path}: cannot be read ({error.strerror or error})") from error
    if not rows:
        raise PinLabError(f"{path}: holds no rows; add one per picture, or remove the file to take every picture")
    if not any(FILE in row for row in rows):
        raise PinLabError(f"{path}: has no column {FILE}; add it, one row per picture")
    for number, row in enumerate(rows, 1):
        if not text_of(row.get(FILE)):
            raise PinLabError(f"{path}: row {number} names no picture; fill its {FILE} or remove the row")
    return rows


def text_of(value: object) -> str:
    """A value as text in one line: what a person wrote stays, but for white space; nothing is ""."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = f"{value:.0f}"  # a column of whole numbers with a gap is one of floats in parquet
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return re.sub(r"\s+", " ", whole(str(value))).strip()


def whole(text: str) -> str:
    """Text without halves of characters, which JSON and names that are not UTF-8 can bring: "�" stands for each."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def names_of(value: object) -> list[str]:
    """The boards in a cell: a list, a list written as text (`["a", "b"]`), or names separated by ';'.

    Raises:
        PinLabError: a list written as text without commas, which would run its names together.
    """
    if not isinstance(value, list | tuple):
        text = text_of(value)
        written = _written_list(text)
        value = text.split(";") if written is None else written
    return [name for part in value if (name := text_of(part))]


def _written_list(text: str) -> list | tuple | None:
    if text[:1] + text[-1:] not in ("[]", "()"):
        return None
    try:
        found = json.loads(text, parse_float=str, parse_int=str)
    except (ValueError, RecursionError):
        found = None
    if found is None and re.search(r"""['"]\s+['"]""", text):
        raise PinLabError(f"{text[:60]!r} is a list without commas; separate the boards by ';'")
    try:
        found = found or ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None  # brackets in a name
    return found if isinstance(found, list | tuple) else None


def _csv(path: Path) -> list[Row]:
    text = _decoded(path)
    first, _, rest = text.partition("\n")
    told = re.fullmatch(r'"?sep=(.)"?\r?', first, re.IGNORECASE)  # what Excel takes for itself
    text = rest if told else text
    delimiter = told[1] if told else _delimiter(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        twice = [name for name, count in Counter(header).items() if count > 1 and name in COLUMNS]
        if twice:
            raise PinLabError(f"{path}: has two columns {twice[0]}; keep one")
        rows = []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if any(cell.strip() for cell in cells[len(header) :]):
                raise PinLabError(
                    f"{path}: line {reader.line_num} has {len(cells)} fields and the header {len(header)}; put text "
                    f"that contains {delimiter!r} in double quotes"
                )
            rows.append(_ours(zip(header, cells, strict=False)))
    except csv.Error as error:
        raise PinLabError(f"{path}: line {reader.line_num} cannot be read as CSV ({error})") from error
    if FILE not in header:
        found = f"{', '.join(header)[:80]!r}" if any(header) else "nothing"
        raise PinLabError(f"{path}: has no column {FILE} (its first line holds {found}); add it, one row per picture")
    return rows


def _delimiter(text: str) -> str:
    """The sign between the columns: that by which the first line has a column `file_name`."""
    for delimiter in (",", ";", "\t", "|"):
        try:
            header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        except csv.Error:
            continue
        if FILE in (name.strip() for name in header):
            return delimiter
    return ","


def _decoded(path: Path) -> str:
    """Text of a file in UTF-8, UTF-16, UTF-32 or, as spreadsheets of the West still write it, Windows-1252."""
    data = path.read_bytes()
    told = next((name for mark, name in _BOMS if data.startswith(mark)), None)
    if told is None and b"\0" in data[:2000]:
        told = "utf-16-be" if data[:1] == b"\0" else "utf-16-le"
    try:
        return data.decode(told or "utf-8")
    except UnicodeDecodeError as error:
        broken = f"{path}: its text cannot be read ({error.reason} at byte {error.start}); save it as UTF-8"
        if told or not data.decode("utf-8", "ignore").isascii():  # UTF-8 for the most part: damaged, not another one
            raise PinLabError(broken) from error
    try:
        return data.decode("cp1252")
    except UnicodeDecodeError as error:  # a few bytes mean nothing in it
        raise PinLabError(broken) from error


def _json_lines(path: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(_decoded(path).split("\n"), 1):
        if not line.strip():
            continue
        try:  # numbers as they are written
            found = json.loads(line, parse_float=str, parse_int=str, parse_constant=str)
        except (ValueError, RecursionError) as error:
            raise PinLabError(f"{path}: line {number} is no JSON ({error})") from error
        if not isinstance(found, dict):
            raise PinLabError(f"{path}: line {number} is no JSON object; write one row per line")
        rows.append(_ours(found.items()))
    return rows


def _parquet(path: Path) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            table = pq.read_table(file)
        return table.select([name for name in table.column_names if name in COLUMNS]).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise PinLabError(f"{path}: cannot be read as parquet ({reason})") from error


def _ours(cells: Iterable[tuple[str, object]]) -> Row:
    return {name: value for name, value in cells if name in COLUMNS}
