"""What a flow is, and what a namespace keeps. Imports no other room."""
