"""Events that must be heard are heard, at least once and in order."""
