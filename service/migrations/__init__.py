"""The database schema over time. The only place that sees the tables of all rooms.

`schema.py` is on the start-up path and knows only version words; `upgrade.py` brings Alembic in when it is needed.
"""
