"""The verb `checkpoints`: listing, filtering, tables and JSON."""

import json
import socket

from made_augreg_index import write_index
import pytest

from vit_jax.__main__ import main
from vit_jax.weights.hub import augreg_index, released


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
  """No cache, no index, no network."""
  monkeypatch.setenv("VIT_JAX_CACHE", str(tmp_path / "cache"))
  monkeypatch.setenv("VIT_JAX_CHECKPOINTS", str(tmp_path / "mirror"))
  monkeypatch.setattr(socket, "socket", None)
  monkeypatch.setattr(socket, "create_connection", None)


@pytest.fixture
def index(tmp_path):
  return augreg_index.read_augreg_index(
      write_index(tmp_path / "mirror/augreg/index.csv"))


@pytest.fixture
def shown(capsys):
  """Runs the verb and returns the lines that it prints."""
  def run(*argv, code=0):
    assert main(["checkpoints", *argv]) == code
    out, err = capsys.readouterr()
    return err if code else out.splitlines()

  return run


def as_json(shown, *argv):
  line, = shown(*argv, "--json")
  return json.loads(line)


def test_the_released_files_in_a_hundred_columns(shown):
  lines = shown()
  assert max(map(len, lines)) <= 100
  assert lines[0].split() == [
      "name", "MiB", "pixels", "classes", "zero", "head", "score", "scored",
      "on"]
  assert len(lines) == 1 + len(released.released_table()) + 2
  # Whole names, one unit, and a mark where the file itself scores by chance.
  rows = {line.split()[0]: line.split()[1:] for line in lines}
  assert rows["imagenet21k/ViT-B_16"] == [
      "394", "224", "21843", "yes", "84.53*", "imagenet2012"]
  assert rows["imagenet21k/ViT-L_16"][0] == "1,249"
  assert rows["imagenet21k+imagenet2012/ViT-B_16"] == [
      "331", "384", "1000", "no", "84.21", "imagenet2012"]
  assert lines[-2] == "* after fine-tuning; the head of the file is all zeros"


def test_collections_and_models(shown):
  assert len(shown("gsam")) == 1 + 4 + 1
  names = [line.split()[0] for line in shown("--model=ViT-B_16")[1:-2]]
  assert names == [
      "imagenet21k/ViT-B_16", "imagenet21k+imagenet2012/ViT-B_16",
      "imagenet21k+imagenet2012/ViT-B_16-224", "augreg/B_16",
      "augreg/B_16-384", "sam/ViT-B_16", "gsam/ViT-B_16"]
  names = [line.split()[0] for line in shown("imagenet21k", "--model=H/14")]
  assert names[1:-1] == ["imagenet21k/ViT-H_14"]


def test_every_name_that_is_shown_is_one_that_loads(shown):
  for line in shown()[1:-2]:
    assert released._exact(line.split()[0])


def test_the_table_sorts_and_limits(shown):
  answer = as_json(shown, "--sort=score")["checkpoints"]
  scores = [row["score"] for row in answer if row["score"]]
  assert scores == sorted(scores, reverse=True) and answer[-1]["score"] is None
  assert len(shown("--limit=3")) == 1 + 3 + 3
  sizes = [row["bytes"] for row in as_json(
      shown, "sam", "--sort=size", "--ascending")["checkpoints"]]
  assert sizes == sorted(sizes)


def test_json_is_one_object_with_everything(shown):
  answer = as_json(shown, "sam")
  assert (answer["source"], answer["total"]) == ("table", 5)
  assert answer["checkpoints"] == [
      row for row in released.released_table()
      if row["file"].startswith("sam/")]


def test_augreg_lists_pre_trained_files_once(shown, index):
  lines = shown("augreg", "--model=B/16", "--dataset=i21k")
  assert lines[0].split() == ["filename", "final_val", "final_test", "params"]
  assert max(map(len, lines)) <= 100
  assert len(lines) == 1 + 2
  best = augreg_index.recommended(index, "B/16")
  assert lines[1].split()[:2] == [
      best["filename"], f"{float(best['final_val']):.4f}"]


