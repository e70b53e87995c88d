"""``teahouse init``: the files of a new app work as they are."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from teahouse.settings_sources import load


def test_a_new_app_has_routes_settings_a_readme_and_a_mini_program(run, place: Path):
    result = run("init", "shop")
    assert result.exit_code == 0
    assert "teahouse serve app:app" in result.stdout
    for name in ("app.py", "teahouse.toml", "README.md", "project.config.json", "miniprogram/app.json"):
        assert (place / "shop" / name).is_file(), name


def test_a_new_app_carries_its_name_and_no_placeholder(run, place: Path):
    run("init", "shop")
    for path in (place / "shop").rglob("*"):
        if path.is_file():
            assert "__NAME__" not in path.read_text(encoding="utf-8"), path
    assert json.loads((place / "shop/project.config.json").read_text())["projectname"] == "shop"


@pytest.mark.parametrize("name", ['a"b', "a\\b", "茶馆", "a'b", "{x}", "$(x)", "!!!"])
def test_a_strange_name_makes_no_broken_files(run, place: Path, name: str):
    assert run("init", name).exit_code == 0
    compile((place / name / "app.py").read_text(encoding="utf-8"), "app.py", "exec")
    json.loads((place / name / "miniprogram/app.json").read_text(encoding="utf-8"))


def test_every_page_of_the_mini_program_is_there(run, place: Path):
    run("init", "shop")
    folder = place / "shop/miniprogram"
    for page in json.loads((folder / "app.json").read_text())["pages"]:
        for suffix in (".js", ".json", ".wxml"):
            assert (folder / page).with_suffix(suffix).is_file()


def test_the_settings_of_a_new_app_are_valid_and_so_are_those_it_suggests(run, place: Path, monkeypatch):
    run("init", "shop")
    monkeypatch.chdir(place / "shop")
    text = Path("teahouse.toml").read_text(encoding="utf-8")
    load(environ={})
    suggested = [
        line.removeprefix("# ")
        for line in text.splitlines()
        if line.startswith("# ") and (" = " in line or "[" in line[:3])
    ]
    Path("suggested.toml").write_text("\n".join(suggested))
    assert tomllib.loads("\n".join(suggested)).keys() == {"host", "port", "trusted_proxies", "wechat", "sales"}
    load(config=Path("suggested.toml"), environ={"TEAHOUSE_WECHAT__SECRET": "s"})


def test_an_app_of_its_own_answers_its_own_routes_beside_those_of_teahouse(run, place: Path, spawn, monkeypatch):
    run("init", "shop")
    monkeypatch.chdir(place / "shop")
    done = spawn("openapi", "app:app")
    assert done.stderr == ""
    paths = json.loads(done.stdout)["paths"]
    assert "/hello/{name}" in paths
    assert "/v1/auth/wechat" in paths


def test_a_directory_with_something_in_it_is_left_alone(run, place: Path):
    (place / "mine").mkdir()
    (place / "mine/app.py").write_text("precious")
    result = run("init", "mine")
    assert result.exit_code == 2
    assert "is not empty" in result.stderr
    assert [path.read_text() for path in (place / "mine").iterdir()] == ["precious"]


def test_an_empty_directory_may_be_used(run, place: Path):
    (place / "empty").mkdir()
    assert run("init", "empty").exit_code == 0


def test_a_place_that_cannot_be_written_is_told(run, place: Path):
    (place / "file").write_text("")
    result = run("init", "file/below")
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr
