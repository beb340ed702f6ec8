"""The engine: values in, values out. Nothing in this folder may do I/O, read a clock or draw a random number."""
