"""Running one attempt: claim, render, run, report."""
