"""Taking the engine's answers apart. It may be any program that listens there: what makes no sense is a `TierError`."""

from __future__ import annotations

from varnishpy.tier.errors import TierError


def a_number(answer: object) -> int:
    """A number, or nothing for 0. :raises TierError:"""
    if answer is None:
        return 0
    if isinstance(answer, bytes | str) and (len(answer) > 20 or not answer.isdigit()):
        raise TierError("the engine answered what is no number")
    if isinstance(answer, int | bytes | str):
        return int(answer)
    raise TierError("the engine answered what is no number")


def a_string(answer: object) -> bytes | None:
    """A string or nothing. :raises TierError:"""
    if answer is None or isinstance(answer, bytes):
        return answer
    raise TierError("the engine answered what is no string")


def a_list(answer: object, length: int = -1) -> list[object]:
    """A list, of that length if one is given. :raises TierError:"""
    if not isinstance(answer, list | tuple) or (length >= 0 and len(answer) != length):
        raise TierError("the engine answered what is no list of that length")
    return list(answer)


def stream_entries(answer: object) -> list[tuple[bytes, bytes]]:
    """Entries of a stream: id, and the record in its first field. :raises TierError:"""
    found = []
    for entry in a_list(answer):
        name, fields = a_list(entry, 2)
        if fields is None:  # deleted while it was read
            continue
        listed = a_list(fields)
        name, record = a_string(name), a_string(listed[1] if len(listed) > 1 else None)
        if name is None or record is None:
            raise TierError("the engine answered an entry without id or record")
        found.append((name, record))
    return found
