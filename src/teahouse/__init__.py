"""Teahouse, the Python backend for mini-programs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from teahouse.accounts import Admin, Caller
    from teahouse.app import Teahouse
    from teahouse.problems import Problem
    from teahouse.web import App, Background, Header, Maybe, Request, Response, TestClient

__version__ = "0.1.0"

__all__ = [
    "Admin",
    "App",
    "Background",
    "Caller",
    "Header",
    "Maybe",
    "Problem",
    "Request",
    "Response",
    "Teahouse",
    "TestClient",
]

_HOMES = {
    "Teahouse": "teahouse.app",
    "Admin": "teahouse.accounts",
    "Caller": "teahouse.accounts",
    "Problem": "teahouse.problems",
}


def __getattr__(name: str) -> object:
    # A program that asks for the kernel alone, or for one command, does not load every feature.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "teahouse.web")), name)
