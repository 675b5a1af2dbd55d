"""`python -m convcost`: see `convcost.application.cli`."""

import sys

from convcost.application.cli import main

if __name__ == "__main__":
    sys.exit(main())
