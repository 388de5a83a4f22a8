"""`python -m taktline`."""

import sys

from taktline.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
