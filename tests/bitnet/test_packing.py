"""Five values fit a byte, and a product with three values needs no multiplication."""

import itertools
import math

import numpy as np

from slmlab.bitnet.packing import TRITS_PER_BYTE, pack, product_by_adding, unpack


def test_every_combination_of_five_has_a_byte_of_its_own():
    combinations = np.array(list(itertools.product((-1, 0, 1), repeat=TRITS_PER_BYTE)))
    packed = pack(combinations.reshape(-1))
    assert packed.dtype == np.uint8
    assert len(set(packed.tolist())) == 243
    assert np.array_equal(unpack(packed).reshape(-1, TRITS_PER_BYTE), combinations)


def test_five_is_the_most_that_a_byte_holds():
    assert 3**TRITS_PER_BYTE <= 256 < 3 ** (TRITS_PER_BYTE + 1)
    assert math.log2(3) < 8 / TRITS_PER_BYTE < 2


def test_adding_gives_the_product():
    chance = np.random.default_rng(0)
    values = chance.integers(-1, 2, (20, 30))
    x = chance.integers(-127, 128, 30)
    assert np.array_equal(product_by_adding(values, x), values @ x)


def test_a_row_of_zeros_gives_zero():
    assert product_by_adding(np.zeros((1, 4)), np.ones(4)).tolist() == [0]
