"""Run the command line as a module."""

from darwin_mri.cli import main

main()
