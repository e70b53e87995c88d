"""The READMEs show the figures of docs/benchmarks.md and no others."""

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
