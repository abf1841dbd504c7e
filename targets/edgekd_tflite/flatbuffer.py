"""Reading FlatBuffers without trust: every offset is checked before it is followed, and nothing is executed.

The readers that come with the format take offsets as they are; on a damaged file they read elsewhere or run for ever.
Source: FlatBuffers internals, flatbuffers.dev/internals (little endian; table = signed offset back to its vtable;
vtable = its size, the table's size, then one 16-bit field offset a slot; vector = 32-bit length, then elements).
"""

import struct
from collections.abc import Iterator
from typing import Self

from edgekd.errors import InputError

Number = int | float


class Buffer:
    """The bytes of a file, readable only inside their bounds. `what` names it in errors."""

    def __init__(self, data: bytes, what: str) -> None:
        self.data, self.what = data, what

    def broken(self, why: str) -> InputError:
        return InputError(f"{self.what}: {why}; build or copy the file again")

    def cut(self, position: int, size: int) -> bytes:
        """`size` bytes from `position` on. Raises InputError where they would lie outside."""
        if position < 0 or position + size > len(self.data):
            raise self.broken("is truncated or damaged")
        return self.data[position : position + size]

    def vector(self, kind: str, position: int, count: int) -> tuple[Number, ...]:
        """`count` numbers of a `struct` kind."""
        return struct.unpack(f"<{count}{kind}", self.cut(position, struct.calcsize("<" + kind) * count))

    def number(self, kind: str, position: int) -> int:
        return int(self.vector(kind, position, 1)[0])

    def follow(self, position: int) -> int:
        """Where the unsigned offset at `position` leads."""
        return position + self.number("I", position)


class Table:
    """One table of a buffer. Fields go by their slot: the order in which the schema declares them, from 0."""

    def __init__(self, buffer: Buffer, position: int) -> None:
        self._buffer, self._position = buffer, position
        self._vtable = position - buffer.number("i", position)
        self._slots = (buffer.number("H", self._vtable) - 4) // 2

    @classmethod
    def root(cls, buffer: Buffer, identifier: bytes) -> Self:
        """The outermost table. Raises InputError where the file is of another format."""
        if buffer.data[4:8] != identifier:
            raise InputError(f"{buffer.what}: is not of the expected format (no '{identifier.decode()}' at byte 4)")
        return cls(buffer, buffer.follow(0))

    def number(self, slot: int, kind: str, default: int = 0) -> int:
        """A scalar field; `default` where the table leaves it out."""
        position = self._field(slot)
        return default if position is None else self._buffer.number(kind, position)

    def numbers(self, slot: int, kind: str) -> tuple[Number, ...]:
        """A vector of scalars; empty where it is left out."""
        start, count = self._vector(slot)
        return self._buffer.vector(kind, start, count)

    def bytes(self, slot: int) -> bytes:
        """A vector of bytes, or a string without its encoding."""
        return self._buffer.cut(*self._vector(slot))

    def table(self, slot: int) -> "Table | None":
        position = self._field(slot)
        return None if position is None else Table(self._buffer, self._buffer.follow(position))

    def count(self, slot: int) -> int:
        return self._vector(slot)[1]

    def tables(self, slot: int) -> Iterator["Table"]:
        for index in range(self.count(slot)):
            yield self.item(slot, index)

    def item(self, slot: int, index: int) -> "Table":
        """One of a vector of tables. Raises InputError for an index that the vector does not have."""
        start, count = self._vector(slot)
        if not 0 <= index < count:
            raise self._buffer.broken(f"refers to item {index} of {count}")
        return Table(self._buffer, self._buffer.follow(start + 4 * index))

    def _field(self, slot: int) -> int | None:
        if slot >= self._slots:
            return None
        offset = self._buffer.number("H", self._vtable + 4 + 2 * slot)
        return self._position + offset if offset else None

    def _vector(self, slot: int) -> tuple[int, int]:
        position = self._field(slot)
        if position is None:
            return 0, 0
        start = self._buffer.follow(position)
        return start + 4, self._buffer.number("I", start)
