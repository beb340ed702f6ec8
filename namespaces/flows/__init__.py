"""The flow document: reading, validating and the typed model. Pure: no I/O, no database, no clock."""
