"""``python -m oxd_server``."""

import os
import sys

# Python puts the current folder first on the import path here. What lies there is no part of the server.
if not sys.flags.safe_path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

from oxd_server.cli import main

sys.exit(main())
