"""`python -m ecdc.cli` is `ecdc`."""

from .main import main

if __name__ == "__main__":  # processes of --jobs import this file
    main()
