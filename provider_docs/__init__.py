"""Facts: one Markdown file per provider, read by ``turnledger.instrument.documents``. No code lives here."""
