"""`python -m leyden` is `leyden`; the supervisor starts its roles this way."""

import sys

from leyden.cli import main

sys.exit(main())
