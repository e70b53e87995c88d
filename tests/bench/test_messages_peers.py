"""The peers of the messages come from published packages, at exact versions."""

import json
import re

from bench.peers.messages import CENTRIFUGO, CENTRIFUGO_MODULE, HUB, WS

VERSION = r"v\d+\.\d+\.\d+( // indirect)?$"


def test_the_hub_in_go_names_its_modules_with_versions():
    text = (HUB / "go.mod").read_text()
    for module in ("github.com/gorilla/websocket", "github.com/mattn/go-sqlite3"):
        assert re.search(rf"(?m){module} {VERSION}", text)
        assert module in (HUB / "go.sum").read_text()
    assert "replace" not in text


def test_centrifugo_is_a_tool_of_a_module_that_pins_it():
    text = (CENTRIFUGO / "go.mod").read_text()
    assert re.search(rf"(?m){re.escape(CENTRIFUGO_MODULE)} {VERSION}", text)
    assert f"tool {CENTRIFUGO_MODULE}" in text
    assert {file.name for file in CENTRIFUGO.iterdir()} == {"go.mod", "go.sum"}


def test_the_hub_in_node_is_locked_to_what_it_names_without_addresses():
    wanted = json.loads((WS / "package.json").read_text())["dependencies"]
    packages = json.loads((WS / "package-lock.json").read_text())["packages"]
    assert packages[""]["dependencies"] == wanted
    installed = {name.removeprefix("node_modules/"): package for name, package in packages.items() if name}
    assert {name: package["version"] for name, package in installed.items()} == wanted
    assert all(package["integrity"] and "resolved" not in package for package in installed.values())


def test_the_hub_that_stores_has_each_message_on_disk_as_teahouse_does():
    text = (HUB / "store.go").read_text()
    assert "_journal_mode=WAL" in text
    assert "_synchronous=FULL" in text
