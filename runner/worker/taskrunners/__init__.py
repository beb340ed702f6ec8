"""Where a script's process runs: beside the worker, or in a container."""
