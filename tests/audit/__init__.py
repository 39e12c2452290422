"""The ledger: rows against streams, recoveries, bundles."""
