"""`python -m convcost`: see `convcost.cli`."""

import sys

from convcost.cli import main

if __name__ == "__main__":
    sys.exit(main())
