"""Constants of an ML program: from a blob file or inline, and the compressed forms that Core ML expands at load time.

Sources: coremltools 9, mlmodel/format/MIL.proto (immediate values), mlmodel/src/MILBlob/Blob/StorageFormat.hpp (blob
file: a record of 64 bytes with sentinel, type, size and offset before each tensor) and its documentation of the
constexpr operations.
"""

import math
import struct
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]

TYPES = {
    1: "bool",
    2: "string",
    10: "fp16",
    11: "fp32",
    21: "int8",
    22: "int16",
    23: "int32",
    31: "uint8",
    32: "uint16",
    33: "uint32",
}
"""MILSpec.DataType by number; sub-byte and eight-bit float types do not occur before iOS 18."""

STORED = {
    "bool": "?",
    "fp16": "<f2",
    "fp32": "<f4",
    "int8": "i1",
    "int16": "<i2",
    "int32": "<i4",
    "uint8": "u1",
    "uint16": "<u2",
    "uint32": "<u4",
}
BLOB_TYPES = {1: "fp16", 2: "fp32", 3: "uint8", 4: "int8", 6: "int16", 7: "uint16", 14: "int32", 15: "uint32"}
RECORD, SENTINEL = struct.Struct("<IIQQ"), 0xDEADBEEF
MAX_ELEMENTS = 1 << 28
"""Of one tensor: above this a package is broken, or not one for an edge device."""


def elements(shape: tuple[int, ...]) -> int:
    """How many elements a declared shape has. Raises ValueError where that is negative or beyond MAX_ELEMENTS."""
    count = math.prod(shape)
    if min(shape, default=1) < 0 or count > MAX_ELEMENTS:
        raise ValueError(f"a tensor of shape {shape} is out of range")
    return count


def from_blob(blob: bytes, offset: int, dtype: str, shape: tuple[int, ...]) -> Array:
    """The tensor whose record stands at `offset`. Raises ValueError where it is out of range or of another type or size."""
    if offset < 0 or offset + RECORD.size > len(blob):
        raise ValueError(f"weight record at {offset} is outside the file of {len(blob)} bytes")
    sentinel, kind, size, start = RECORD.unpack_from(blob, offset)
    if sentinel != SENTINEL:
        raise ValueError(f"there is no weight record at {offset}")
    if BLOB_TYPES.get(kind) != dtype:
        raise ValueError(f"weight record at {offset} has type {BLOB_TYPES.get(kind, kind)}, expected {dtype}")
    stored = np.dtype(STORED[dtype])
    if size != elements(shape) * stored.itemsize:
        raise ValueError(f"weight record at {offset} has {size} bytes, expected {elements(shape) * stored.itemsize}")
    if start + size > len(blob):
        raise ValueError(f"weights at {start} reach beyond the file of {len(blob)} bytes")
    return np.frombuffer(blob, stored, elements(shape), start).reshape(shape)


def from_immediate(value: Any, dtype: str, shape: tuple[int, ...]) -> Array | str:
    """The tensor in a `TensorValue` message; a text for a string. Raises ValueError for what does not fit its type."""
    field = value.WhichOneof("value")
    if field is None:
        raise ValueError("an inline constant has no value")
    if dtype == "string":
        if len(value.strings.values) != 1:
            raise ValueError("an inline constant is a list of texts")
        return str(value.strings.values[0])
    if field == "bytes":
        flat: Array = np.frombuffer(value.bytes.values, STORED[dtype])
    else:
        flat = np.array(getattr(value, field).values, STORED[dtype])
    if flat.size != elements(shape):
        raise ValueError(f"an inline constant has {flat.size} values for shape {shape}")
    return flat.reshape(shape)


def plain(values: Array) -> Array:
    """As the executor computes: any float in float32 (half precision values exactly), the rest as it is."""
    return values.astype(np.float32) if values.dtype.kind == "f" else values


def constexpr_affine_dequantize(*, quantized_data: Array, zero_point: Array, scale: Array, axis: Array) -> Array:
    """scale · (quantized - zero point) by channel along `axis`, rounded to the type of `scale`."""
    shape = [1] * quantized_data.ndim
    if scale.ndim or zero_point.ndim:
        shape[int(axis)] = quantized_data.shape[int(axis)]
    scales, zeros = (np.broadcast_to(part.ravel(), shape[int(axis)]).reshape(shape) for part in (scale, zero_point))
    real = (quantized_data.astype(np.float32) - zeros.astype(np.float32)) * scales.astype(np.float32)
    return real.astype(scale.dtype)


def constexpr_lut_to_dense(*, indices: Array, lut: Array, shape: Array) -> Array:
    """Values of a palette of 2ⁿ by indices of n bits, packed from the least significant bit of each byte on."""
    dense = tuple(int(size) for size in shape)
    bits = int(lut.size).bit_length() - 1
    if lut.size not in (2, 4, 16, 64, 256) or indices.size != -(-bits * elements(dense) // 8):
        raise ValueError(f"{indices.size} bytes of indices into a palette of {lut.size} for shape {dense}")
    flags = np.unpackbits(indices.astype(np.uint8), bitorder="little")[: bits * elements(dense)].reshape(-1, bits)
    return lut[flags.astype(np.int64) @ (1 << np.arange(bits))].reshape(dense)


def constexpr_cast(*, source_val: Array, output_dtype: str) -> Array:
    """Half precision weights of a program that computes in float32."""
    return source_val.astype(STORED[output_dtype])


EXPANDERS: dict[str, Callable[..., Array]] = {
    "constexpr_affine_dequantize": constexpr_affine_dequantize,
    "constexpr_cast": constexpr_cast,
    "constexpr_lut_to_dense": constexpr_lut_to_dense,
}
