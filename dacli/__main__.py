"""python -m dacli, without the code of the current folder, which Python puts first on its path."""

import os  # loaded before this file, as sys is: not from the current folder
import sys

if not sys.flags.safe_path:
    current = sys.path.pop(0)
    if os.path.samefile(current, os.path.dirname(os.path.dirname(__file__))):  # noqa: PTH120, PTH121 - without pathlib
        sys.path.append(current)  # the folder of dacli itself: after all other packages

from dacli.cli.main import main

main()
