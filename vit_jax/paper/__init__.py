"""The paper as data: its tables and claims, and our results."""
