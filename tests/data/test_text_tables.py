"""Text of any editor and spreadsheet is read, or refused in one sentence that names the file and the line."""

from __future__ import annotations

import csv
import io
import os
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdlib.data.text_tables import read_csv, read_lines, read_text, same_form
from kdlib.errors import KdlibError


def write(folder: Path, content: bytes | str) -> Path:
    path = folder / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


class TestText:
    def test_a_byte_order_mark_is_no_text(self, tmp_path):
        assert read_text(write(tmp_path, "\ufeffclass\n"), "mend it") == "class\n"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("class".encode("utf-16"), r"table.csv is UTF-16 text; save it as UTF-8"),
            ("class".encode("utf-16-le"), r"table.csv is not UTF-8 text \(it holds a zero byte\); save it as UTF-8"),
            ("caf\u00e9".encode("latin-1"), r"table.csv is not UTF-8 text \(byte 3\); save it as UTF-8"),
        ],
    )
    def test_other_encodings_are_told(self, tmp_path, content, message):
        with pytest.raises(KdlibError, match=message):
            read_text(write(tmp_path, content), "mend it")

    def test_what_is_missing_or_no_file(self, tmp_path):
        with pytest.raises(KdlibError, match=r"none.csv is missing; mend it"):
            read_text(tmp_path / "none.csv", "mend it")
        with pytest.raises(KdlibError, match=r"is a folder, pipe or device, not a file; mend it"):
            read_text(tmp_path, "mend it")

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names here")
    def test_a_pipe_is_not_waited_for(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.csv")
        with pytest.raises(KdlibError, match=r"is a folder, pipe or device, not a file; mend it"):
            read_text(tmp_path / "pipe.csv", "mend it")

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_lines_of_any_system_keep_their_numbers(self, tmp_path, end):
        path = write(tmp_path, end.join(["one", "", " ", "two\u2028still two", ""]))
        assert read_lines(path, "mend it") == [(1, "one"), (4, "two\u2028still two")]

    def test_names_are_compared_in_one_form(self):
        assert same_form(" " + unicodedata.normalize("NFD", "caf\u00e9") + "\u00a0") == "caf\u00e9"


class TestCsv:
    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_rows_have_the_number_of_their_line_and_blank_ones_are_passed_over(self, tmp_path, end):
        path = write(tmp_path, end.join(["a,b", "", ",", '"x, y",z', ""]))
        assert read_csv(path, "mend it") == [(1, ["a", "b"]), (4, ["x, y", "z"])]

    def test_only_line_ends_end_a_row(self, tmp_path):
        path = write(tmp_path, "a\x0b\x1c\x85\u2028,b\n")
        assert read_csv(path, "mend it") == [(1, ["a\x0b\x1c\x85\u2028", "b"])]

    @pytest.mark.parametrize(
        ("text", "line"),
        [('a,b\n"cat,animal\ndog,animal\n', 3), ('a,b\n"cat"x,animal\n', 2), (f"a,b\n{'x' * 200_000},b\n", 2)],
        ids=["a quotation mark that is not closed", "text behind a quotation", "a cell over Python's limit"],
    )
    def test_what_is_no_csv_is_told_with_its_line(self, tmp_path, text, line):
        with pytest.raises(KdlibError, match=rf"line {line} of .*table.csv is no CSV \(.*\); mend it") as error:
            read_csv(write(tmp_path, text), "mend it")
        assert len(str(error.value)) < 300 and "\n" not in str(error.value)

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(st.lists(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")), min_size=1)),
        st.sampled_from(["\n", "\r\n"]),
        st.sampled_from(["", "\ufeff"]),
    )
    def test_what_python_writes_comes_back(self, rows, end, mark):
        text = io.StringIO()
        csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
        with tempfile.TemporaryDirectory() as home:
            path = write(Path(home), mark + text.getvalue())
            kept = [row for row in rows if any(cell.strip() for cell in row)]
            assert [row for _, row in read_csv(path, "mend it")] == kept

    @settings(max_examples=60, deadline=None)
    @given(st.binary(max_size=60))
    def test_any_bytes_are_rows_or_one_sentence(self, content):
        with tempfile.TemporaryDirectory() as home:
            path = write(Path(home), content)
            try:
                assert all(isinstance(cell, str) for _, row in read_csv(path, "mend it") for cell in row)
            except KdlibError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_other_encodings_are_named(tmp_path, encoding):
    (tmp_path / "a.csv").write_text("class", encoding=encoding)
    with pytest.raises(KdlibError, match=rf"a.csv is {encoding.upper()} text; save it as UTF-8"):
        read_text(tmp_path / "a.csv", "")