def test_the_limit_is_shown(shown, index):
  lines = shown("augreg")
  files = {row["filename"] for row in index}
  assert len(lines) == 1 + 20 + 2
  assert lines[-2] == f"20 of {len(files)}; --limit=0 shows all"
  assert "compare within one" in lines[-1]
  assert len(shown("augreg", "--limit=0")) == 1 + len(files) + 1
  assert "compare" not in shown("augreg", "--ds=i21k")[-1]


@pytest.mark.parametrize("option", [
    "--dataset=cifar100", "--adapt_ds=cifar100", "--sort=adapt_final_val",
    "--adapt_resolution=384", "--columns=final_val,adapt_filename"])
def test_fine_tuned_files_where_it_is_about_them(shown, index, option):
  lines = shown("--model=S/32", option, "--limit=5")
  assert lines[0].split()[-1] == "adapt_filename"
  for line in lines[1:6]:
    fields = augreg_index.parse_filename(line.split()[-1])
    assert fields["model"] == "S_32" and fields["adapt_ds"]
    if "cifar100" in option:
      assert fields["adapt_ds"] == "cifar100"


def test_all_of_a_search_as_json(shown, index):
  answer = as_json(
      shown, "--model=S/32", "--dataset=cifar100", "--adapt_resolution=384",
      "--ds=i21k", "--sort=adapt_final_test")
  wanted = augreg_index.sort_rows(augreg_index.select_rows(
      index, name="S/32", adapt_ds="cifar100", adapt_resolution=384,
      ds="i21k"), "adapt_final_test")
  assert answer["source"] == "index.csv" and answer["total"] == len(wanted) > 1
  assert answer["checkpoints"] == list(map(augreg_index.typed_row, wanted))
  assert isinstance(answer["checkpoints"][0]["adapt_steps"], int)


def test_columns(shown, index):
  lines = shown("augreg", "--columns=name,wd,final_val", "--limit=1")
  assert lines[0].split() == ["name", "wd", "final_val"]
  answer = as_json(shown, "gsam", "--columns=name,score")
  assert answer["checkpoints"][0] == dict(name="gsam/ViT-S_32", score=95.1)


def test_an_index_from_elsewhere(shown, tmp_path):
  path = write_index(tmp_path / "mine.csv")
  assert shown(f"--index={path}", "--model=L/16")[0].startswith("filename")


def test_without_the_index_the_table_is_shown(capsys):
  assert main(["checkpoints", "augreg"]) == 0
  out, err = capsys.readouterr()
  assert len(out.splitlines()) == 1 + 20 + 1
  assert err.startswith("vit_jax: warning: AugReg's index cannot be read")
  assert "index.csv: no such file" in err and err.count("\n") == 1


@pytest.mark.parametrize(["argv", "code", "words"], [
    (["augreg", "--sort=final_val"], 1, "index.csv: no such file"),
    (["--index=no.csv"], 1, "no.csv: No such file"),
    (["nonsense"], 2, "invalid choice: 'nonsense'"),
    (["--limit=-1"], 2, "--limit=-1"),
    (["--model=B/17"], 2, "(did you mean 'B/16'?)"),
    (["--sort=scores"], 2, "(did you mean 'score'?)"),
    (["--columns=score,nme"], 2, "(did you mean 'name'?)"),
    (["sam", "--aug=light1"], 2, "take augreg")])
def test_errors(shown, argv, code, words):
  error = shown(*argv, code=code)
  assert error.startswith("vit_jax: error: ") and words in error
  assert error.count("\n") == 1


@pytest.mark.parametrize(["argv", "words"], [
    (["--dataset=cifar10"], "(did you mean 'cifar100'?); it is one of i1k,"),
    (["--wd=0.2"], "wd is 0.03, 0.1"), (["augreg", "--sort=finalval"],
                                       "(did you mean 'final_val'?)"),
    (["augreg", "--columns=filenam"], "(did you mean 'filename'?)")])
def test_errors_of_the_index(shown, index, argv, words):
  assert words in shown(*argv, code=2)
