"""Three-valued weights in bytes, and a product with them that needs no multiplication."""

import numpy as np

TRITS_PER_BYTE = 5
"""3^5 = 243 combinations fit the 256 of a byte; 3^6 = 729 do not."""

_PLACES = 3 ** np.arange(TRITS_PER_BYTE)


def pack(values: np.ndarray) -> np.ndarray:
    """Pack values of -1, 0 and +1 five to a byte, 1.6 bits each.

    Three equally likely values tell log2(3) = 1.58 bits, hence the name BitNet b1.58.
    A byte is a number of five digits in base 3, the first value its last digit. `values` has
    shape (5 n,); the result is uint8 of shape (n,).
    """
    return ((values.reshape(-1, TRITS_PER_BYTE) + 1) @ _PLACES).astype(np.uint8)


def unpack(packed: np.ndarray) -> np.ndarray:
    """Return the values that `pack` packed, int8 of shape (5 n,)."""
    digits = packed[:, None] // _PLACES % 3
    return (digits - 1).astype(np.int8).reshape(-1)


def product_by_adding(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return `values @ x` for a matrix of -1, 0 and +1 without multiplying anything.

    Each output is the sum of the entries of `x` where the row holds +1, less the sum of those
    where it holds -1; the rest is skipped. `values` has shape (out, in), `x` shape (in,).
    """
    return np.array([x[row == 1].sum() - x[row == -1].sum() for row in values])
