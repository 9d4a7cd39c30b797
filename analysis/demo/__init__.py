"""The product's first minute: a local stub of the provider APIs and a small app that talks to it."""
