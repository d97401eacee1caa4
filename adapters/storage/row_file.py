"""Equal rows of numbers in one file, each with a checksum: a row is there whole, or it counts as missing.

``NAME.rows`` holds the rows one after the other (``numpy.memmap`` opens it), ``NAME.sums`` one ``uint64`` for each: 0 while
it is missing, else its CRC-32 plus ``PRESENT``. A row is written before its sum, so whatever interrupts the writing leaves no
row that could be taken for a finished one.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Sequence
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

PRESENT = 1 << 32


class RowFile:
    """``count`` rows of ``shape`` and ``dtype``. Opening it creates nothing; :meth:`create` does."""

    def __init__(self, folder: Path, name: str, count: int, shape: tuple[int, ...], dtype: str) -> None:
        self.rows, self.sums = folder / f"{name}.rows", folder / f"{name}.sums"
        self.count, self.shape, self.dtype = count, shape, np.dtype(dtype)
        self.row_bytes = int(np.prod(shape)) * self.dtype.itemsize
        self.bytes = count * (self.row_bytes + 8)
        self._file: FileIO | None = None
        self._sums: NDArray[np.uint64] | None = None
        self._verified = np.zeros(count, bool)

    def create(self) -> None:
        """Bring both files to their full size; whole rows stay."""
        missing = self.missing()
        for path, size in ((self.rows, self.count * self.row_bytes), (self.sums, self.count * 8)):
            with path.open("ab") as file:
                file.truncate(size)
        sums = np.fromfile(self.sums, np.uint64, self.count)
        if sums[missing].any():  # of rows that were cut off
            sums[missing] = 0
            with self.sums.open("r+b") as file:
                file.write(sums.tobytes())

    def missing(self) -> NDArray[np.intp]:
        """Indices of rows that are not there, those cut off by a truncation included."""
        sums = np.zeros(self.count, np.uint64)
        try:
            found = np.fromfile(self.sums, np.uint64, self.count)
            whole = self.rows.stat().st_size // self.row_bytes
        except FileNotFoundError:
            found, whole = sums[:0], 0
        sums[: len(found)] = found
        sums[whole:] = 0
        return np.flatnonzero(sums < PRESENT)

    def truncated(self) -> bool:
        """Whether the files are there but shorter than they were made."""
        sizes = {self.rows: self.count * self.row_bytes, self.sums: self.count * 8}
        return any(path.exists() and path.stat().st_size != size for path, size in sizes.items())

    def write(self, positions: Sequence[int], values: NDArray[np.generic]) -> None:
        """Write rows ``[len(positions), *shape]``. Raises :class:`OSError` when the disk is full or refuses."""
        # Not through a memory map: there, a full disk kills the process with a bus error.
        with self.rows.open("r+b") as rows, self.sums.open("r+b") as sums:
            for position, value in zip(positions, values, strict=True):
                content = value.astype(self.dtype, copy=False).tobytes()
                rows.seek(position * self.row_bytes)
                rows.write(content)
                rows.flush()
                total = np.uint64(PRESENT + zlib.crc32(content))
                sums.seek(position * 8)
                sums.write(total.tobytes())
                if self._sums is not None:
                    self._sums[position] = total

    def open(self) -> None:
        """Make ready for reading. The open file stays readable even when another process deletes it."""
        self.close()
        self._file = self.rows.open("rb", buffering=0)
        self._sums = np.zeros(self.count, np.uint64)
        found = np.fromfile(self.sums, np.uint64, self.count)
        self._sums[: len(found)] = found
        self._verified[:] = False
        with contextlib.suppress(OSError):  # a store that others maintain
            os.utime(self.sums)  # when it was last used

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def read(self, positions: Sequence[int]) -> tuple[NDArray[np.generic], list[int]]:
        """Rows ``[len(positions), *shape]``, and which entries of ``positions`` are damaged (their values mean nothing).

        A row is checked against its sum the first time it is read.
        """
        assert self._file is not None
        assert self._sums is not None
        values, damaged = np.empty((len(positions), *self.shape), self.dtype), []
        for entry, position in enumerate(positions):
            content = memoryview(values[entry]).cast("B")
            # Not through a memory map: that is four times slower, and a file cut short meanwhile would kill the process.
            self._file.seek(position * self.row_bytes)
            if self._file.readinto(content) != self.row_bytes:
                self._verified[position] = False
                damaged.append(entry)
            elif not self._verified[position]:
                self._verified[position] = self._sums[position] == PRESENT + zlib.crc32(content)
                if not self._verified[position]:
                    damaged.append(entry)
        return values, damaged
