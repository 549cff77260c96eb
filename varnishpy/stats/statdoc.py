"""The JSON documents that describe a class of counters to readers (class StatDoc), and the binary form of both.

A segment of class Stat or StatDoc begins with a head: ready (int; 0 not yet, 1 shown, 2 hidden), offset of the body
(64 bits), number of the document that describes it (word). The body of a Stat segment is an array of 64-bit numbers,
that of a StatDoc segment the document's text and a NUL.
"""

from __future__ import annotations

import functools
import json
import struct
import zlib

from varnishpy.stats.columns import CounterClass

HEAD = struct.Struct("=i4xQQ")
HEAD_SIZE = HEAD.size
READY = 1
HIDDEN = 2


def doc_id(table: CounterClass[str]) -> int:
    """The number that ties segments of the class to their document.

    Classes that VMODs make may have one name and different columns: then their documents differ too.
    """
    return zlib.crc32(document(table)) | 1 << 32


@functools.lru_cache(maxsize=64)
def document(table: CounterClass[str]) -> bytes:
    """The document of a class as JSON text closed by NUL."""
    elements = {
        column.name: {
            "type": column.kind,
            "ctype": "uint64_t",
            "level": column.level,
            "oneliner": column.oneliner,
            "format": column.format,
            "index": 8 * position,
            "name": column.name,
            "docs": column.doc,
        }
        for position, column in enumerate(table.columns)
    }
    text = json.dumps(
        {
            "version": "1",
            "name": table.name.lower(),
            "oneliner": table.oneliner,
            "order": table.order,
            "docs": "",
            "elements": len(elements),
            "elem": elements,
        },
        separators=(",", ":"),
    )
    return text.encode() + b"\0"
