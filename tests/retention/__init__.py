"""What is old enough goes, and leaves a tombstone; what is on hold stays."""
