"""Teahouse, the Python backend for mini-programs."""

__version__ = "0.1.0"
