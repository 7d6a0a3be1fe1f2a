"""Executors: what runs the tasks that the scheduler has queued."""
