"""Tables show all their words, without an index, and stay tables."""

from __future__ import annotations

import pandas as pd

from kdlib.plotting.tables import MINUS, Name, Table, facts

LONG = "a student whose name is longer than what pandas shows by default"


def test_long_texts_are_shown_in_full_without_an_index():
    page = Table([{"network": LONG}])._repr_html_()
    assert LONG in page and "<th></th>" not in page


def test_what_pandas_makes_of_a_table_is_shown_as_one():
    filled = Table([{"network": LONG, "value": None}, {"network": "KD", "value": "1.0"}]).fillna("–")
    assert isinstance(filled, Table) and isinstance(filled, pd.DataFrame)
    assert LONG in filled._repr_html_() and "–" in filled._repr_html_()


def test_facts_are_names_beside_their_values_as_text():
    assert facts({"torch": "2.13.0", "cores": 2}).to_numpy().tolist() == [["torch", "2.13.0"], ["cores", "2"]]


def test_numbers_get_the_sign_of_minus_and_names_keep_their_hyphen():
    rows = [{"class": Name("-5"), "gain": -1.5, "in words": "-2 (-3 to 1)", "seeds": 3}]
    page = Table([*rows, {"class": Name("-5 to -3"), "gain": None, "seeds": None}])._repr_html_()
    assert ">-5<" in page and ">-5 to -3<" in page
    assert f">{MINUS}1.5<" in page and f">{MINUS}2 ({MINUS}3 to 1)<" in page


def test_facts_that_are_texts_are_names():
    page = facts({"data_folder": "-5", "weight": -0.5, "-1": "x"})._repr_html_()
    assert ">-5<" in page and ">-1<" in page and f">{MINUS}0.5<" in page
