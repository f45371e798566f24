"""How answers are printed."""

from __future__ import annotations

from kdlib.printing import format_table


def test_a_table_aligns_its_columns_and_leaves_missing_cells_empty():
    rows = [{"key": "ab", "accuracy": 0.123456}, {"key": "c"}]
    assert format_table(rows) == "key  accuracy\nab   0.1235\nc"
