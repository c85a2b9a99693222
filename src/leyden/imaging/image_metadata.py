"""Metadata of PNG and TIFF files that no pixel depends on: if it is damaged, Pillow would reject a good picture.

Or misread it: after a damaged tag of a TIFF file, Pillow ignores all later ones, such as those of transparency.
"""

import struct
import zlib

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
ANCILLARY = 0x20  # bit of the first letter of a chunk's name: it is small
MAX_ORIENTATION_BYTES = 1_000_000  # of a chunk
XMP_START = b"XML:com.adobe.xmp\0\0\0"  # not compressed
TIFF_MARKS = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}  # byte orders; + is BigTIFF
VALUE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
PIXEL_TAGS = {*range(256, 260), 262, 266, *range(277, 280), 273, 284, 292, 317, 320, *range(322, 326), 338, 339, 347}
PIXEL_TAGS |= {*range(512, 522), *range(529, 533)}
UNKNOWN_TAG = 65535


def drop_damaged_metadata(content: bytes) -> bytes:
    """Return a file without what Pillow would stumble over, and the file itself if there is nothing.

    Raises:
        ValueError: if the tags of a TIFF file that its pixels depend on are damaged.
    """
    if content.startswith(PNG_SIGNATURE):
        return drop_chunks(content)
    if content[:4] in TIFF_MARKS:
        try:
            return drop_tags(content)
        except struct.error:
            pass  # cut off: opening it finds the reason
    return content


def drop_chunks(content: bytes) -> bytes:
    """Return a PNG file with the chunks of its pixels and its orientation only."""
    kept, position, name = [PNG_SIGNATURE], len(PNG_SIGNATURE), b""
    while position < len(content) and name != b"IEND":
        length, name = int.from_bytes(content[position : position + 4], "big"), content[position + 4 : position + 8]
        end = position + 12 + length
        if is_needed(name, length, content, end):
            kept.append(content[position:end])
        position = end
    return content if sum(map(len, kept)) == len(content) else b"".join(kept)


def is_needed(name: bytes, length: int, content: bytes, end: int) -> bool:
    if not name.isalpha() or not name[0] & ANCILLARY or name == b"tRNS":
        return True
    if name not in (b"eXIf", b"iTXt") or length > MAX_ORIENTATION_BYTES:
        return False
    data = content[end - 4 - length : end - 4]
    is_intact = zlib.crc32(name + data) == int.from_bytes(content[end - 4 : end], "big")
    return is_intact and (name == b"eXIf" or data.startswith(XMP_START))


def drop_tags(content: bytes) -> bytes:
    """Return a TIFF file without the tags, of its first image, whose values are outside of the file."""
    order, is_big = TIFF_MARKS[content[:4]], b"+" in content[:4]
    head, offset = ("Q", "Q") if is_big else ("H", "I")
    (start,) = struct.unpack_from(order + offset, content, 8 if is_big else 4)
    (count,) = struct.unpack_from(order + head, content, start)
    start += struct.calcsize(head)
    size = struct.calcsize(f"{order}HH{offset}{offset}")
    changed = None
    for position in range(start, min(start + size * count, len(content) - size + 1), size):
        tag, kind, number, place = struct.unpack_from(f"{order}HH{offset}{offset}", content, position)
        num_bytes = VALUE_BYTES.get(kind, 0) * number
        if num_bytes <= struct.calcsize(offset) or place + num_bytes <= len(content):
            continue
        if tag in PIXEL_TAGS:
            raise ValueError(f"damaged TIFF: the values of tag {tag} are outside of the file")
        changed = changed or bytearray(content)
        struct.pack_into(f"{order}HH{offset}", changed, position, UNKNOWN_TAG, 1, 1)
    return bytes(changed) if changed else content
