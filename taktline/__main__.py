"""`python -m taktline`."""

from taktline.cli.app import main

if __name__ == "__main__":
    main()
