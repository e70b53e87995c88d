"""deploy/Dockerfile, as far as that can be tried without Docker: what it copies is enough, pinned, and not root's."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from packaging.specifiers import SpecifierSet

from tests.journeys.balancer import DEPLOY

ROOT = DEPLOY.parent
TEXT = (DEPLOY / "Dockerfile").read_text()
INSTRUCTIONS = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", TEXT, flags=re.MULTILINE)).splitlines()


def copied() -> list[str]:
    """What comes from the repository."""
    lines = [line.split()[1:-1] for line in INSTRUCTIONS if line.startswith("COPY ") and "--from" not in line]
    return [source for line in lines for source in line]


def test_the_package_can_be_built_from_what_is_copied(tmp_path: Path):
    for source in copied():
        origin = ROOT / source
        if origin.is_dir():
            shutil.copytree(origin, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, tmp_path / source)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        "wheel",
        ".",
    ]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [wheel] = (tmp_path / "wheel").glob("teahouse-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    for path in ("cli/templates/app.py", "migrations/versions/0001_accounts.py", "migrations/script.py.mako"):
        assert f"teahouse/{path}" in inside


def test_what_is_copied_is_let_through_and_nothing_else_is():
    lines = [
        line for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] not in ("", "#")
    ]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == set(copied())


def test_every_library_comes_from_a_lock_file_with_its_hash():
    installs = [line for line in INSTRUCTIONS if "pip install" in line]
    for words in " && ".join(installs).split("&&"):
        if "pip install" in words:
            assert "--require-hashes" in words or "--no-index" in words, words


def test_the_python_is_one_that_the_package_takes_and_the_same_in_both_stages():
    versions = {line.split()[1] for line in INSTRUCTIONS if line.startswith("FROM ")}
    [image] = versions
    found = re.fullmatch(r"python:(\d+\.\d+)-slim-bookworm", image)
    assert found is not None
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert SpecifierSet(project["requires-python"]).contains(found[1])


def test_it_does_not_run_as_root():
    users = [line.split()[1] for line in INSTRUCTIONS if line.startswith("USER ")]
    assert users == ["10001:10001"]
    # The last stage ends as that user: nothing is done as root after it.
    last = INSTRUCTIONS[INSTRUCTIONS.index("USER 10001:10001") :]
    assert not [line for line in last if line.startswith(("RUN", "COPY", "ADD"))]
