"""``python -m vsbatch_core``: the same as the console script ``vsbatch``."""

import sys

from vsbatch_core.cli import main

sys.exit(main())
