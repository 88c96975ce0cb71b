"""Processes and their figures: workers, signals, open files."""
