"""Searching: waves of trials, their progress, the processes that share a study."""
