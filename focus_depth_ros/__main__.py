"""`python -m focus_depth_ros COMMAND`: the command line without its script."""

import sys

from focus_depth_ros.cli import main

sys.exit(main())
