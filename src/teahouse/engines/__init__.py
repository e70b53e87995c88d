"""Connections to storage engines. Nothing here knows a feature."""
