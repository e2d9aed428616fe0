"""
The mark in a picture that says it is synthetic; and its colour profile.

No I/O. The mark is the IPTC's `DigitalSourceType` in an XMP packet, which image
programs and platforms read, and a comment in plain words where the format has one.
"""

from __future__ import annotations

import struct

from ezlink_async.emulator.pictures import containers

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeSynthetic"
"""The IPTC's term for a photograph with synthetic parts."""

COMMENT = "Synthetic: faces in this picture were replaced by ezlink_async."

XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about=""'
    ' xmlns:xmp="http://ns.adobe.com/xap/1.0/"'
    ' xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    ' xmp:CreatorTool="ezlink_async"'
    f' Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/>'
    "</rdf:RDF></x:xmpmeta>"
    '<?xpacket end="r"?>'
).encode()

_WEBP_PROFILE, _WEBP_ALPHA, _WEBP_XMP = 0x20, 0x10, 0x04
_IHDR_END = 33


def mark(content: bytes, profile: bytes) -> bytes:
    """
    Return an encoded picture with the mark and a colour *profile* inside.

    *content* is as OpenCV writes it, without metadata of its own. *profile* is that
    of a header which :func:`read_header` read from a picture of the same format.
    """
    header = containers.read_header(content)
    if header.kind == "jpeg":
        return _mark_jpeg(content, profile)
    if header.kind == "png":
        return _mark_png(content, profile)
    return _mark_webp(content, profile, header)


def _mark_jpeg(content: bytes, profile: bytes) -> bytes:
    xmp = containers.jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)
    comment = containers.jpeg_segment(0xFE, COMMENT.encode())
    # The JFIF segment must stay the first of the file.
    start = 4 + int.from_bytes(content[4:6], "big")
    return content[:start] + xmp + profile + comment + content[start:]


def _mark_png(content: bytes, profile: bytes) -> bytes:
    xmp = containers.png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    comment = containers.png_chunk(b"tEXt", b"Comment\0" + COMMENT.encode("latin-1"))
    return content[:_IHDR_END] + profile + xmp + comment + content[_IHDR_END:]


def _mark_webp(content: bytes, profile: bytes, header: containers.Header) -> bytes:
    flags = _WEBP_XMP
    flags |= _WEBP_ALPHA if header.alpha else 0
    flags |= _WEBP_PROFILE if profile else 0
    sides = b"".join(
        (side - 1).to_bytes(3, "little") for side in (header.width, header.height)
    )
    parts = [containers.riff_chunk(b"VP8X", struct.pack("<I", flags) + sides)]
    if profile:
        parts.append(containers.riff_chunk(b"ICCP", profile))
    parts += [
        containers.riff_chunk(name, content[start:end])
        for name, start, end in containers.chunks(content, "webp", 12)
        if name != b"VP8X"
    ]
    parts.append(containers.riff_chunk(b"XMP ", XMP))
    return containers.riff_chunk(b"RIFF", b"WEBP" + b"".join(parts))
