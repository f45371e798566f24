"""Text files and CSV tables that people make: read as UTF-8 with or without its mark, and refused in one sentence.

Excel saves "CSV UTF-8" with a byte order mark, macOS may write an accent as a character of its own, and an unclosed
quotation mark makes one cell of the rest of a file.
"""

from __future__ import annotations

import csv
import io
import stat
import unicodedata
from pathlib import Path

from kdlib.errors import KdlibError


def same_form(text: str) -> str:
    """The text in Unicode's form C, in which equal characters are equal code points; without space around it.

    >>> same_form("cafe" + chr(0x301)) == "caf" + chr(0xE9)
    True
    """
    return unicodedata.normalize("NFC", text).strip()


def is_plain_text(name: str) -> bool:
    """Whether a name is of one line, without signs that steer a terminal and bytes that are no text.

    >>> is_plain_text("fire engine"), is_plain_text("fire" + chr(0x2028) + "engine")
    (True, False)
    """
    return not any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in name)


def at_a_glance(name: str) -> str:
    """What a reader sees of a name: without case, spaces and signs that are not drawn.

    >>> at_a_glance("Wild cat") == at_a_glance("wild" + chr(0x200B) + "CAT")
    True
    """
    return "".join(sign for sign in same_form(name).casefold() if sign.isprintable() and not sign.isspace())


def read_bytes(path: Path, remedy: str) -> bytes:
    """What is in a file; raises KdlibError for what is missing, no regular file (a pipe never ends) or unreadable."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise KdlibError(f"{path} is a folder, pipe or device, not a file; {remedy}")
        return path.read_bytes()
    except FileNotFoundError:
        raise KdlibError(f"{path} is missing; {remedy}") from None
    except OSError as error:
        raise KdlibError(f"{path} cannot be read ({error.strerror}); make it a readable file") from error


def read_text(path: Path, remedy: str) -> str:
    """The text of a UTF-8 file, without a byte order mark, every line end as it is.

    remedy: what to do about a missing file; it ends the sentence. Raises KdlibError for what is missing, no regular
    file, unreadable or other than UTF-8.

    >>> read_text(Path("nowhere.csv"), "give another folder")
    Traceback (most recent call last):
    ...
    kdlib.errors.KdlibError: nowhere.csv is missing; give another folder
    """
    content = read_bytes(path, remedy)
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        kind = "UTF-32" if content.startswith(b"\xff\xfe\0\0") else "UTF-16"
        raise KdlibError(f"{path} is {kind} text; save it as UTF-8")
    try:
        text = content.decode("utf-8").lstrip("\ufeff")  # the mark, or several where tools put theirs before another's
    except UnicodeDecodeError as error:
        raise KdlibError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    if "\0" in text:
        raise KdlibError(f"{path} is not UTF-8 text (it holds a zero byte); save it as UTF-8")
    return text


def read_lines(path: Path, remedy: str) -> list[tuple[int, str]]:
    """(number from 1, line without its end) of each line that is not blank; errors are those of `read_text`."""
    lines = io.StringIO(read_text(path, remedy), newline=None).read().split("\n")
    return [(number, line) for number, line in enumerate(lines, 1) if line.strip()]


def read_csv(path: Path, remedy: str) -> list[tuple[int, list[str]]]:
    """(number of its last line, cells) of each row of a CSV file that holds anything but blanks.

    Raises KdlibError as `read_text` does, for a quotation mark that is not closed and for a cell that is longer than
    Python's limit, which is a sign of the same.
    """
    # Without the space after a comma, behind which a quotation mark would be taken for a part of the cell.
    reader = csv.reader(io.StringIO(read_text(path, remedy), newline=""), strict=True, skipinitialspace=True)
    rows = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append((reader.line_num, row))
    except csv.Error as error:
        raise KdlibError(f"line {reader.line_num} of {path} is no CSV ({error}); {remedy}") from error
    return rows
