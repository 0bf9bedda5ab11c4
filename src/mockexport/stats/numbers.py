"""Decimal numbers as they stand in a body, exactly: what is one, how they compare, and the nearest double.

A number is `[+-]?digits[.digits][e[+-]digits]`, ASCII, nothing around it. It is zero, or within the range of a double:
from 5e-324 to 1.7976931348623157e308, of either sign. A double has 17 significant digits; of a number with more than 18
the first 18 are taken, rounded half to even.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from math import isqrt
from typing import TypeAlias

__all__ = ["DIGITS", "Number", "exact", "nearest", "nearest_sqrt", "order", "parse_number"]

Number: TypeAlias = tuple[int, int]
"""A mantissa of at most 18 digits, the last one not 0, and an exponent: `(m, e)` is m * 10**e; zero is `(0, 0)`."""

DIGITS = 18
LARGEST = Decimal("1.7976931348623157e308")
SMALLEST = Decimal("5e-324")
NUMBER = re.compile(rb"([+-]?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?")
EXPONENT_DIGITS = 9  # more of them are out of range, whatever the mantissa of a row is
SQUARE_ROOT_BITS = 64  # 53 are kept, the others tell how to round


def parse_number(text: bytes) -> Number | None:
    """Read a number; None for anything else."""
    found = NUMBER.fullmatch(text)
    if found is None:
        return None
    sign, whole, fraction, exponent = found.groups(b"")
    digits = (whole + fraction).lstrip(b"0")
    if not digits:
        return 0, 0
    power = exponent.lstrip(b"+-0")
    if len(power) > EXPONENT_DIGITS:
        return None
    scale = int(power or b"0") * (-1 if exponent.startswith(b"-") else 1)
    scale += max(0, len(digits) - DIGITS) - len(fraction)
    mantissa = int(digits[:DIGITS]) + _rounds_up(digits)
    while mantissa % 10 == 0:
        mantissa //= 10
        scale += 1
    number = (-mantissa if sign == b"-" else mantissa), scale
    return number if SMALLEST <= order(number).copy_abs() <= LARGEST else None  # abs would round, and overflow


def _rounds_up(digits: bytes) -> bool:
    """Tell whether the digits behind the first 18 round up the last one of these: half to even."""
    rest = digits[DIGITS:].rstrip(b"0")
    return rest > b"5" or (rest == b"5" and digits[DIGITS - 1] % 2 == 1)  # the digit 1 is the byte 49, and so on


def order(number: Number) -> Decimal:
    """Return what numbers compare by: the number, exactly."""
    mantissa, exponent = number
    return Decimal((mantissa < 0, tuple(map(int, str(abs(mantissa)))), exponent))


def exact(number: Number) -> Fraction:
    """Return the number to calculate with."""
    mantissa, exponent = number
    return Fraction(mantissa * 10**exponent) if exponent >= 0 else Fraction(mantissa, 10**-exponent)


def nearest(number: Number | Fraction) -> float:
    """Return the nearest double, half to even."""
    if isinstance(number, Fraction):
        return number.numerator / number.denominator  # of two ints, it is rounded once
    return float(f"{number[0]}e{number[1]}")


def nearest_sqrt(square: Fraction) -> float:
    """Return the double nearest to a square root: the root of the fraction itself, rounded once.

    Raises OverflowError for a root that is larger than every double.
    """
    above, below = square.numerator, square.denominator
    shift = max(0, SQUARE_ROOT_BITS - (above.bit_length() - below.bit_length()) // 2)
    scaled, rest = divmod(above << 2 * shift, below)
    root = isqrt(scaled)
    is_exact = not rest and root * root == scaled
    return nearest(Fraction(2 * root + (not is_exact), 1 << shift + 1))  # the last bit stands for all that follow
