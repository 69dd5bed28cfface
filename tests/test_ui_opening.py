"""What the Compare page opens with: a board that is typical of the report, or the first one without a report."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fake_lab import FakeLab

from pinlab.ui.opening import first_board, first_pair

Recalls = dict[str, tuple[float | None, float | None]]


def with_recalls(folder: Path, recalls: Recalls, others: dict[str, float] | None = None) -> FakeLab:
    """A lab with a report in which full and swapped have these recalls, and `cosave` others."""
    lab = FakeLab()
    lab.path = folder
    rows = [{"task": "pins", "board": b, "variant": v, "recall_at_10": values[i]}
            for i, v in enumerate(("full", "swapped")) for b, values in recalls.items()]  # fmt: skip
    rows += [{"task": "pins", "board": b, "variant": "cosave", "recall_at_10": r} for b, r in (others or {}).items()]
    rows.append({"task": "words", "board": "rtl", "variant": "full", "recall_at_10": 0.0})
    (folder / "reports").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "reports" / "rows.parquet")
    return lab


def test_it_is_the_board_nearest_to_both_medians(tmp_path: Path) -> None:
    """Medians are 0.4 and 0.5. The distances: halloween 0.2, creator/ann 0.9, folder/sea 0.1, hostile 0.5, rtl 0.5."""
    recalls: Recalls = {
        "halloween": (0.4, 0.7), "creator/ann": (0.0, 0.0), "folder/sea": (0.3, 0.5), "hostile": (0.4, 1.0),
        "rtl": (0.9, 0.5),
    }  # fmt: skip
    assert first_board(with_recalls(tmp_path, recalls)) == "folder/sea"


def test_of_equals_it_is_the_one_with_most_pins_then_the_first(tmp_path: Path) -> None:
    lab = with_recalls(tmp_path, dict.fromkeys(("rtl", "halloween", "folder/sea"), (0.5, 0.5)))
    most = max(("rtl", "halloween", "folder/sea"), key=lambda board: len(lab.split.query_pins(board)))
    sizes = {board: len(lab.split.query_pins(board)) for board in ("rtl", "halloween", "folder/sea")}
    assert first_board(lab) == min(board for board, size in sizes.items() if size == sizes[most])


def test_boards_that_one_model_lacks_or_that_are_gone_are_left_out(tmp_path: Path) -> None:
    recalls: Recalls = {"halloween": (0.1, 0.1), "gone": (0.5, 0.5), "rtl": (0.9, 0.9), "hostile": (0.5, None)}
    found = first_board(with_recalls(tmp_path, recalls, {"folder/sea": 0.5, "hostile": 0.5}))
    assert found == "halloween", "the medians of two boards lie between them, and halloween is the first"


def test_a_new_report_is_read_anew(tmp_path: Path) -> None:
    lab = with_recalls(tmp_path, {"halloween": (0.5, 0.5)})
    assert first_board(lab) == "halloween"
    (tmp_path / "reports" / "rows.parquet").unlink()
    assert first_board(lab) == lab.split.scored[0]


@pytest.mark.parametrize("content", [b"", b"not parquet"])
def test_without_a_readable_report_it_is_the_first_scored_board(tmp_path: Path, content: bytes) -> None:
    lab = FakeLab()
    assert first_board(lab) == lab.split.scored[0]
    lab.path = tmp_path
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "rows.parquet").write_bytes(content)
    assert first_board(lab) == lab.split.scored[0]


def test_the_pair_is_the_subject_and_its_rival_where_a_lab_has_them() -> None:
    assert first_pair(["base", "swapped", "full"]) == ("full", "swapped")
    assert first_pair(["cosave", "popular"]) == ("cosave", "popular")
    assert first_pair(["popular"]) == ("popular", "popular")
