"""`python -m miss_client` is `miss`."""

from miss_client.cli import main

main()
