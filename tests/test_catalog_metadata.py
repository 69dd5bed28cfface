"""Metadata files as people and their spreadsheets write them: understood as written, or refused by name."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinlab.catalog.metadata import names_of, read_metadata, text_of
from pinlab.records import PinLabError

# What libraries of tables take for something else than text.
AS_WRITTEN = ["007", "1e5", "1.50", "NA", "N/A", "null", "None", "nan", "NaN", "inf", "true", "FALSE", "2024-01-02",
              "1,5", "0x1F", "+1", "-", "=1+1", "12:30", "1_000", "12345678901234567890", "é 猫"]  # fmt: skip
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
cells = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12) | st.sampled_from(AS_WRITTEN)


def as_csv(rows: list[list[str]], delimiter: str = ",", ending: str = "\r\n") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=ending).writerows(rows)
    return text.getvalue()


@given(
    texts=st.lists(cells, min_size=1, max_size=4),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    ending=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(ENCODINGS),
    told=st.booleans(),
)
def test_a_csv_is_read_as_it_was_written(
    texts: list[str], delimiter: str, ending: str, encoding: str, told: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("csv") / "metadata.csv"
    rows = [[" file_name ", "title", "ours not"], *([f"{i}.png", text, "x"] for i, text in enumerate(texts))]
    excel = f"sep={delimiter}\r\n" if told and encoding.startswith("utf-8") else ""  # the line that Excel adds
    path.write_bytes((excel + as_csv(rows, delimiter, ending)).encode(encoding))
    found = read_metadata(path)
    assert [row["file_name"] for row in found] == [f"{i}.png" for i in range(len(texts))]
    assert [row["title"] for row in found] == texts
    assert all(set(row) == {"file_name", "title"} for row in found)


@pytest.mark.parametrize("text", AS_WRITTEN)
def test_text_stays_as_written_in_every_format(text: str, tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text(as_csv([["file_name", "title"], ["x.png", text]]), encoding="utf-8")
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "x.png", "title": text}))
    pq.write_table(pa.table({"file_name": ["x.png"], "title": [text]}), tmp_path / "metadata.parquet")
    for kind in ("csv", "jsonl", "parquet"):
        assert text_of(read_metadata(tmp_path / f"metadata.{kind}")[0]["title"]) == text


def test_numbers_of_json_stay_as_written_and_those_of_parquet_are_whole(tmp_path: Path) -> None:
    lines = [f'{{"file_name": "x.png", "title": {value}}}' for value in ("1e5", "1.50", "7", "true", "null", "NaN")]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    found = [text_of(row["title"]) for row in read_metadata(tmp_path / "metadata.jsonl")]
    assert found == ["1e5", "1.50", "7", "true", "", "NaN"]
    table = pa.table({"file_name": ["a", "b", "c"], "title": [7.0, None, 0.5]})  # a column of numbers with a gap
    pq.write_table(table, tmp_path / "metadata.parquet")
    assert [text_of(row["title"]) for row in read_metadata(tmp_path / "metadata.parquet")] == ["7", "", "0.5"]


def test_latin_1_is_understood_and_damaged_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_bytes("file_name;title\nx.png;Käse für 5 €\n".encode("cp1252"))
    assert read_metadata(path)[0]["title"] == "Käse für 5 €"
    path.write_bytes("file_name,title\nx.png,Käse für\n".encode()[:-3] + b"\xff\n")
    with pytest.raises(PinLabError, match=r"metadata\.csv: its text cannot be read .* at byte"):
        read_metadata(path)
    path.write_bytes(b"file_name,title\nx.png,\x83\x8f\x90\n")  # Shift-JIS
    with pytest.raises(PinLabError, match=r"metadata\.csv: its text cannot be read"):
        read_metadata(path)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("cats; dogs", ["cats", "dogs"]), ("cats", ["cats"]), ("", []), (None, []), (["cats"], ["cats"]),
        ('["cats", "dogs"]', ["cats", "dogs"]), ("['cats', 'dogs']", ["cats", "dogs"]), ("('a', 'b')", ["a", "b"]),
        ("[]", []), ("[7, 007]", ["[7, 007]"]), ("[1e5]", ["1e5"]), ("[WIP]", ["[WIP]"]), ("(misc)", ["(misc)"]),
        ('["Würste; Käse"]', ["Würste; Käse"]), ("a, b", ["a, b"]),
    ],
)  # fmt: skip
def test_boards_are_a_list_in_any_spelling(value: object, names: list[str]) -> None:
    assert names_of(value) == names


def test_a_list_without_commas_is_refused_rather_than_run_together() -> None:
    with pytest.raises(PinLabError, match="without commas"):
        names_of("['cats' 'dogs']")


REFUSED = {
    "empty": ("metadata.csv", "", "has no column file_name .* holds nothing"),
    "only a header": ("metadata.csv", "file_name,title\n", "holds no rows"),
    "no rows": ("metadata.jsonl", "\n\n", "holds no rows"),
    "another header": ("metadata.csv", "file,title\nx.png,a\n", "has no column file_name .*'file, title'"),
    "one comma too many": ("metadata.csv", "file_name,title\nx.png,a, b\n", "line 2 has 3 fields and the header 2"),
    "an open quote": ("metadata.csv", 'file_name,title\nx.png,"a\n', "line 2 cannot be read as CSV"),
    "a column twice": ("metadata.csv", "file_name,title,title\nx.png,a,b\n", "two columns title"),
    "a row without a name": ("metadata.csv", "file_name,title\n,a\n", "row 1 names no picture"),
    "a JSON array": ("metadata.jsonl", '["x.png"]', "line 1 is no JSON object"),
    "broken JSON": ("metadata.jsonl", '{"file_name": "x.png"}\n{"file', "line 2 is no JSON"),
    "no parquet": ("metadata.parquet", "PAR1", "cannot be read as parquet"),
}


@pytest.mark.parametrize(("name", "text", "says"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_understood_is_refused_by_name(name: str, text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(PinLabError, match=f"{name}: .*{says}") as caught:
        read_metadata(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_halves_of_characters_become_a_sign_that_can_be_stored(tmp_path: Path) -> None:
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "x.png", "title": "a \\ud83d b \\ud83d\\udc31"}')
    assert text_of(read_metadata(tmp_path / "metadata.jsonl")[0]["title"]) == "a \ufffd b \U0001f431"
