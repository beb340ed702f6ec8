"""What triggers decide: values in, values out. Nothing in this folder may do I/O or read a clock."""
