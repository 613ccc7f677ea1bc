"""Arrays as NPY files."""

import io
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from dacli.types import DepthArray


def encode_npy(array: npt.NDArray[np.float16 | np.float32]) -> bytes:
    """Return the NPY file of an array."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def encode_npy_stream(arrays: Iterator[DepthArray], count: int) -> Iterator[bytes]:
    """Yield the NPY file of an array [N, H, W] in pieces: a header, then each of its `count` arrays [H, W]."""
    for number, array in enumerate(arrays):
        if number == 0:
            file = io.BytesIO()
            header = {"descr": "<f4", "fortran_order": False, "shape": (count, *array.shape)}
            np.lib.format.write_array_header_1_0(file, header)
            yield file.getvalue()
        yield array.astype("<f4", copy=False).tobytes()
