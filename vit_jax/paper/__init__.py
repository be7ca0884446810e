"""The paper as data: its tables, its claims, and what came out here."""
