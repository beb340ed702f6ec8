"""Who calls, and what he may do. One gate, one table; nothing here knows what a route does."""
