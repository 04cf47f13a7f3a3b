"""Arrays that grow on disk: appended to piece by piece, `.npy` files when finished."""

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.lib.format import dtype_to_descr, write_array_header_1_0
from numpy.typing import DTypeLike, NDArray


class ArrayWriter:
    """Writes a one-dimensional `.npy` file whose length is not known beforehand; it is there whole or not at all.

    Args:
        path: Of the finished file; written under another name until then.
        dtype: Of its numbers.
    """

    def __init__(self, path: Path, dtype: DTypeLike) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        self.length = 0
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}")
        self._stream = self._temporary.open("wb")
        self._write_header()
        self._begin = self._stream.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._stream.close()
            self._temporary.unlink(missing_ok=True)

    def append(self, values: NDArray[Any]) -> None:
        """Write numbers after those that are there."""
        self._stream.write(np.ascontiguousarray(values, dtype=self.dtype).data)
        self.length += len(values)

    def _finish(self) -> None:
        self._stream.seek(0)
        self._write_header()
        if (
            self._stream.tell() != self._begin
        ):  # NumPy leaves room for a longer shape, so that this can be done
            raise RuntimeError(f"the header of {self.path} has grown into its numbers")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._temporary.replace(self.path)

    def _write_header(self) -> None:
        header = {"descr": dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.length,)}
        write_array_header_1_0(self._stream, header)
