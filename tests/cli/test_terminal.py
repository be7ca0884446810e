"""What a person sees on a terminal: bars and lines keep out of each other."""

import contextlib
import fcntl
import os
import pty
import re
import struct
import termios
import threading

import cv2
import numpy as np
import pytest


class Screen:
  """A pseudo-terminal; `rows()` is what is to be seen at the end."""

  def __init__(self):
    self._master, slave = pty.openpty()
    # Rows and columns: a new one has none of either, and no room for a bar.
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 50, 200, 0, 0))
    self.stream = os.fdopen(slave, "w", encoding="utf-8")
    self._bytes = b""
    self._reader = threading.Thread(target=self._read, daemon=True)
    self._reader.start()

  def _read(self):
    # Linux answers EIO once the other side is closed.
    with contextlib.suppress(OSError):
      while part := os.read(self._master, 1 << 16):
        self._bytes += part

  def close(self):
    self.stream.close()
    self._reader.join(20)
    os.close(self._master)

  def text(self):
    """Returns everything that was written."""
    return self._bytes.decode()

  def rows(self):
    """Returns the rows as carriage returns and cursor moves leave them."""
    rows, row, column = [[]], 0, 0
    for part in re.findall(r"\x1b\[\d*[A-K]|.", self.text(), re.DOTALL):
      if part == "\r":
        column = 0
      elif part == "\n":
        row, column = row + 1, 0
      elif part == "\x1b[A":
        row = max(0, row - 1)
      else:
        assert not part.startswith("\x1b"), part
        while len(rows) <= row:
          rows.append([])
        line = rows[row]
        line += " " * (column + 1 - len(line))
        line[column] = part
        column += 1
    return [text for line in rows if (text := "".join(line).rstrip())]


@pytest.fixture
def shown(vit):
  """Runs a command with a terminal as standard error."""

  def run(*words):
    screen = Screen()
    with contextlib.redirect_stderr(screen.stream):
      ran = vit(*words)
    screen.close()
    return ran, screen

  return run


@pytest.fixture
def pictures(tmp_path):
  for i in range(6):
    cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((8, 8, 3), i, np.uint8))
  (tmp_path / "3.png").write_bytes(b"broken")
  return tmp_path


def is_bar(row):
  return "%|" in row


def test_the_rows_are_those_of_a_terminal():
  screen = Screen()
  screen.stream.write("  5%|#\rlog line\n 50%|##\r         \rdone\n")
  screen.close()
  assert screen.rows() == ["log line", "done"]


def test_evaluate_shows_a_bar_that_goes(shown, digits_checkpoint):
  ran, screen = shown(
      "evaluate", f"--checkpoint={digits_checkpoint}", "--source=digits",
      "--split=val", "--batch_size=64")
  assert ran.code == 0
  assert "0/179" in screen.text()
  assert not any(is_bar(row) for row in screen.rows())
  # The first sign of life is written before the slow imports.
  assert screen.text().startswith("vit_jax: opening ")


def test_predict_names_a_broken_file_above_its_bar(shown, checkpoint, pictures):
  ran, screen = shown(
      "predict", f"--checkpoint={checkpoint}", pictures, "--batch_size=2")
  assert ran.code == 1
  assert "6/6" in screen.text()
  broken, = (row for row in screen.rows() if "3.png" in row)
  assert broken.startswith("vit_jax: error: ")
  assert not any(is_bar(row) for row in screen.rows())


def test_analyze_shows_a_bar(shown, checkpoint, pictures):
  (pictures / "3.png").unlink()
  ran, screen = shown(
      "analyze", f"--checkpoint={checkpoint}", f"--images={pictures}",
      f"--out={pictures / 'out'}", "--batch_size=5")
  assert ran.code == 0
  assert "0/5" in screen.text()
  assert not any(is_bar(row) for row in screen.rows())


@pytest.mark.slow
def test_training_keeps_its_log_lines_and_its_bar_apart(shown, tmp_path):
  config = os.path.join(os.path.dirname(__file__), "..", "tiny_config.py")
  ran, screen = shown(
      "train", f"--config={config}", f"--workdir={tmp_path / 'run'}",
      "--config.train.steps=4", "--config.train.eval_every=2",
      "--config.optim.warmup_steps=1", "--config.checkpoint.save_every=2")
  assert ran.code == 0, screen.text()
  rows = screen.rows()
  bars = [row for row in rows if is_bar(row)]
  assert len(bars) == 1
  assert "4/4" in bars[0]
  assert "loss" in bars[0]
  lines = [row for row in rows if not is_bar(row)]
  assert lines[0] == "vit_jax: starting to train"
  for line in lines[1:]:
    assert re.match(r"\d\d:\d\d:\d\d \S", line), line
    assert len(re.findall(r"\d\d:\d\d:\d\d ", line)) == 1, line
  assert sum("/4  val" in line and ": accuracy" in line
             for line in lines) == 2
  assert any("wrote" in line and "model.npz" in line for line in lines)
  assert lines[-1].split(" ", 1)[1].startswith("done: ")
