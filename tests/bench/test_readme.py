"""The READMEs show the figures of docs/benchmarks.md and no others."""

import re

import pytest

from bench.readme import PAGE, READMES, inserted, table


@pytest.mark.parametrize("readme", READMES, ids=lambda path: path.name)
def test_the_figures_are_those_of_the_page(readme):
    text, page = readme.read_text(encoding="utf-8"), PAGE.read_text(encoding="utf-8")
    assert text == inserted(text, table(page, READMES[readme])), "run: .venv/bin/python -m bench.readme"


def test_a_page_without_a_scenario_gives_no_table():
    [words, _] = READMES.values()
    with pytest.raises(ValueError, match="nothing like"):
        table("# Benchmarks\n", words)


def test_a_readme_without_its_marks_is_refused():
    with pytest.raises(ValueError, match="no <!--"):
        inserted("# Teahouse\n", "| a table |")


def test_what_runs_on_redis_has_a_table_of_its_own_once_it_was_measured():
    words = READMES[next(iter(READMES))]
    bare = PAGE.read_text(encoding="utf-8")
    for title in words.redis_rows:
        bare = re.sub(rf"(?ms)^## {re.escape(title)}$.*?(?=^## |\Z)", "", bare)
    row = "| {} | 40,000 | 1.00 | 2.00 | 25.0 | 99% | 90 | 5.0 | – | – | – | – |\n"
    rows = row.format("Teahouse") + row.format("Gin + rueidis")
    sections = [f"\n## {title}\n\n{rows}" for title in words.redis_rows]
    assert words.redis_last not in table(bare, words)
    measured = table(bare + "".join(sections), words)
    assert "| purchases, 256 connections | 40,000 (25.0 µs) | – | – | 40,000 (25.0 µs) |" in measured
    assert words.redis_last in measured
    with pytest.raises(ValueError, match="256"):
        table(bare + sections[0], words)
