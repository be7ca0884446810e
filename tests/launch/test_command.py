"""A flag that is mistyped is named, though a required one is missing."""

import pytest

from launch import dev, run, status, watch
from launch.gke import jobset


@pytest.mark.parametrize("program, word, near", [
    (run, "--acelerator=v4-8", "--accelerator"),
    (dev, "--zoen", "--zone"),
    (jobset, "--imge=x", "--image"),
    (watch, "--delte", "--delete"),
    (status, "--projekt=p", "--project"),
], ids=["run", "dev", "jobset", "watch", "status"])
def test_the_nearest_flag_is_suggested(program, word, near, capsys):
  with pytest.raises(SystemExit) as ended:
    program.main([word])
  assert ended.value.code == 2
  assert capsys.readouterr().err.splitlines()[-1].endswith(
      f"unknown argument '{word}' (did you mean '{near}'?)")
