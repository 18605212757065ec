"""`python -m ecdc.cli` is `ecdc`."""

from .main import main

main()
