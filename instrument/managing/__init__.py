"""Holding conversations for applications that want it: the history, what of it is sent, and where it is kept."""
