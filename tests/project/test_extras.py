"""The command that a message names where an optional extra is missing."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vsbatch_core.extras import pip_line

CLONE = "in the folder of a clone of vsbatch-core"


def installed(monkeypatch: pytest.MonkeyPatch, recorded: Any) -> None:
    """Have the package be installed, with this as pip's record of where it came from."""
    text = None if recorded is None else json.dumps(recorded)
    found = SimpleNamespace(read_text={"direct_url.json": text}.__getitem__)
    monkeypatch.setattr("importlib.metadata.distribution", lambda _name: found)


@pytest.mark.parametrize("editable", [True, False])
def test_the_command_installs_from_the_folder_that_the_package_was_installed_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, editable: bool
) -> None:
    folder = tmp_path / "it's a clone"
    folder.mkdir()
    installed(monkeypatch, {"url": folder.as_uri(), "dir_info": {"editable": True} if editable else {}})
    words = [sys.executable, "-m", "pip", "install", *(["--editable"] if editable else []), f"{folder}[http]"]
    assert shlex.split(pip_line("http")) == words


@pytest.mark.parametrize(
    "recorded",
    [
        None,
        {"url": "file:///no/such/folder", "dir_info": {}},
        {"url": "file:///tmp", "archive_info": {}},
        {"url": "https://host.example/clone", "dir_info": {}},
    ],
    ids=["from an index", "a folder that is gone", "a wheel", "from elsewhere"],
)
def test_where_that_folder_is_not_known_the_command_is_one_for_the_clones_folder(
    monkeypatch: pytest.MonkeyPatch, recorded: Any
) -> None:
    installed(monkeypatch, recorded)
    assert pip_line("http") == f"{shlex.quote(sys.executable)} -m pip install '.[http]', {CLONE}"


def test_the_command_is_one_for_the_clones_folder_where_the_package_was_never_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vsbatch_core.extras._NAME", "a-package-that-nobody-installed")
    assert pip_line("plot").endswith("'.[plot]', in the folder of a clone of a-package-that-nobody-installed")
