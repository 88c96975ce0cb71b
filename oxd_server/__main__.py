"""``python -m oxd_server``."""

import sys

from oxd_server.cli import main

sys.exit(main())
