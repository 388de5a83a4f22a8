"""One database with the verdicts of many lines: PostgreSQL for a plant, SQLite for a few lines."""
