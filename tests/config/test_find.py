"""Config files: the one that is named or an error, and errors inside of one."""

import os

import pytest

from vit_jax.config import find
from vit_jax.errors import UsageError


def refused(*words):
  """Returns the one line that load_config answers with."""
  with pytest.raises(UsageError) as raised:
    find.load_config(words)
  message = str(raised.value)
  assert "\n" not in message and "Traceback" not in message
  return message


@pytest.mark.parametrize(
    "name",
    ["configs/quickstart.py", "quickstart.py", "./configs/quickstart.py"])
def test_a_shipped_config_is_found_from_any_folder(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  found = find.find_config(f"{name}:finetune")
  assert found == f"{find.shipped_folder()}/quickstart.py:finetune"
  assert find.load_config([f"--config={name}"]).data.source == "digits"
  assert find.load_config(["--config", name]).data.source == "digits"


@pytest.mark.parametrize("name", [
    "/home/me/project/configs/quickstart.py", "../configs/quickstart.py",
    "project/configs/quickstart.py", "other/quickstart.py", "~/quickstart.py",
    "configs/../quickstart.py"])
def test_a_missing_file_is_not_replaced_by_a_shipped_one(
    name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("HOME", str(tmp_path))
  message = refused(f"--config={name}")
  assert message.startswith(
      f"--config={name}: no such file (did you mean 'configs/quickstart.py'?)")


def test_the_own_file_comes_before_a_shipped_one(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  os.mkdir("configs")
  (tmp_path / "configs/quickstart.py").write_text(
      "from vit_jax.config.schema import default_config\n"
      "def get_config():\n"
      "  config = default_config()\n"
      "  config.train.seed = 7\n"
      "  return config\n")
  assert find.load_config(["--config=configs/quickstart.py"]).train.seed == 7
  monkeypatch.setenv("HOME", str(tmp_path))
  assert find.load_config(
      ["--config=~/configs/quickstart.py"]).train.seed == 7


def test_what_is_no_config_file_is_named(tmp_path):
  (tmp_path / "README.md").write_text("*A title* 16x16\n")
  assert f"{tmp_path}: a directory" in refused(f"--config={tmp_path}")
  assert "README.md: not a Python file" in refused(
      f"--config={tmp_path}/README.md")
  for words in (["--config="], ["--config=:b16"], []):
    assert "--config=configs/FILE.py is missing" in refused(*words)
  assert "--config" in refused("--config")


def test_a_file_inherits_nothing_from_the_one_before(tmp_path):
  find.load_config(["--config=configs/quickstart.py"])
  (tmp_path / "mine.py").write_text("x = 1\n")
  assert "no attribute 'get_config'" in refused(
      f"--config={tmp_path}/mine.py")


@pytest.mark.parametrize("text, expected", [
    ("def get_config(:\n", "SyntaxError in line 1: invalid syntax"),
    ("import nothing_of_that_name\n", "ModuleNotFoundError in line 1: No"),
    ("\ndef get_config():\n  return nam\n", "NameError in line 3: name 'nam'"),
    ("def get_config():\n  return int('x')\n", "ValueError in line 2: invalid"),
    ("def get_config():\n  return open('/no/file')\n",
     "FileNotFoundError in line 2: [Errno 2] No such file"),
    ("def get_config():\n"
     "  from vit_jax.config.schema import default_config\n"
     "  config = default_config()\n"
     "  config.data.batch_size = 'x'\n", "TypeError in line 4: "),
    ("def get_config():\n"
     "  from vit_jax.config.schema import default_config\n"
     "  config = default_config()\n"
     "  config.lock()\n"
     "  config.trian = 3\n", "AttributeError in line 5: "),
    ("x = 1\n", "no attribute 'get_config'"),
    ("def get_config(arg):\n  return arg\n",
     "get_config() missing 1 required positional argument: 'arg'"),
    ("def get_config():\n  pass\n", "get_config() returned NoneType; a Conf"),
    ("def get_config():\n  return {}\n", "get_config() returned dict; a Conf"),
])
def test_an_error_of_a_config_file_is_a_line_with_its_place(
    text, expected, tmp_path):
  path = tmp_path / "mine.py"
  path.write_text(text)
  message = refused(f"--config={path}")
  assert message.startswith(f"--config={path}: ")
  assert expected in message


def test_users_errors_of_a_config_stay_as_they_are():
  assert "unknown" in refused("--config=configs/vit.py:b61,cifar10")
  assert "b61" in refused("--config=configs/vit.py:b61,cifar10")


def test_overrides_name_the_key():
  config = "--config=configs/quickstart.py"
  assert "train.steps" in refused(config, "--config.train.steps=many")
  assert "'noconfig'" in refused(config, "--noconfig")
  assert "unexpected argument 'word'" in refused(config, "word")
