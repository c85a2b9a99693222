"""PNG and TIFF files written byte by byte, so that their pixels are known without any image library."""

import struct
import zlib

import numpy as np

COLOUR_TYPES = {"L": 0, "RGB": 2, "P": 3, "LA": 4, "RGBA": 6}


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(values: np.ndarray, mode: str, bits: int, *chunks: tuple[bytes, bytes], after: bytes = b"") -> bytes:
    """Write values (H, W, C) with 1 to 16 bits per channel; `chunks` come before the pixels, `after` after them."""
    height, width, _ = values.shape
    samples = values.astype(">u2" if bits == 16 else np.uint8)
    if bits < 8:
        samples = np.packbits(np.unpackbits(samples, axis=2)[:, :, -bits:].reshape(height, -1), axis=1)
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, bits, COLOUR_TYPES[mode], 0, 0, 0)
    parts = [chunk(b"IHDR", header), *(chunk(*each) for each in chunks), chunk(b"IDAT", zlib.compress(rows))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + after + chunk(b"IEND", b"")


def tiff(
    values: np.ndarray,
    photometric: int,
    bits: int,
    order: str = "<",
    compress: bool = False,
    sample_format: int = 1,
    planar: bool = False,
    tags: dict[int, tuple[str, tuple[int, ...]]] | None = None,
) -> bytes:
    """Write values (H, W, C) as one strip per plane; `tags` are further ones: a struct code (H, I) and the values."""
    height, width, channels = values.shape
    if bits == 1:
        data = [np.packbits(values[..., 0].astype(bool), axis=1).tobytes()]
    else:
        kind = {1: "u", 2: "i", 3: "f"}[sample_format]
        samples = values.astype(np.dtype(f"{order}{kind}{bits // 8}"))
        data = [samples[..., plane].tobytes() for plane in range(channels)] if planar else [samples.tobytes()]
    data = [zlib.compress(each) if compress else each for each in data]
    offsets = [8 + sum(map(len, data[:index])) for index in range(len(data))]
    entries = {
        256: ("I", (width,)),
        257: ("I", (height,)),
        258: ("H", (bits,) * channels),
        259: ("H", (8 if compress else 1,)),
        262: ("H", (photometric,)),
        273: ("I", tuple(offsets)),
        277: ("H", (channels,)),
        278: ("I", (height,)),
        279: ("I", tuple(map(len, data))),
        284: ("H", (2 if planar else 1,)),
        339: ("H", (sample_format,) * channels),
    } | (tags or {})
    body = b"".join(data) + b"\0" * (sum(map(len, data)) % 2)
    start = 8 + len(body)
    directory, overflow = struct.pack(f"{order}H", len(entries)), b""
    overflow_start = start + 2 + 12 * len(entries) + 4
    for tag, (code, numbers) in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        if len(packed) > 4:
            position = overflow_start + len(overflow)
            overflow, packed = overflow + packed, struct.pack(f"{order}I", position)
        directory += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[code], len(numbers)) + packed.ljust(4, b"\0")
    mark = b"II" if order == "<" else b"MM"
    return mark + struct.pack(f"{order}HI", 42, start) + body + directory + b"\0\0\0\0" + overflow


def move_outside(content: bytes, tag: int) -> bytes:
    """Return a little-endian TIFF file in which a tag of two or more integers says that these are behind its end."""
    changed = bytearray(content)
    struct.pack_into("<I", changed, content.index(struct.pack("<HH", tag, 4)) + 8, 0x7FFFFFFF)
    return bytes(changed)
