"""The built-in types of the language: their properties, aliases, titles and outputs. Nothing here runs."""
