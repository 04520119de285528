"""``python -m meshlib`` is the command line."""

from .cli import main

main()
