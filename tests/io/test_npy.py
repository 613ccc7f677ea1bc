import io

import numpy as np
import pytest

from dacli.errors import DacliError
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


def test_a_text_follows_the_array() -> None:
    depth = np.arange(6, dtype=np.float32).reshape(2, 3)
    data = npy.encode_npy(depth, "mètres")
    assert np.array_equal(np.load(io.BytesIO(data), allow_pickle=False), depth)
    assert npy.read_npy_text(data, "a.npy") == {"dacli": "mètres"}
    assert npy.read_npy_text(npy.encode_npy(depth), "a.npy") == {}


@pytest.mark.parametrize("cut", [0, 9, 130, -1])
def test_a_damaged_file_has_no_text(cut: int) -> None:
    data = npy.encode_npy(np.zeros((2, 3), np.float32), "text")
    with pytest.raises(DacliError, match=r"a\.npy is not a whole NPY file"):
        npy.read_npy_text(data[:cut], "a.npy")


@pytest.mark.parametrize("after", [b"x", b"\0" * 200])
def test_more_after_the_text_is_damage(after: bytes) -> None:
    data = npy.encode_npy(np.zeros((2, 3), np.float32), "text")
    with pytest.raises(DacliError, match="more after its record"):
        npy.read_npy_text(data + after, "a.npy")
