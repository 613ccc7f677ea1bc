"""GLB files: glTF 2.0 in one binary file (Khronos glTF 2.0 specification, 4.4), of one mesh with a picture on it."""

import json
import struct
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

_MAGIC, _JSON, _BINARY = b"glTF", b"JSON", b"BIN\0"
_FLOAT, _UINT32 = 5126, 5125  # types of components
_VERTICES, _INDICES = 34962, 34963  # targets of buffer views


@dataclass(frozen=True)
class TexturedMesh:
    """Vertices [V, 3], their coordinates [V, 2] in the texture, triangles [N, 3] and the JPEG of the texture."""

    vertices: npt.NDArray[np.float32]
    coordinates: npt.NDArray[np.float32]
    triangles: npt.NDArray[np.uint32]
    texture: bytes


def encode_glb(mesh: TexturedMesh, record: str) -> bytes:
    """Return the GLB file of a mesh, shown in the colors of its texture without light; the record is JSON in extras."""
    arrays = [mesh.triangles, mesh.vertices, mesh.coordinates]
    parts = [array.astype(array.dtype.newbyteorder("<"), copy=False).data.cast("B") for array in arrays]
    texture = _padded(mesh.texture, b"\0")
    offsets = np.cumsum([0, *(part.nbytes for part in parts), len(texture)]).tolist()
    text = _padded(json.dumps(_document(mesh, offsets)).replace('"RECORD"', record).encode(), b" ")
    size = 12 + 8 + len(text) + 8 + offsets[-1]
    start = _MAGIC + struct.pack("<III", 2, size, len(text)) + _JSON + text
    return b"".join((start, struct.pack("<I", offsets[-1]), _BINARY, *parts, texture))


def _padded(data: bytes, filling: bytes) -> bytes:
    return data + filling * (-len(data) % 4)


def _views(offsets: list[int]) -> list[dict[str, int]]:
    views = [{"buffer": 0, "byteOffset": start, "byteLength": end - start} for start, end in pairwise(offsets)]
    for view, target in zip(views, (_INDICES, _VERTICES, _VERTICES), strict=False):
        view["target"] = target
    return views


def _document(mesh: TexturedMesh, offsets: list[int]) -> dict[str, object]:
    """Return the JSON of the file, with "RECORD" in place of the record."""
    low, high = mesh.vertices.min(axis=0).tolist(), mesh.vertices.max(axis=0).tolist()
    vertices = len(mesh.vertices)
    return {
        "asset": {"version": "2.0", "generator": "dacli", "extras": {"dacli": "RECORD"}},
        "extensionsUsed": ["KHR_materials_unlit"],
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 1, "TEXCOORD_0": 2}, "indices": 0, "material": 0}]}],
        "materials": [
            {
                "pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicFactor": 0, "roughnessFactor": 1},
                "extensions": {"KHR_materials_unlit": {}},
                "doubleSided": True,
            }
        ],
        "textures": [{"source": 0}],
        "images": [{"bufferView": 3, "mimeType": "image/jpeg"}],
        "accessors": [
            {"bufferView": 0, "componentType": _UINT32, "count": mesh.triangles.size, "type": "SCALAR"},
            {
                "bufferView": 1,
                "componentType": _FLOAT,
                "count": vertices,
                "type": "VEC3",
                "min": low,
                "max": high,
            },
            {"bufferView": 2, "componentType": _FLOAT, "count": vertices, "type": "VEC2"},
        ],
        "bufferViews": _views(offsets),
        "buffers": [{"byteLength": offsets[-1]}],
    }
