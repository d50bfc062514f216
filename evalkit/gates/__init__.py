"""Rules over a run: each passes, fails or is inconclusive; the whole becomes an exit code."""
