"""One thin wrapper per HTTP client library; each fills the same capture lifecycle."""
