"""`python -m service` is `lanner`, for checkouts that are not installed."""

from service.cli import main

main()
