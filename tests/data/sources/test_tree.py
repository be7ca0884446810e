"""What is an image: links, loops, hidden folders, names that are not UTF-8."""

import os
import stat

from made_folders import JPEG, files, make
import pytest

from vit_jax.data.sources import make_source
from vit_jax.data.sources.tree import Folder, list_images
from vit_jax.errors import DataError


def found(root, split="all"):
  return files(make_source(str(root), split=split), root)


def test_links_to_files_and_folders_are_followed(tmp_path):
  make(tmp_path / "elsewhere", "{a,b}.jpg")
  root = make(tmp_path / "data", "{cat,dog}/0.jpg",
              "cat/1.jpg -> ../../elsewhere/a.jpg",
              "dog/more -> ../../elsewhere", "emu -> ../elsewhere")
  assert found(root) == ["cat/0.jpg", "cat/1.jpg", "dog/0.jpg",
                         "dog/more/a.jpg", "dog/more/b.jpg", "emu/a.jpg",
                         "emu/b.jpg"]


@pytest.mark.parametrize("link", [
    "cat/self -> .", "cat/up -> ..", "cat/deep/up -> ../..",
    "cat/far -> ../../..", "self -> ."])
def test_a_loop_of_links_adds_nothing(tmp_path, link, caplog):
  root = make(tmp_path / "a/data", "{cat,dog}/{0,1}.jpg", link)
  assert len(found(root)) == 4
  assert "links to folders, not followed" in caplog.text
  assert link.split(" ")[0] in caplog.text


def test_two_loops_do_not_multiply(tmp_path):
  """Two such links meant 2^40 paths."""
  root = make(tmp_path, "{cat,dog}/0.jpg", "cat/{a,b,c} -> .",
              "dog/{a,b,c} -> ../cat")
  assert found(root) == ["cat/0.jpg", "dog/0.jpg"]


def test_loops_outside_of_the_folder(tmp_path):
  """One link leads out, where three levels of two links lead on."""
  for i in range(12):
    make(tmp_path / f"out{i}", "0.jpg", f"{{a,b}} -> ../out{(i + 1) % 12}")
  root = make(tmp_path / "data", "{cat,dog}/0.jpg", "cat/out -> ../../out0")
  paths = found(root)
  assert len(paths) == len({os.path.realpath(root / p) for p in paths}) == 14


def test_a_folder_is_not_read_twice_through_a_link(tmp_path, caplog):
  root = make(tmp_path, "{cat,dog}/0.jpg", "cat/more -> ../dog")
  assert found(root) == ["cat/0.jpg", "dog/0.jpg"]
  assert "cat/more (read where it lies)" in caplog.text


def test_a_link_to_a_hidden_folder_is_the_way_to_it(tmp_path):
  root = make(tmp_path, ".store/v1/{0,1}.jpg", "{cat,dog}/2.jpg",
              "cat/files -> ../.store/v1")
  assert found(root) == ["cat/2.jpg", "cat/files/0.jpg", "cat/files/1.jpg",
                         "dog/2.jpg"]


def test_a_split_may_be_a_link_to_another(tmp_path):
  root = make(tmp_path, "{train,test}/{cat,dog}/0.jpg", "val -> test")
  assert found(root, "val") == ["val/cat/0.jpg", "val/dog/0.jpg"]


def test_a_link_makes_no_second_class(tmp_path):
  root = make(tmp_path, "{cat,dog}/0.jpg", "pet -> cat")
  with pytest.raises(DataError, match="cat and pet are one folder"):
    found(root)


def test_pipes_and_broken_links_are_no_images(tmp_path, caplog):
  """Opening the pipe would wait for ever."""
  root = make(tmp_path, "{cat,dog}/0.jpg", "cat/gone.jpg -> nowhere.jpg")
  os.mkfifo(root / "dog/pipe.jpg")
  assert stat.S_ISFIFO(os.stat(root / "dog/pipe.jpg").st_mode)
  assert found(root) == ["cat/0.jpg", "dog/0.jpg"]
  assert ("not images, ignored: 1 broken link, 1 pipe, socket or device"
          in caplog.text)


def test_only_broken_links_are_said(tmp_path):
  """As after `git annex` or DVC without their files."""
  root = make(tmp_path, "{cat,dog}/{a,b}.jpg -> gone")
  with pytest.raises(DataError, match=r"no image found \(but 4 broken link"):
    found(root)


