"""How to build and start the programs that Teahouse is measured against."""

import shutil
import subprocess
from pathlib import Path

from bench.failures import BenchFailed
from bench.servers import Plan, file_name, free_port

GIN = Path(__file__).parent / "gin"
SHOP = Path(__file__).parent / "shop"


def build_gin(folder: Path) -> dict[str, Path]:
    """Compiles the Gin peer into the folder: as it comes, and with the faster JSON library it offers."""
    return {"stock": build(GIN, folder / "gin"), "sonic": build(GIN, folder / "gin-sonic", "sonic")}


def build_shop(folder: Path) -> Path:
    """Compiles the shop on Redis into the folder."""
    return build(SHOP, folder / "shop")


def build(source: Path, binary: Path, tags: str = "", *, package: str = ".") -> Path:
    """Compiles a package, by default that of the folder ``source``, with the versions that ``source/go.sum`` names."""
    if shutil.which("go") is None:
        raise BenchFailed("Go is not installed: the peers need Go 1.25 or newer (https://go.dev/dl/)")
    command = ["go", "build", "-trimpath", "-tags", tags, "-o", str(binary.resolve()), package]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchFailed(f"the peer in {source.name} does not compile:\n{done.stderr.strip()}")
    return binary


def gin(name: str, binary: Path, mode: str, folder: Path) -> Plan:
    """A Gin peer; in default mode it writes its access log to a file."""
    port, stem = free_port(), file_name(name)
    log = folder / f"{stem}-access.log" if mode == "default" else None
    command = [str(binary), "-mode", mode, "-addr", f"127.0.0.1:{port}"]
    if log is not None:
        log.touch()
        command += ["-access-log", str(log)]
    return Plan(name, command, port, "/ping", folder / f"{stem}-output.log", log)
