"""The rules of the house that import-linter cannot express, because they speak of file names."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "teahouse"
FEATURES = ("accounts", "sales", "wechat", "insight", "messages", "files")
BACKENDS = ("sql", "memory", "redis")
MAX_LINES = 400
EMPTY_NAMES = ("utils", "util", "common", "helpers", "helper", "manager", "misc")

# A driver is imported by the files named after it, by engines/ and by the file whose whole job it is.
DRIVERS = {
    "aiosqlite": ["engines/sql_sqlite.py"],
    "alembic": ["migrations/*"],
    "asyncmy": ["engines/sql*.py"],
    "asyncpg": ["engines/sql*.py"],
    "argon2": ["*_argon2.py"],
    "click": ["cli/*"],
    "cryptography": ["*_jwt.py", "*_aesgcm.py", "wechat/crypto.py"],
    "httptools": ["web/*"],
    "httpx": ["*_httpx.py", "wechat/platform.py"],
    "jwt": ["*_jwt.py"],
    "prometheus_client": ["web/*", "*_prometheus.py"],
    "redis": ["engines/redis*.py", "*_redis.py"],
    "rich": ["cli/*", "*_rich.py"],
    "sqlalchemy": ["engines/sql*.py", "*_sql.py", "migrations/*"],
    "uvloop": ["cli/*", "web/server.py", "web/serving.py"],
}


class Import(NamedTuple):
    """One import statement's module, in one file."""

    path: str
    module: str

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def sources(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*.py")):
        if "templates" not in path.parts and "node_modules" not in path.parts:
            yield path


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports() -> Iterator[Import]:
    for path in sources(PACKAGE):
        relative = path.relative_to(PACKAGE).as_posix()
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Import):
                yield from (Import(relative, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield Import(relative, node.module)
                # `from teahouse.sales import stock_sql` may name a module as well as a value.
                yield from (Import(relative, f"{node.module}.{alias.name}") for alias in node.names)


IMPORTS = tuple(imports())


def feature_of(module: str) -> str | None:
    parts = module.split(".")
    return parts[1] if parts[0] == "teahouse" and len(parts) > 1 and parts[1] in FEATURES else None


def is_module(name: str) -> bool:
    stem = ROOT / "src" / name.replace(".", "/")
    return stem.with_suffix(".py").exists() or stem.is_dir()


def test_the_model_of_a_feature_knows_only_the_standard_library_msgspec_and_problems():
    allowed = {*sys.stdlib_module_names, "msgspec"}
    strays = [
        found
        for found in IMPORTS
        if found.path.endswith("/model.py")
        and found.top not in allowed
        and not found.module.startswith("teahouse.problems")
    ]
    assert strays == []


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_driver_is_imported_only_where_its_name_is(driver: str):
    strays = [
        found
        for found in IMPORTS
        if found.top == driver and not any(fnmatch(found.path, pattern) for pattern in DRIVERS[driver])
    ]
    assert strays == []


def test_a_feature_sees_another_only_through_its_front_door():
    strays = []
    for found in IMPORTS:
        ours, theirs = feature_of("teahouse." + found.path.replace("/", ".")), feature_of(found.module)
        inner = found.module.count(".") > 1 and is_module(found.module)
        if ours and theirs and ours != theirs and inner:
            strays.append(found)
    assert strays == []


def test_only_the_composition_root_and_the_command_line_choose_a_backend():
    def backend(name: str) -> str | None:
        suffix = name.rpartition("_")[2]
        return suffix if suffix in BACKENDS and "_" in name else None

    strays = []
    for found in IMPORTS:
        chosen = next((backend(part) for part in found.module.split(".") if backend(part)), None)
        allowed = found.path == "app.py" or found.path.startswith(("cli/", "migrations/"))
        if feature_of(found.module) and chosen and not allowed and backend(Path(found.path).stem) != chosen:
            strays.append(found)
    assert strays == []


def test_no_file_is_called_after_nothing():
    folders = [PACKAGE, ROOT / "tests", ROOT / "bench", ROOT / "scripts"]
    assert [path for folder in folders for path in sources(folder) if path.stem in EMPTY_NAMES] == []


def test_no_file_is_longer_than_can_be_read_in_one_go():
    long = {
        str(path.relative_to(ROOT)): count
        for folder in (PACKAGE, ROOT / "tests", ROOT / "bench")
        for path in sources(folder)
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert long == {}


def test_no_test_sleeps():
    """Between two looks at a condition with a deadline a test may pause, so a pause stands in a loop."""
    sleepers = []
    for path in sources(ROOT / "tests"):
        module = tree(path)
        loops = (node for node in ast.walk(module) if isinstance(node, ast.While | ast.For))
        polling = {id(inner) for loop in loops for inner in ast.walk(loop)}
        sleepers += [
            f"{path.relative_to(ROOT)}:{node.lineno}"
            for node in ast.walk(module)
            if isinstance(node, ast.Call) and _sleeps(node) and id(node) not in polling
        ]
    assert sleepers == []


def _sleeps(call: ast.Call) -> bool:
    # sleep(0) only lets the others run.
    yields = bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0
    return ast.unparse(call.func) in ("time.sleep", "asyncio.sleep", "sleep") and not yields


def test_the_name_of_a_test_is_a_sentence():
    short = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sources(ROOT / "tests")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and node.name.count("_") < 3
    ]
    assert short == []


def test_serving_a_small_app_loads_nothing_of_the_other_commands():
    heavy = ("rich", "alembic", "sqlalchemy", "httpx", "argon2", "jwt", "cryptography")
    code = (
        "import sys; from teahouse.cli import main, serve; from teahouse.web import pages, serving;"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"


def locked(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    pins = (line.partition(" ")[0].split("==") for line in lines if "==" in line and not line.startswith((" ", "#")))
    return dict(pins)


@pytest.mark.parametrize(("lock", "extras"), [("requirements.lock", []), ("requirements-dev.lock", ["dev"])])
def test_every_library_is_pinned_within_its_range(lock: str, extras: list[str]):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    pins = locked(lock)
    outside = [
        requirement
        for requirement in map(Requirement, wanted)
        if pins.get(requirement.name) is None or pins[requirement.name] not in requirement.specifier
    ]
    assert outside == []


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_a_lock_names_versions_and_hashes_but_no_place(lock: str):
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text
    assert "--find-links" not in text
    assert [line for line in text.splitlines() if line and "==" not in line and "--hash=sha256:" not in line] == []
