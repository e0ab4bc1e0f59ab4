"""`python -m forecaster`: the `forecaster` command."""

from forecaster.cli.app import main

if __name__ == "__main__":
    main()
