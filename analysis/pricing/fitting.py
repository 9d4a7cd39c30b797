"""Prices fitted to bills: least squares over sums of products, in exact arithmetic, with their standard errors."""

from __future__ import annotations

from fractions import Fraction
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Sums(NamedTuple):
    """What is known of some calls, each with the counts of its buckets and its bill.

    Attributes:
        kinds: how many calls differ in their counts.
        square: the sum of the squared bills.
        products: the sums of products of the buckets, pair by pair: 00, 01, 02 ... 11, 12 ...
        with_bills: of each bucket the sum of its products with the bills.
    """

    kinds: int
    square: int
    products: Sequence[int]
    with_bills: Sequence[int]


class Fit(NamedTuple):
    """Prices that explain bills.

    Attributes:
        prices: of each bucket, in the bills' unit; None for a bucket that nothing was counted in.
        errors: the standard error of each price.
        unexplained: the share of the bills that they leave open, as root mean square.
    """

    prices: tuple[Fraction | None, ...]
    errors: tuple[float | None, ...]
    unexplained: float

    def is_certain(self, share: float) -> bool:
        """Tell whether each price is positive, and certain to this share of itself."""
        return all(
            price > 0 and error is not None and error <= share * price
            for price, error in zip(self.prices, self.errors, strict=True)
            if price is not None
        )


def fit(sums: Sums) -> Fit | None:
    """Return the prices that explain bills best; None where the calls are too few or too alike to tell."""
    size = len(sums.with_bills)
    matrix = _symmetric(sums.products, size)
    used = [bucket for bucket in range(size) if matrix[bucket][bucket]]
    freedom = sums.kinds - len(used)
    inverse = _inverse([[matrix[row][column] for column in used] for row in used])
    if not used or freedom <= 0 or inverse is None:
        return None
    answers = [Fraction(sums.with_bills[bucket]) for bucket in used]
    solved = [sum((cell * answer for cell, answer in zip(row, answers, strict=True)), Fraction()) for row in inverse]
    explained = sum((price * answer for price, answer in zip(solved, answers, strict=True)), Fraction())
    left = max(Fraction(), sums.square - explained)
    prices: list[Fraction | None] = [None] * size
    errors: list[float | None] = [None] * size
    for place, bucket in enumerate(used):
        prices[bucket] = solved[place]
        errors[bucket] = sqrt(left / freedom * inverse[place][place])
    return Fit(tuple(prices), tuple(errors), sqrt(left / sums.square) if sums.square else 0.0)


def _symmetric(products: Sequence[int], size: int) -> list[list[int]]:
    """Return the matrix whose upper triangle is given row by row."""
    matrix = [[0] * size for _ in range(size)]
    values = iter(products)
    for row in range(size):
        for column in range(row, size):
            matrix[row][column] = matrix[column][row] = next(values)
    return matrix


def _inverse(matrix: Sequence[Sequence[int]]) -> list[list[Fraction]] | None:
    """Return the inverse by elimination, None where there is none."""
    size = len(matrix)
    rows = [
        [*map(Fraction, row), *(Fraction(int(place == column)) for column in range(size))]
        for place, row in enumerate(matrix)
    ]
    for place in range(size):
        pivot = next((number for number in range(place, size) if rows[number][place]), None)
        if pivot is None:
            return None
        rows[place], rows[pivot] = rows[pivot], rows[place]
        head = [value / rows[place][place] for value in rows[place]]
        rows = [
            head if number == place else [value - row[place] * other for value, other in zip(row, head, strict=True)]
            for number, row in enumerate(rows)
        ]
    return [row[size:] for row in rows]
