"""Sections of docs/benchmarks.md that other commands write: kept as they are when the page is written anew."""

import re

NAMES = ("messages",)


def replaced(page: str, name: str, text: str) -> str:
    """The page with the section of that name, at its end where there was none."""
    start, end = _marks(name)
    section = f"{start}\n\n{text.strip()}\n\n{end}"
    if found(page, name) is None:
        return f"{page.rstrip()}\n\n{section}\n"
    before, _, rest = page.partition(start)
    return f"{before}{section}{rest.partition(end)[2]}"


def found(page: str, name: str) -> str | None:
    """What the page says in the section of that name."""
    start, end = (re.escape(mark) for mark in _marks(name))
    section = re.search(rf"(?s){start}\n(.*?)\n{end}", page)
    return section[1].strip() if section else None


def kept(old: str, new: str) -> str:
    """The new page with the sections of the old one."""
    for name in NAMES:
        section = found(old, name)
        if section is not None:
            new = replaced(new, name, section)
    return new


def _marks(name: str) -> tuple[str, str]:
    return f"<!-- {name} -->", f"<!-- /{name} -->"
