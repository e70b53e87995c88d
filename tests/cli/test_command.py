"""The command as a whole: help, versions, exit codes and where mistakes are told."""

from __future__ import annotations

import pytest

import teahouse

COMMANDS = ("serve", "demo", "init", "user", "migrate", "doctor", "openapi", "asyncapi", "reconcile", "key", "load")


def test_help_lists_every_command_with_what_it_does(run):
    result = run("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        line = next(line for line in result.stdout.splitlines() if line.strip().startswith(name + " "))
        assert len(line.split()) > 2


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(run, name: str):
    result = run(name, "-h")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_the_version_is_the_packages(run):
    assert run("--version").stdout == f"teahouse {teahouse.__version__}\n"


def test_an_unknown_command_is_a_usage_error(run):
    result = run("brew")
    assert result.exit_code == 2
    assert "brew" in result.stderr


@pytest.mark.parametrize("name", ["serve", "migrate", "openapi", "reconcile"])
def test_wrong_settings_end_a_command_with_2_and_a_line_for_each_mistake(run, monkeypatch, name: str):
    monkeypatch.setenv("TEAHOUSE_PROT", "1")
    monkeypatch.setenv("TEAHOUSE_HOST_NAME", "x")
    result = run(name)
    assert result.exit_code == 2
    assert [line.partition(":")[0] for line in result.stderr.splitlines()] == ["teahouse", "teahouse"]
    assert "did you mean TEAHOUSE_PORT?" in result.stderr
    assert result.stdout == ""


def test_a_missing_settings_file_is_told(run):
    result = run("migrate", "--config", "nowhere.toml")
    assert result.exit_code == 2
    assert "nowhere.toml: there is no such file" in result.stderr
