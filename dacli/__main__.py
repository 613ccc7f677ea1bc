"""python -m dacli."""

from dacli.cli.main import main

main()
