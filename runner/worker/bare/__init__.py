"""What runs in the bare interpreter (``-I -S``): the spawner and the supervisors it forks.

Standard library only, and only light parts of it: every import here is paid by each server start.
"""
