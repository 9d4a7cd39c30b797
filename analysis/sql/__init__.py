"""SQL models: one file, one model, one view. Package data; no code lives here."""
