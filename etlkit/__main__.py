"""`python -m etlkit` is the command line."""

from etlkit.cli import main

main()
