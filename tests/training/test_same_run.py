"""What may change when a run is resumed, and what makes it another run."""

import json

import pytest

from vit_jax.config import schema
from vit_jax.errors import UsageError
from vit_jax.training import workdir


@pytest.fixture
def check(tmp_path):
  """Returns a function: checks a change against the run in a directory."""

  def config(**changes):
    made = schema.default_config()
    made.train.steps = 5
    made.update_from_flattened_dict(changes)
    return schema.resolve(made)

  (tmp_path / "config.json").write_text(json.dumps(
      {"config": json.loads(config().to_json_best_effort())}))

  def check(data_are_checked=True, **changes):
    workdir.check_same_run(
        str(tmp_path), config(**changes), data_are_checked=data_are_checked)

  return check


@pytest.mark.parametrize("change", [
    {"data.max_broken": 3}, {"data.num_threads": 2}, {"data.data_dir": "/b"},
    {"data.source": "/elsewhere"}, {"train.log_every": 7},
    {"checkpoint.keep": 5}, {"mesh.fsdp": 2}])
def test_a_resumed_run_may_change_this(check, change):
  check(**change)


@pytest.mark.parametrize("key, value, words", [
    ("train.seed", 1, "train.seed was 0, now 1"),
    ("train.steps", 6, "train.steps was 5, now 6"),
    ("data.split", "val", "data.split was 'train', now 'val'"),
    ("data.batch_size", 64, "data.batch_size was 512, now 64")])
def test_another_run_is_refused(check, key, value, words):
  with pytest.raises(UsageError, match="belongs to another run: .*" + words):
    check(**{key: value})


def test_other_data_are_refused_where_nothing_compares_them(check):
  # A finished run of a study or sweep is not opened again.
  check(data_are_checked=False)
  with pytest.raises(UsageError, match="data.source was 'digits', now '/b'"):
    check(data_are_checked=False, **{"data.source": "/b"})


@pytest.mark.parametrize("name", ["lr[0.1]", "a]b", "[", "back\\slash"])
@pytest.mark.parametrize("below", ["", "/run"])
def test_a_path_that_checkpoints_cannot_be_restored_from(tmp_path, name, below):
  with pytest.raises(UsageError, match="could not be restored; choose"):
    workdir.create_workdir(f"{tmp_path}/{name}{below}")
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a b", "a*b", "a?b", "#1", "%20", "é", "a&b"])
def test_other_odd_paths_are_taken(tmp_path, name):
  assert workdir.create_workdir(tmp_path / name) == f"{tmp_path}/{name}"