def test_an_unreadable_folder_is_an_error(tmp_path, monkeypatch):
  root = make(tmp_path, "{cat,dog}/0.jpg", "cat/secret/1.jpg")
  real = os.scandir

  def scandir(path):
    if str(path).endswith("secret"):
      raise PermissionError(13, "Permission denied", path)
    return real(path)

  monkeypatch.setattr(os, "scandir", scandir)
  with pytest.raises(DataError, match="cat/secret: cannot be read: Permission"):
    found(root)


HIDDEN = (".git", ".thumbnails", ".ipynb_checkpoints", "__MACOSX", "@eaDir",
          "#recycle", "$RECYCLE.BIN", "System Volume Information",
          "lost+found", "__pycache__", "thumbnails")


@pytest.mark.parametrize("name", HIDDEN)
def test_hidden_folders_hold_no_images(tmp_path, name):
  root = make(tmp_path, "{cat,dog}/0.jpg", f"{name}/cat/1.jpg",
              f"cat/{name}/2.jpg", "cat/._0.jpg", "cat/.3.jpg",
              "cat/Thumbs.db", "dog/desktop.ini")
  assert found(root) == ["cat/0.jpg", "dog/0.jpg"]


def test_thumbnails_are_said_and_the_rest_is_silent(tmp_path, caplog):
  root = make(tmp_path, "{cat,dog}/*.jpg", ".git/0.jpg", "cat/Thumbs.db")
  found(root)
  assert not caplog.text
  make(root, "cat/thumbnails/0.jpg")
  found(root)
  assert "folders of thumbnails, ignored: cat/thumbnails" in caplog.text


def test_prediction_finds_the_same_images(tmp_path):
  """The rule is one for train, evaluate and predict."""
  from vit_jax.data.pictures import find_images

  outside = make(tmp_path / "outside", "{a,b}.jpg")
  root = make(tmp_path / "data", "{cat,dog}/{0,1}.jpg", "cat/self -> .",
              f"dog/more -> {outside}", "cat/{.hidden,@eaDir}/3.jpg",
              ".4.jpg", "cat/notes.txt", "dog/deep/er/5.JPG")
  expected = found(root)
  assert len(expected) == 7
  assert [path.removeprefix(f"{root}/") for path in find_images([str(root)])
          ] == expected


def test_a_file_whose_name_is_not_utf8_is_read(tmp_path):
  name = os.fsdecode(b"k\xe4se.jpg")
  root = make(tmp_path, "{cat,dog}/0.jpg", f"cat/{name}")
  source = make_source(str(root), split="all")
  assert source[1] == {"image": JPEG, "label": 0, "file": r"k\xe4se.jpg",
                       "id": rf"{root}/cat/k\xe4se.jpg"}
  source[1]["id"].encode("utf-8")


def test_a_class_whose_name_is_not_utf8_is_refused(tmp_path):
  root = make(tmp_path, "dog/0.jpg", os.fsdecode(b"k\xe4se") + "/0.jpg")
  with pytest.raises(DataError) as error:
    found(root)
  assert r"k\xe4se: the name of this folder is not UTF-8" in str(error.value)
  str(error.value).encode("utf-8")


def test_a_folder_of_other_files_may_be_called_anything(tmp_path):
  root = make(tmp_path, "{train,test}/{cat,dog}/0.jpg",
              os.fsdecode(b"k\xe4se") + "/notes.txt")
  assert len(found(root)) == 4


def test_spaces_brackets_and_other_letters_in_names(tmp_path):
  root = make(tmp_path, "a [1] & b%20/x y.jpg", "\u65e5\u672c/\u732b #1?.jpg")
  source = make_source(str(root), split="all")
  assert source.class_names == ("a [1] & b%20", "\u65e5\u672c")
  assert source[1]["file"] == "\u732b #1?.jpg"


def test_list_images(tmp_path):
  make(tmp_path, "b/{1,2}.jpg", "a.jpg", "c.txt")
  assert list_images(str(tmp_path)) == [
      f"{tmp_path}/a.jpg", f"{tmp_path}/b/1.jpg", f"{tmp_path}/b/2.jpg"]
  with pytest.raises(DataError, match=r"no image found \(but 1 \.txt"):
    make(tmp_path / "none", "c.txt")
    list_images(f"{tmp_path}/none")


def test_nothing_is_listed_before_it_is_asked_for(tmp_path):
  folder = Folder(str(tmp_path / "none"))
  with pytest.raises(DataError, match="none: cannot be read: No such file"):
    folder.all_images()
