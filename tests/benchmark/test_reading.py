"""Weights are read beside the disk, and come from it."""

import json
import os

from vit_jax.__main__ import main
from vit_jax.benchmark import reading


def test_files_are_out_of_the_cache_before_a_turn(tmp_path, monkeypatch):
  path = tmp_path / "file"
  path.write_bytes(b"x" * 100)
  calls = []
  monkeypatch.setattr(
      os, "posix_fadvise", lambda _, *rest: calls.append(rest), raising=False)
  reading._uncached([path, path], lambda: calls.append("read"))()
  assert calls == [(0, 0, os.POSIX_FADV_DONTNEED)] * 2 + ["read"]


def test_the_verb_prints_and_writes(tmp_path, capsys):
  out = tmp_path / "disk.json"
  assert main(["benchmark", "--peers=disk", "--models=Ti/16", "--steps=2",
               f"--out={out}"]) == 0
  printed = capsys.readouterr().out
  assert "checkpoint" in printed and "disk alone" in printed
  npz, checkpoint = json.loads(out.read_text())["reading"]
  # 5.7 million parameters; with momentum twice as many.
  assert 22e6 < npz["bytes"] < 24e6 < 1.8 * npz["bytes"] < checkpoint["bytes"]
  assert all(len(one[key]) == 2 and min(one[key]) > 0
             for one in (npz, checkpoint) for key in ("ours", "disk"))
