"""What mkdocs does besides (mkdocs.yml): the pages at the root of the project become pages of the site."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changes.md", "README.md": "index.md"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand outside of docs/."""
    for name, place in PAGES.items():
        if place != "index.md":
            text = re.sub(r"\]\(docs/", "](", (ROOT / name).read_text())
            files.append(File.generated(config, place, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links out of docs/ to where those pages are now."""
    for name, place in PAGES.items():
        markdown = markdown.replace(f"](../{name}", f"]({place}").replace(f"](../../{name}", f"](../{place}")
    return markdown
