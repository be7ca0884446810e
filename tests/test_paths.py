"""Folders that users name: local ones, buckets, and what is neither."""

import importlib.util
import os

import pytest

from vit_jax.errors import UsageError, UserError
from vit_jax.paths import absolute, local_path


def test_local_paths_become_absolute(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("HOME", "/home/me")
  assert absolute("runs/x") == f"{tmp_path}/runs/x"
  assert absolute("~/x") == "/home/me/x"
  assert absolute("file:///a%20b/../c") == "/c"
  assert local_path("file:///a%20b") == "/a b"
  assert local_path("a%20b") == "a%20b"


@pytest.mark.parametrize("scheme, package", [("gs", "gcsfs"), ("s3", "s3fs")])
def test_a_bucket_needs_its_package(scheme, package, monkeypatch):
  found = {package: None}
  monkeypatch.setattr(importlib.util, "find_spec", found.get)
  with pytest.raises(UserError, match=f"run pip install {package}"):
    absolute(f"{scheme}://bucket/x")
  found[package] = os
  assert absolute(f"{scheme}://bucket/x") == f"{scheme}://bucket/x"


@pytest.mark.parametrize("path", ["https://host/x", "hf://a/b", "tfds://x"])
def test_other_servers_have_no_folders(path):
  with pytest.raises(UsageError, match="a local folder was expected, or one"):
    absolute(path)
