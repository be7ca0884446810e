"""What README, docs and CONTRIBUTING name exists, and their commands parse."""

import contextlib
import importlib
import io
import pathlib
import re
import shlex
import subprocess

from PIL import Image
import pytest

from vit_jax.__main__ import VERBS, main
from vit_jax.config.find import load_config

ROOT = pathlib.Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md",
         ROOT / "launch" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Written by `vit_jax paper claims`; tests/paper/test_claims.py runs its
# commands.
GENERATED = set((ROOT / "docs" / "paper").glob("claims*.md"))
# Files of a user that pages tell of.
USERS_FILES = ("labels.csv", "metadata.csv")
# Folders in which a page may name a file by its last part.
FOLDERS = (ROOT, ROOT / "configs", ROOT / "launch", ROOT / "launch" / "gke")

_LINK = re.compile(
    r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"|```\{include\} (\S+)")
_DOTTED = re.compile(r"(?<![\w/.-])vit_jax(?:\.[A-Za-z_]\w*)+")
_PATH = re.compile(r"(?<![\w/.:$-])[A-Za-z_.][\w./-]*\.(?:py|sh|csv|toml)\b")
_COMMAND = re.compile(r"python -m vit_jax(?:\.main)? ([^`#|]+)")


def relative(path):
  return str(path.relative_to(ROOT))


def links(page):
  """Returns the targets of a page's links that are files of the repository."""
  text = page.read_text(encoding="utf-8")
  found = [next(filter(None, groups)) for groups in _LINK.findall(text)]
  return [target.partition("#")[0] for target in found
          if "://" not in target and not target.startswith(("#", "mailto:"))]


def resolve(name):
  """Imports what a dotted name means; AttributeError if there is no such."""
  parts = name.split(".")
  for end in range(len(parts), 0, -1):
    try:
      found = importlib.import_module(".".join(parts[:end]))
    except ModuleNotFoundError:
      continue
    for attribute in parts[end:]:
      found = getattr(found, attribute)
    return found
  raise AttributeError(name)


def exists(name, page=README):
  """Whether a page's file is there; capitals such as NAME.py stand for any."""
  folder, _, last = name.rpartition("/")
  if last in USERS_FILES:
    return True
  if last.partition(".")[0].isupper():
    return (ROOT / folder).is_dir()
  return any((above / name).exists() for above in (*FOLDERS, page.parent))


def commands(text):
  """Returns the words after `python -m vit_jax` of each command in a text.

  Table cells that leave the beginning out, such as `train --config=...`,
  count too.
  """
  text = text.replace("\\\n", " ")
  found = _COMMAND.findall(text)
  found += re.findall(rf"`((?:{'|'.join(VERBS)}) --[^`]+)`", text)
  return [shlex.split(line.partition("\n")[0].strip()) for line in found]


def help_of(verb):
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
    main([verb, "--help"])
  return printed.getvalue()


def check(words):
  """Raises where a command names a verb, flag, config or key that is not."""
  if words[0].startswith("-"):  # python -m vit_jax.main --config=...
    words = ["train", *words]
  verb, *rest = words
  if verb == "VERB" or not rest:
    assert verb in (*VERBS, "VERB", "...", "--help"), verb
    return
  assert verb in VERBS, verb
  known = help_of(verb)
  for word in rest:
    flag = word.partition("=")[0]
    if word.startswith("--") and not word.startswith("--config"):
      assert re.search(rf"{flag}\b", known), f"{verb} has no {flag}"
  config = [word for word in rest if word.startswith("--config")
            and not word.endswith("=...")]
  # An error of google-research/vision_transformer's keys is shown on purpose.
  config = [word for word in config if "base_lr" not in word]
  if any(word.startswith("--config=") for word in config):
    load_config(config)


def test_readme_is_short():
  assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_readme_lists_the_verbs_as_the_help_does():
  rows = re.findall(r"^\| `(\w+)` \| (.*) \|$",
                    README.read_text(encoding="utf-8"), re.MULTILINE)
  assert dict(rows) == VERBS and list(dict(rows)) == list(VERBS)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page):
  missing = [target for target in links(page)
             if not (page.parent / target).exists()]
  assert not missing


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_names_of_the_package_resolve(page):
  for name in set(_DOTTED.findall(page.read_text(encoding="utf-8"))):
    resolve(name)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_files_that_are_named_exist(page):
  text = page.read_text(encoding="utf-8")
  assert not [name for name in set(_PATH.findall(text))
              if not exists(name, page)]


@pytest.fixture
def users_folders(tmp_path, monkeypatch):
  """Works where a user has the folders of images that commands train on."""
  for name in ("birds", "photos"):
    (tmp_path / name / "robin").mkdir(parents=True)
    Image.new("RGB", (2, 2)).save(tmp_path / name / "robin" / "a.png")
  monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in GENERATED], ids=relative)
def test_commands_parse(page, users_folders):
  for words in commands(page.read_text(encoding="utf-8")):
    check(words)


def test_what_is_wrong_would_be_noticed(tmp_path):
  page = tmp_path / "page.md"
  page.write_text("[a](no.md) [b](page.md#x) [c](https://example.org)")
  assert [(tmp_path / link).exists() for link in links(page)] == [False, True]
  with pytest.raises(AttributeError):
    resolve("vit_jax.training.loop.tran")
  assert not exists("vit_jax/loop.py") and exists("vit_jax/cli/NAME.py")
  for line, wrong in {
      "python -m vit_jax trian --workdir=x": AssertionError,
      "python -m vit_jax predict --chekpoint=x": AssertionError,
      "`train --config=configs/vitt.py --workdir=x`": Exception,
      "python -m vit_jax train --config=configs/vit.py \\\n --config.x=1":
      Exception}.items():
    (words,) = commands(line)
    with pytest.raises(wrong):
      check(words)


# Where what a commit changed lies today.
MOVED = {"vit_jax/config/schema.py": "vit_jax/config/sections.py"}


def examples():
  """Returns (number of files, their patterns, commit) of CONTRIBUTING.md."""
  rows = re.findall(r"^\| .* \| (\d): (.*) \| ([0-9a-f]{7,}) \|$",
                    (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
  return [(int(number), re.findall("`(.*?)`", files), commit)
          for number, files, commit in rows]


@pytest.mark.parametrize(
    "number, patterns, commit", examples(), ids=lambda value: str(value)[:7])
def test_examples_of_adding_touch_no_other_files(number, patterns, commit):
  def git(*words):
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True,
                          text=True, check=False)

  if git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
    pytest.skip("not a clone with the history")
  if git("cat-file", "-e", commit).returncode:
    pytest.skip("the history was rewritten")
  shown = git("show", "--format=", "--name-only", commit)
  touched = [MOVED.get(name, name) for name in shown.stdout.split()
             if not name.startswith(("tests/", "docs/"))
             and not name.endswith(".md")]
  assert 0 < len(touched) <= number
  known = "|".join(re.escape(p).replace("NAME", r"\w+") for p in patterns)
  assert all(re.fullmatch(known, name) for name in touched), touched


def test_five_examples_are_checked():
  assert len(examples()) == 5
