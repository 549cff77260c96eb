"""Keys and values from files, for VMODs table and kvstore."""

from __future__ import annotations

import csv
import json
from typing import Final

MOST: Final = 64 << 20  # octets of a file


class RecordsError(Exception):
    """A file cannot be used; the text says why."""


def wire(text: str) -> str:
    """Text of a file as a wire string."""
    return text.encode().decode("latin-1")


def _value(value: object) -> str:
    """A value of a JSON file as a string: what is no string, as JSON writes it."""
    return wire(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def read(path: str, delimiter: str) -> dict[str, list[str]]:
    """The rows of a file by key. ``.json``: an object; else lines of a key and its values, parted by the delimiter.

    Lines of nothing and those that begin with ``#`` are passed over; of two with one key the last counts.

    :raises RecordsError:
    """
    try:
        with open(path.encode("latin-1"), "rb") as stream:
            raw = stream.read(MOST + 1)
        if len(raw) > MOST:
            raise RecordsError(f"{path}: more than {MOST} octets")
        text = raw.decode()
        if path.endswith(".json"):
            return _of_json(path, json.loads(text))
        rows = csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)
        found = [[wire(cell) for cell in row] for row in rows if row and not row[0].startswith("#")]
    except OSError as error:
        raise RecordsError(f"{path}: {error.strerror}") from None
    except (ValueError, csv.Error, TypeError) as error:
        raise RecordsError(f"{path}: {error}") from None
    return {row[0]: row[1:] for row in found}


def _of_json(path: str, content: object) -> dict[str, list[str]]:
    if not isinstance(content, dict):
        raise RecordsError(f"{path}: a JSON object is needed, of keys and their values")
    return {
        wire(key): [_value(each) for each in value] if isinstance(value, list) else [_value(value)]
        for key, value in content.items()
    }
