"""`python -m miss_server` is `miss-server`."""

from miss_server.cli import main

main()
