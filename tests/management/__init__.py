"""No migration loses history by accident."""
