"""The READMEs' short table, taken from docs/benchmarks.md: ``python -m bench.readme`` writes it into both."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
START, END = "<!-- figures: python -m bench.readme -->", "<!-- end of figures -->"
ABSENT = "–"
SERVERS = ("Teahouse", "gin.Default()", "gin.Default(), sonic", "bare Gin")


ON_REDIS = ("Teahouse", "Gin + go-redis", "Gin + go-redis, autopipeline", "Gin + rueidis")


class Words(NamedTuple):
    """What the tables say around their figures, in one language."""

    head: tuple[str, ...]
    rows: Mapping[str, str]
    """By the scenario's title in docs/benchmarks.md."""
    redis_head: tuple[str, ...]
    redis_rows: Mapping[str, str]
    redis_last: str
    last: str
    """With the places ``day``, ``ready`` and ``resident``."""
    disturbed: str
    """What to add where the page says that other programs ran meanwhile."""


ENGLISH = Words(
    ("requests a second on one core (CPU time each)", "Teahouse", "`gin.Default()`", "the same with sonic", "bare Gin"),
    {
        "JSON GET with a path parameter": "`GET /user/42`, JSON",
        "Validated JSON POST": "`POST`, validated JSON",
        "Purchases on the embedded default": "purchases, on disk before the answer",
    },
    (
        "the same on Redis (CPU time each)",
        "Teahouse",
        "Gin + go-redis",
        "the same with its automatic pipelining",
        "Gin + rueidis",
    ),
    {
        "Purchases on Redis, 64 connections": "purchases, 64 connections",
        "Purchases on Redis, 256 connections": "purchases, 256 connections",
        "A cached sale": "`GET /v1/sales/{id}`, from memory",
    },
    "All of them run the same stock script; Teahouse records every order in MariaDB besides, the Gin programs do not.",
    "Measured on {day}, access logs on (bare Gin has none). sonic is the faster JSON library that Gin offers. "
    "Teahouse is ready {ready} s after its start and takes {resident} MB at rest.",
    " Other programs used the machine meanwhile: the CPU time is the figure to trust.",
)
CHINESE = Words(
    ("单核每秒请求数（每个请求的 CPU 时间）", "Teahouse", "`gin.Default()`", "同左，换用 sonic", "裸 Gin"),
    {
        "JSON GET with a path parameter": "`GET /user/42`，返回 JSON",
        "Validated JSON POST": "`POST` JSON 并校验",
        "Purchases on the embedded default": "购买，先落盘再应答",
    },
    ("同上，使用 Redis（每个请求的 CPU 时间）", "Teahouse", "Gin + go-redis", "同左，自动流水线", "Gin + rueidis"),
    {
        "Purchases on Redis, 64 connections": "购买，64 个连接",
        "Purchases on Redis, 256 connections": "购买，256 个连接",
        "A cached sale": "`GET /v1/sales/{id}`，读内存",
    },
    "各程序运行同一个库存脚本；Teahouse 还把每笔订单写入 MariaDB，Gin 程序不写。",
    "{day} 实测，都开着访问日志（裸 Gin 没有）。sonic 是 Gin 可选的更快的 JSON 库。"
    "Teahouse 启动 {ready} 秒后就绪，空闲时占内存 {resident} MB。",
    "测量时机器上还有别的程序在跑，以 CPU 时间为准。",
)
READMES = {ROOT / "README.md": ENGLISH, ROOT / "README.zh-CN.md": CHINESE}


def table(page: str, words: Words) -> str:
    """The tables and the sentences below them. Raises ValueError where the page lacks a figure.

    The table of what runs on Redis is left out where the page has none of it.
    """
    lines = _lines(page, words.head, words.rows, SERVERS)
    if any(f"## {title}\n" in page for title in words.redis_rows):
        lines += ["", *_lines(page, words.redis_head, words.redis_rows, ON_REDIS), "", words.redis_last]
    last = words.last.format(
        day=_found(r"`make bench` on (\d{4}-\d\d-\d\d)", page),
        ready=_found(r"Ready after ([\d.]+) s", page),
        resident=_found(r"Resident at rest: (\d+)", page),
    )
    if "other programs used" in page:
        last += words.disturbed
    return "\n".join([*lines, "", last])


def _lines(page: str, head: Sequence[str], rows: Mapping[str, str], servers: Sequence[str]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * len(servers) + "|"]
    for title, shown in rows.items():
        rates = _rates(page, title)
        lines.append("| " + " | ".join([shown, *(rates.get(name, ABSENT) for name in servers)]) + " |")
    return lines


def inserted(readme: str, figures: str) -> str:
    """The README with the table between its marks. Raises ValueError where it has none."""
    before, start, rest = readme.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"no {START} … {END}")
    return f"{before}{start}\n\n{figures}\n\n{end}{after}"


def _rates(page: str, title: str) -> dict[str, str]:
    section = _found(rf"(?ms)^## {re.escape(title)}$(.*?)(?=^## |\Z)", page)
    row = r"^\| ([^|]+) \| ([\d,]+) \| [\d.]+ \| [\d.]+ \| ([\d.]+) \|"
    return {name: f"{rate} ({cpu} µs)" for name, rate, cpu in re.findall(row, section, re.MULTILINE)}


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"{PAGE.name}: nothing like {pattern}")
    return found[1]


def refresh() -> None:
    """Writes the table into both READMEs."""
    page = PAGE.read_text(encoding="utf-8")
    for readme, words in READMES.items():
        readme.write_text(inserted(readme.read_text(encoding="utf-8"), table(page, words)), encoding="utf-8")


if __name__ == "__main__":
    refresh()
