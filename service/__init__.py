"""Faces and wiring: REST, pages, command line. Imports every room."""
