"""The audit of rows against streams, and exports."""
