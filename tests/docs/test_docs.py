"""What the pages say is so: links lead somewhere, names exist, both languages agree, examples run."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import get_args

import click
import pytest

from teahouse import settings_sources
from teahouse.cli import main
from teahouse.problems import Problem
from teahouse.sales.reconciliation import DifferenceKind
from teahouse.settings import Settings
from tests.docs.pages import (
    PAGES,
    README,
    README_ZH,
    ROOT,
    anchors,
    blocks,
    code_spans,
    headings,
    links,
    tables,
)

OPERATE = ROOT / "docs" / "operate.md"
GLOSSARY = ROOT / "docs" / "glossary.md"

CHINESE = re.compile(r"[\u4e00-\u9fff]")
KEBAB = re.compile(r"[a-z]+(?:-[a-z]+)+")
FILE = re.compile(r"[\w./-]+\.(?:py|toml|md|yaml|sql|svg)")

# Kebab-case words in these pages that name no problem.
OTHER_KEBAB = {
    "import-linter",
    *("logged-out", "order-cancelled", "order-expired", "order-paid", "room-left"),  # events of system frames
    "no-such-note",  # the guide's own
    "redis-server",  # a program
    "refund-due",  # a payment's state
    "teahouse-data",
}
# Files in these pages that a reader makes, or that a server does.
OTHER_FILES = {"app.py", "tea.py", "teahouse.toml"}

by_name = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@by_name
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: no such file"
        assert target.is_relative_to(ROOT), f"{link}: outside of the project"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


@by_name
def test_every_file_that_is_named_exists(page: Path) -> None:
    for span in code_spans(page):
        if FILE.fullmatch(span) and span not in OTHER_FILES and not span.startswith(("/", "tests/<")):
            places = (ROOT / span, ROOT / "src" / "teahouse" / span, page.parent / span)
            deeper = [*(ROOT / "src").rglob(span)] if "/" not in span else []
            assert deeper or any(place.exists() for place in places), f"{span}: no such file"


@by_name
def test_every_problem_that_is_named_exists(page: Path) -> None:
    named = {span for span in code_spans(page) if KEBAB.fullmatch(span)}
    assert named - OTHER_KEBAB - {*get_args(DifferenceKind)} <= Problem.vocabulary.keys()


@by_name
def test_every_command_that_is_named_exists(page: Path) -> None:
    shell = "\n".join(block.text for block in blocks(page) if block.language in ("sh", "ini"))
    for words in re.findall(r"(?:^|[\s/])teahouse ((?:[a-z]+|--[a-z-]+)(?: [\w./:<>-]+)*)", shell):
        _check_command(words.split())
    for span in code_spans(page):
        if span.startswith("teahouse "):
            _check_command(span.split()[1:])


def _check_command(words: list[str]) -> None:
    group: click.Command = main
    context = click.Context(main)
    for word in words:
        if isinstance(group, click.Group) and not word.startswith("-"):
            command = group.get_command(context, word)
            assert command is not None, f"teahouse {' '.join(words)}: no command {word}"
            group = command
        elif word.startswith("--"):
            known = {option for parameter in group.params for option in parameter.opts} | {"--help", "--version"}
            assert word in known, f"teahouse {' '.join(words)}: no option {word}"


@by_name
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    text = "\n".join([*code_spans(page), *(block.text for block in blocks(page) if block.language == "sh")])
    assert set(re.findall(r"(?:^|\s)make ([a-z]+)", text)) <= targets


def test_every_setting_is_described_once_with_its_default() -> None:
    rows = [row for table in tables(OPERATE) for row in table if len(row) == 3]
    described = {row[0].strip("`"): row[1].strip("`") for row in rows if row[0].strip("`") in settings_sources.leaves()}
    assert described == {key: _shown(key) for key in settings_sources.leaves()}
    listed = [row[0] for row in rows if row[0].strip("`") in described]
    assert len(listed) == len(set(listed))


def _shown(key: str) -> str:
    value: object = Settings()
    for part in key.split("."):
        value = getattr(value, part)
    if isinstance(value, bool):
        return str(value).lower()
    if not value:
        return "–"
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def test_every_variable_that_is_named_sets_something() -> None:
    known = {settings_sources.variable(key) for key in settings_sources.leaves()} | {settings_sources.CONFIG_VARIABLE}
    for page in PAGES:
        assert set(re.findall(r"TEAHOUSE_\w+", page.read_text(encoding="utf-8"))) - {"TEAHOUSE_"} <= known, page.name


def test_the_example_of_a_settings_file_is_taken(tmp_path: Path) -> None:
    for number, block in enumerate(block for block in blocks(OPERATE) if block.language == "toml"):
        file = tmp_path / f"{number}.toml"
        file.write_text(block.text, encoding="utf-8")
        environ = {"TEAHOUSE_WECHAT__SECRET": "from the platform"}
        taken = settings_sources.load(config=file, environ=environ)
        assert taken.wechat.appid == tomllib.loads(block.text)["wechat"]["appid"]


def test_both_readmes_have_the_same_sections_links_and_code() -> None:
    assert [level for level, _ in headings(README)] == [level for level, _ in headings(README_ZH)]
    assert [block.language for block in blocks(README)] == [block.language for block in blocks(README_ZH)]
    assert [block.text for block in blocks(README) if block.language == "python"] == [
        block.text for block in blocks(README_ZH) if block.language == "python"
    ]
    assert set(links(README)) - {"README.zh-CN.md"} == set(links(README_ZH)) - {"README.md"}
    assert _commands(README) == _commands(README_ZH)


def _commands(page: Path) -> list[str]:
    shell = "".join(block.text for block in blocks(page) if block.language == "sh")
    return [line.partition("#")[0].strip() for line in shell.splitlines()]


def test_both_readmes_give_the_same_figures() -> None:
    figure = re.compile(r"\d[\d.,]*\d|\d")
    ours, theirs = (
        [figure.findall(cell) for table in tables(page) for row in table for cell in row]
        for page in (README, README_ZH)
    )
    assert ours == theirs


def test_every_term_of_the_glossary_is_in_both_languages_and_means_one_thing() -> None:
    rows = [row for table in tables(GLOSSARY) for row in table]
    assert len(rows) > 40
    for english, chinese, meaning, same in rows:
        assert english
        assert meaning
        assert not CHINESE.search(english + meaning), english
        assert CHINESE.search(chinese), english
        assert CHINESE.search(same), english
    assert len({row[0] for row in rows}) == len(rows)
    assert len({row[1] for row in rows}) == len(rows)


def test_the_changelog_has_the_version_that_is_installed() -> None:
    from teahouse import __version__

    titles = [text for _, text in headings(ROOT / "CHANGELOG.md")]
    assert "[Unreleased]" in titles or any(__version__ in title for title in titles)
