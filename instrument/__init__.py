"""From bytes on the wire to OpenTelemetry spans: seams, exchanges, extraction, conversation context."""
