"""One module per family of flowables: how it begins and which child starts next. Ends are common (``progress.py``)."""
