"""The header of a GGUF file: is the file whole, and how long a text may be. Reads no weights and needs no torch."""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prune.errors import UserError

_SCALAR_FORMATS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING = 8
_ARRAY = 9
_DEFAULT_ALIGNMENT = 32


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """What a GGUF file says about itself."""

    num_tensors: int
    num_bytes: int
    """Where the last tensor ends, in bytes from the start of the file."""
    window: int | None
    """The longest text in tokens; None when the file does not say."""
    has_chat_template: bool = False
    """Whether it holds a template of conversations."""


@dataclass(slots=True)
class _Cursor:
    """Reads values one after another; struct.error past the end."""

    data: mmap.mmap
    position: int = 0

    def scalar(self, fmt: str) -> Any:
        (value,) = struct.unpack_from(fmt, self.data, self.position)
        self.position += struct.calcsize(fmt)
        return value

    def skip_string(self) -> None:
        length = self.scalar("<Q")
        self.position += length

    def string(self) -> str:
        length = self.scalar("<Q")
        raw = self.data[self.position : self.position + length]
        self.position += length
        return raw.decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        """Return a scalar or a string; arrays are stepped over and give None."""
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.scalar(_SCALAR_FORMATS[kind])
        item_kind, count = self.scalar("<I"), self.scalar("<Q")
        if item_kind in _SCALAR_FORMATS:
            self.position += count * struct.calcsize(_SCALAR_FORMATS[item_kind])
            return None
        for _ in range(count):
            if item_kind == _STRING:
                self.skip_string()
            else:
                self.value(item_kind)
        return None


def read_gguf_header(path: Path) -> GGUFHeader:
    """Return the header of the GGUF file `path`, after checking that the file holds every tensor that it announces.

    Raises UserError when the file is missing, is not GGUF, or is cut short.
    """
    if not path.is_file():
        raise UserError(f"model.gguf_file: there is no file {path}. Give the name of a .gguf file inside model.path.")
    size = path.stat().st_size
    if size < 24:
        raise _cut_short(path, size, "its header is not whole")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] != b"GGUF":
            raise UserError(f"model.gguf_file: {path} is not a GGUF file (it does not begin with GGUF). Fetch it again.")
        try:
            header = _parse(_Cursor(data, 4))
        except (struct.error, KeyError, OverflowError, MemoryError) as error:
            raise _cut_short(path, size, "its header is not whole") from error
    if header.num_bytes > size:
        raise _cut_short(path, size, f"its {header.num_tensors} tensors need {header.num_bytes} bytes")
    return header


def _parse(cursor: _Cursor) -> GGUFHeader:
    """Read version, counts, key-value pairs and tensor descriptions, in the order of the GGUF specification."""
    cursor.scalar("<I")
    num_tensors, num_values = cursor.scalar("<Q"), cursor.scalar("<Q")
    values: dict[str, Any] = {}
    for _ in range(num_values):
        key = cursor.string()
        values[key] = cursor.value(cursor.scalar("<I"))
    ends = [_tensor_end(cursor) for _ in range(num_tensors)]
    alignment = values.get("general.alignment", _DEFAULT_ALIGNMENT)
    start = -(-cursor.position // alignment) * alignment
    window = values.get(f"{values.get('general.architecture')}.context_length")
    return GGUFHeader(
        num_tensors=num_tensors,
        num_bytes=start + max(ends, default=0),
        window=window,
        has_chat_template="tokenizer.chat_template" in values,
    )


def _tensor_end(cursor: _Cursor) -> int:
    """Return where one tensor ends, in bytes from the start of the tensor data."""
    try:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
    except ImportError as error:
        raise UserError("model.gguf_file needs the packages gguf and accelerate: pip install gguf accelerate.") from error
    cursor.skip_string()
    num_values = 1
    for _ in range(cursor.scalar("<I")):
        num_values *= cursor.scalar("<Q")
    kind, offset = cursor.scalar("<I"), cursor.scalar("<Q")
    try:
        block_size, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
    except ValueError as error:
        raise KeyError(kind) from error
    return int(offset + num_values // block_size * block_bytes)


def _cut_short(path: Path, size: int, why: str) -> UserError:
    return UserError(f"model.gguf_file: {path} is cut short or damaged: it has {size} bytes, and {why}. Fetch it again.")
