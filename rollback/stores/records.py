"""How one content lies in a pack: a head with a checksum of its own, then the content as it is or compressed.

A pack ends in a table of its contents, under a checksum too. Where the table is damaged, the heads say the same.
"""

import hashlib
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import zstandard

MAGIC = b"rexpack1"
RAW, ZSTD = 0, 1
_HEAD = struct.Struct(">8s32sQQB")
_SUM = struct.Struct(">I")
HEAD_BYTES = _HEAD.size + _SUM.size
_ROW = struct.Struct(">32sQ")
_TAIL = struct.Struct(">8sQ32s")
_TAIL_MAGIC = b"rextable"
_LEVEL = 1
_SAMPLE_BYTES = 32 * 1024
_WORTH = 0.95
"""What does not come below this share of its size is kept as it is: reading it back then costs nothing."""
_WINDOW_BYTES = 1 << 20
_local = threading.local()


class Head(NamedTuple):
    """What stands before a content in its pack."""

    name: bytes
    """SHA-256 of the content."""
    size: int
    stored: int
    codec: int


def shrink(content: bytes) -> tuple[int, bytes]:
    """Codec and bytes to store; a sample from the middle saves compressing what does not shrink."""
    size = len(content)
    if size < 64:
        return RAW, content
    if not hasattr(_local, "compressor"):
        _local.compressor = zstandard.ZstdCompressor(level=_LEVEL)
    compress = _local.compressor.compress
    if size > 4 * _SAMPLE_BYTES:
        sample = content[size // 2 : size // 2 + _SAMPLE_BYTES]
        if len(compress(sample)) > _WORTH * len(sample):
            return RAW, content
    packed: bytes = compress(content)
    return (ZSTD, packed) if len(packed) < _WORTH * size else (RAW, content)


def expand(codec: int, stored: bytes) -> bytes | None:
    """The content; None when it cannot be read."""
    if codec == RAW:
        return stored
    if not hasattr(_local, "decompressor"):
        _local.decompressor = zstandard.ZstdDecompressor()
    try:
        content: bytes = _local.decompressor.decompress(stored)
    except (zstandard.ZstdError, MemoryError):
        return None
    return content


def head_of(name: bytes, size: int, codec: int, stored: int) -> bytes:
    """The bytes of a head."""
    head = _HEAD.pack(MAGIC, name, size, stored, codec)
    return head + _SUM.pack(zlib.crc32(head))


def read_head(block: bytes) -> Head | None:
    """What `block` begins with; None when that is no head, or a damaged one."""
    if len(block) < HEAD_BYTES or not block.startswith(MAGIC):
        return None
    (found,) = _SUM.unpack_from(block, _HEAD.size)
    if zlib.crc32(block[: _HEAD.size]) != found:
        return None
    _, name, size, stored, codec = _HEAD.unpack_from(block)
    return Head(name, size, stored, codec)


def table_of(rows: dict[bytes, int]) -> bytes:
    """The end of a pack: where the head of each content stands."""
    body = b"".join(_ROW.pack(name, offset) for name, offset in rows.items())
    return body + _TAIL.pack(_TAIL_MAGIC, len(body), hashlib.sha256(body).digest())


def read_table(fd: int) -> dict[bytes, int] | None:
    """The table of the pack that is open as `fd`; None when it is damaged or cut off."""
    end = os.fstat(fd).st_size
    tail = os.pread(fd, _TAIL.size, max(end - _TAIL.size, 0))
    if len(tail) < _TAIL.size:
        return None
    magic, size, digest = _TAIL.unpack(tail)
    if magic != _TAIL_MAGIC or size > end or size % _ROW.size:
        return None
    body = os.pread(fd, size, end - _TAIL.size - size)
    if hashlib.sha256(body).digest() != digest:
        return None
    return dict(_ROW.iter_unpack(body))


def scan(fd: int) -> Iterator[tuple[Head, int]]:
    """Every head that can be read, with its offset; what is damaged is stepped over."""
    end, offset = os.fstat(fd).st_size, 0
    while offset < end:
        head = read_head(os.pread(fd, HEAD_BYTES, offset))
        if head is not None and offset + HEAD_BYTES + head.stored <= end:
            yield head, offset
            offset += HEAD_BYTES + head.stored
            continue
        offset = _next_magic(fd, offset + 1, end)


def _next_magic(fd: int, offset: int, end: int) -> int:
    while offset < end:
        found = os.pread(fd, _WINDOW_BYTES + len(MAGIC), offset).find(MAGIC)
        if found >= 0:
            return offset + found
        offset += _WINDOW_BYTES
    return end
