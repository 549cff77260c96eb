"""The blocks of the pages: what language they are in, what they are called, where they stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. Its name stands in its first line: ``# default.vcl``."""

    page: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        found = re.match(r"# (\S+\.\w+)\n", self.text)
        return found[1] if found else ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(path: Path) -> list[Block]:
    """All blocks of a page, from top to bottom."""
    text, page = path.read_text(), str(path.relative_to(ROOT))
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(page, text.count("\n", 0, match.start()) + 1, match[1], match[2]) for match in found]


def all_blocks(language: str) -> list[Block]:
    """Those of a language, on every page."""
    pages = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
    return [block for page in pages for block in blocks(page) if block.language == language]
