"""The Python in the pages runs, and does what the pages say."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from teahouse.problems import Problem
from teahouse.web import TestClient
from tests.docs.pages import PAGES, README, ROOT, blocks

EXTEND = ROOT / "docs" / "extend.md"


@pytest.fixture(autouse=True)
def vocabulary_of_its_own() -> Iterator[None]:
    before = dict(Problem.vocabulary)
    yield
    Problem.vocabulary.clear()
    Problem.vocabulary.update(before)


def written(page: Path, folder: Path) -> ModuleType:
    """The page's Python as one module, as a reader would save it."""
    source = "\n\n".join(block.text for block in blocks(page) if block.language == "python")
    file = folder / f"page_{page.stem}.py"
    file.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[file.stem]
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_python_compiles(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            compile(block.text, str(page), "exec")


async def test_the_readmes_example_answers_as_it_says(tmp_path: Path) -> None:
    async with TestClient(written(README, tmp_path).app) as client:
        shown = await client.get("/user/42")
        kept = await client.post("/teas", json={"name": "Longjing", "grams": 100})
        wrong = await client.post("/teas", json={"name": 7, "grams": 0})
        described = (await client.get("/openapi.json")).json()
    assert (shown.status, shown.json()) == (200, {"id": "42"})
    assert (kept.status, kept.json()) == (201, {"name": "Longjing", "grams": 100})
    assert [error["pointer"] for error in wrong.json()["errors"]] == ["/name", "/grams"]
    assert set(described["paths"]) == {"/user/{id}", "/teas"}


async def test_the_tests_in_the_guide_pass(tmp_path: Path) -> None:
    guide = written(EXTEND, tmp_path)
    tests = [test for name, test in vars(guide).items() if name.startswith("test_")]
    assert len(tests) >= 5
    for test in tests:
        assert inspect.iscoroutinefunction(test)
        await test()
