"""What a number is, exactly; and doubles that are rounded once."""

from __future__ import annotations

import math
from decimal import Decimal, InvalidOperation, localcontext
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mockexport.stats.numbers import exact, nearest, nearest_sqrt, order, parse_number

ODD = [
    b"", b"+", b"-", b".", b"1.", b".5", b"1e", b"1e+", b"e5", b"--1", b"1 ", b" 1", b"1_000", b"0x10", b"NaN", b"inf",
    b"Infinity", b"1,5", b"1.2.3", b"1e5.0", b"1e5e5", b"\xd9\xa1", b"1\n", b"1\x00",
]  # fmt: skip
signs = st.sampled_from(["", "+", "-"])
digits = st.text("0123456789", min_size=1, max_size=25)
texts = st.builds(
    "{}{}{}{}".format,
    signs,
    digits,
    st.one_of(st.just(""), digits.map(".{}".format)),
    st.one_of(st.just(""), st.builds("e{}{}".format, signs, st.integers(0, 400))),
)


@given(texts)
@example("0.1")
@example("1.7976931348623157e308")
@example("1.7976931348623159e308")
@example("5e-324")
@example("4.9e-324")
@example("1234567890123456785")  # half to even, down
@example("12345678901234567850000001")
@example("99999999999999999995")
def test_a_number_is_that_of_decimal_rounded_to_18_digits(text: str) -> None:
    with localcontext(prec=18):
        expected = Decimal(text) + 0  # rounded, half to even
    number = parse_number(text.encode())
    if expected and not Decimal("5e-324") <= abs(expected) <= Decimal("1.7976931348623157e308"):
        assert number is None
        return
    assert number is not None
    assert order(number) == expected
    assert exact(number) == Fraction(expected)
    assert nearest(number) == float(expected)


@given(texts)
def test_equal_numbers_are_one_whatever_their_digits(text: str) -> None:
    number = parse_number(text.encode())
    if number is not None:
        mantissa, exponent = number
        assert number == (0, 0) or mantissa % 10
        assert parse_number(f"{mantissa}e{exponent}".encode()) == number
        assert parse_number(f"{mantissa}00e{exponent - 2}".encode()) == number


@pytest.mark.parametrize("text", ODD, ids=repr)
def test_anything_else_is_no_number(text: bytes) -> None:
    assert parse_number(text) is None


@pytest.mark.parametrize("exponent", ["1000000", "-2000000", "999999999", "9999999999", "-" + "9" * 5000])
def test_an_exponent_beyond_a_double_is_no_number_however_large_it_is(exponent: str) -> None:
    assert parse_number(f"1e{exponent}".encode()) is None
    assert parse_number(f"0e{exponent}".encode()) == (0, 0)


def test_leading_zeros_change_nothing_however_many_there_are() -> None:
    assert parse_number(b"0" * 5000 + b"12e" + b"0" * 5000 + b"3") == (12, 3)
    assert parse_number(b"1e-" + b"0" * 5000 + b"3") == (1, -3)
    assert parse_number(b"0." + b"0" * 5000 + b"12e5000") == (12, -2)


@given(st.fractions(min_value=0, max_value=10**40))
@example(Fraction(0))
@example(Fraction(2))
@example(Fraction(1, 4))
@example(Fraction(9007199254740993) ** 2)  # halfway between two doubles
@example(Fraction(9007199254740995) ** 2)
@example(Fraction(9007199254740993) ** 2 + Fraction(1, 10**30))
@example(Fraction(1, 10**600))
def test_a_square_root_is_the_double_nearest_to_it(square: Fraction) -> None:
    with localcontext(prec=60) as context:
        context.Emin, context.Emax = -(10**6), 10**6
        root = (Decimal(square.numerator) / Decimal(square.denominator)).sqrt()
    found = nearest_sqrt(square)
    if found == float(root):
        return
    # 60 digits may not tell a half from what is a little above it: then the fraction itself does.
    low, high = sorted((found, float(root)))
    middle = (Fraction(low) + Fraction(high)) / 2
    assert (found == high) == (middle**2 < square)


def test_a_root_beyond_all_doubles_is_an_error() -> None:
    with pytest.raises(OverflowError):
        nearest_sqrt(Fraction(10) ** 618)
    assert nearest_sqrt(Fraction(10) ** 616) == 1e308


@given(st.lists(texts, min_size=2, max_size=2))
def test_numbers_compare_exactly(pair: list[str]) -> None:
    one, other = (parse_number(text.encode()) for text in pair)
    if one is not None and other is not None:
        assert (order(one) < order(other)) == (exact(one) < exact(other))
        assert not math.isnan(nearest(one))


def test_decimal_reads_none_of_the_odd_texts_that_are_plain_words() -> None:
    for text in (b"1.2.3", b"--1", b"e5"):
        with pytest.raises(InvalidOperation):
            Decimal(text.decode())
