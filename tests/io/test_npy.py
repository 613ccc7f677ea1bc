import io

import numpy as np

from dacli.io import npy

RNG = np.random.default_rng(5)


def test_an_array_is_read_by_numpy() -> None:
    depth = RNG.random((7, 5), dtype=np.float32)
    found = np.load(io.BytesIO(npy.encode_npy(depth)), allow_pickle=False)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, depth)


def test_arrays_in_pieces_are_read_by_numpy_as_one() -> None:
    depths = RNG.random((3, 7, 5), dtype=np.float32)
    pieces = list(npy.encode_npy_stream(iter(depths), 3))
    assert len(pieces) == 1 + 3
    np.testing.assert_array_equal(np.load(io.BytesIO(b"".join(pieces)), allow_pickle=False), depths)
