"""report.html of one or several runs: facts, curves, page."""
