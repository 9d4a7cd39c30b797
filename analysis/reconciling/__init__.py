"""Tie-out: what a ledger says of usage and costs against what providers say of them."""
