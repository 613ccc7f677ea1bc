"""Arrays as NPY files, which may hold a text as a second array.

`numpy.save` documents that several arrays may follow one another in a file: `np.load`, also with `mmap_mode`, returns
the first. So the text travels with the depth, which a file beside it or a journal would not.
"""

import io
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from dacli.errors import DacliError
from dacli.io.names import RECORD_KEYWORD
from dacli.types import DepthArray


def encode_npy(array: npt.NDArray[np.float16 | np.float32], text: str = "") -> bytes:
    """Return the NPY file of an array, followed by the text, if there is one, as an array of its bytes."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    if text:
        np.save(file, np.frombuffer(text.encode(), np.uint8), allow_pickle=False)
    return file.getvalue()


def read_npy_text(data: bytes, name: str) -> dict[str, str]:
    """Return the text of an NPY file under the keyword of records; nothing if the file is an array without a text.

    Raises DacliError, with the file's name, for a file that is damaged or not an NPY file.
    """
    file = io.BytesIO(data)
    try:
        np.load(file, allow_pickle=False)
        if file.tell() == len(data):
            return {}
        text = np.load(file, allow_pickle=False).tobytes().decode()
        if file.tell() < len(data):
            raise ValueError("there is more after its record")
    except Exception as error:  # damaged headers can make NumPy raise anything
        raise DacliError(f"{name} is not a whole NPY file ({error})", "make it again with dacli") from error
    return {RECORD_KEYWORD: text}


def encode_npy_stream(arrays: Iterator[DepthArray], count: int) -> Iterator[bytes]:
    """Yield the NPY file of an array [N, H, W] in pieces: a header, then each of its `count` arrays [H, W]."""
    for number, array in enumerate(arrays):
        if number == 0:
            file = io.BytesIO()
            header = {"descr": "<f4", "fortran_order": False, "shape": (count, *array.shape)}
            np.lib.format.write_array_header_1_0(file, header)
            yield file.getvalue()
        yield array.astype("<f4", copy=False).tobytes()
