"""A study's scores: a table, in its folder, and as the project keeps them."""

import dataclasses
import datetime
import json
import platform
from typing import Any

from etils import epath
import jax

from vit_jax.devices.distributed import is_primary
from vit_jax.experiments.study import Study, StudyOutcome
from vit_jax.experiments.summary import summary_cells
from vit_jax.report.markdown import markdown_table
from vit_jax.training.provenance import commit
from vit_jax.training.workdir import environment
from vit_jax.weights.formats.atomic import write_whole

RECORD = "study.json"


def study_table(study: Study, outcome: StudyOutcome) -> list[list[str]]:
  """Returns the table: a header, then a line for each row that has run."""
  lines = [["row", "paper", "ours", "std", "runs"]]
  for name, summary in outcome.summary().items():
    paper = study.rows[name].paper
    lines.append([name, "-" if paper is None else f"{paper:.2%}",
                  *summary_cells(summary)])
  return lines


def published_result(
    study: Study, outcome: StudyOutcome, *, name: str, command: str,
    size: str, notes: str = "",
) -> dict[str, Any]:
  """Returns what vit_jax/paper/results keeps of a study.

  Args:
    study, outcome: what ran.
    name: of the experiment.
    command: that ran it.
    size: model, data and length of the runs, in words.
    notes: what a reader must know.
  """
  summaries = outcome.summary()
  return {
      "experiment": name, "command": command,
      "date": datetime.date.today().isoformat(),
      "device": jax.devices()[0].device_kind, "processor": _processor(),
      "size": size, "commit": commit(), "environment": environment(),
      "seeds": max((s["runs"] for s in summaries.values()), default=0),
      "metric": study.metric, "examples": outcome.examples,
      "seconds": round(outcome.seconds),
      "scores": summaries, "by_seed": outcome.scores, "notes": notes}


def _processor() -> str:
  """Returns the name of this machine's processor, "" where it has none."""
  try:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
      names = [line.partition(":")[2].strip() for line in file
               if line.startswith("model name")]
  except OSError:
    names = []
  return names[0] if names else platform.processor()


def write_record(
    workdir: str, study: Study, outcome: StudyOutcome
) -> None:
  """Writes study.json and study.md."""
  if not is_primary():
    return
  folder = epath.Path(workdir)
  record = dataclasses.asdict(outcome) | {
      "metric": study.metric, "summary": outcome.summary()}
  write_whole(folder / RECORD, (json.dumps(record, indent=2) + "\n").encode())
  header, *rows = study_table(study, outcome)
  page = (f"# {study.title} ({study.source})\n\n{study.metric}\n\n"
          + markdown_table(header, rows))
  write_whole(folder / "study.md", page.encode())
