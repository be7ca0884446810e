"""Makes folders of small images out of patterns, for tests of layouts."""

import os

import numpy as np
import simplejpeg

from vit_jax.data.sources.patterns import expand_braces

JPEG = simplejpeg.encode_jpeg(np.full((4, 6, 3), 100, np.uint8))


def make(root, *patterns, count=20):
  """Makes files: "{cat,dog}/*.jpg" (`count` of each), "a/" or "a -> target".

  Args:
    root: the folder to make them in.
    *patterns: braces are expanded; what is not called .jpg holds text.
    count: how many files a * stands for.
  """
  for pattern in patterns:
    pattern, _, target = pattern.partition(" -> ")
    for name in expand_braces(pattern):
      for i in range(count if "*" in name else 1):
        path = os.path.join(root, name.replace("*", str(i)))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if target:
          os.symlink(target, path)
        elif not name.endswith("/"):
          with open(path, "wb") as file:
            file.write(JPEG if ".jpg" in name.lower() else b"text")
  return root


def labels(source):
  return [source[i]["label"] for i in range(len(source))]


def files(source, root):
  """Paths below the root of all examples of a source, in order."""
  return [source[i]["id"].removeprefix(f"{root}/") for i in range(len(source))]
