"""Counts of what was tried and how it ended; the table at the end."""

import collections

GOOD = ("read", "refused", "the same")
KINDS = ("read", "refused", "the same", "silently other", "crash", "hang",
         "memory", "other")
rows: dict[str, collections.Counter] = {}
details: list[str] = []


def add(name, counts, examples=()):
  """Adds outcomes, by kind, to a row; fails where one is not a good one."""
  rows.setdefault(name, collections.Counter()).update(counts)
  details.extend(examples)
  bad = {kind: n for kind, n in counts.items() if n and kind not in GOOD}
  assert not bad, "\n".join([f"{name}: {bad}", *examples])


def table():
  """Returns the lines of the table, in Markdown."""
  used = [kind for kind in KINDS if kind in GOOD or any(
      row[kind] for row in rows.values())]
  lines = ["| | tried | " + " | ".join(used) + " |",
           "|---|--:|" + "--:|" * len(used)]
  for name, row in rows.items():
    lines.append(f"| {name} | {sum(row.values()):,} | " + " | ".join(
        f"{row[kind]:,}" for kind in used) + " |")
  return lines
