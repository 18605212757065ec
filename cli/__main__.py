"""`python -m ecdc.cli` is `ecdc`."""

from .main import main

if __name__ == "__main__":  # worker processes of --jobs import this file too
    main()
