"""DAG files to read, run and change."""
