"""What other commands write into docs/benchmarks.md outlives a new page."""

import pytest

from bench.sections import found, kept, replaced

PAGE = "# Benchmarks\n\n## JSON GET\n\n| a | b |\n"
MARKED = "# Benchmarks\n\n<!-- messages -->\n\n## Messages\n\nold\n\n<!-- /messages -->\n\n## Later\n"


def test_a_section_that_is_new_goes_to_the_end():
    page = replaced(PAGE, "messages", "## Messages\n")
    assert page == f"{PAGE}\n<!-- messages -->\n\n## Messages\n\n<!-- /messages -->\n"
    assert found(page, "messages") == "## Messages"


def test_a_section_that_is_there_is_replaced_in_its_place():
    page = replaced(MARKED, "messages", "## Messages\n\nnew")
    assert page == MARKED.replace("old", "new")
    assert replaced(page, "messages", "## Messages\n\nnew") == page


def test_a_page_that_is_written_anew_keeps_the_section():
    assert kept(MARKED, PAGE) == f"{PAGE}\n<!-- messages -->\n\n## Messages\n\nold\n\n<!-- /messages -->\n"


@pytest.mark.parametrize("old", ["", PAGE, "<!-- messages -->\n\nnever ends\n"])
def test_a_page_without_the_section_gets_none(old: str):
    assert kept(old, PAGE) == PAGE
