"""Import orders from CSV files."""
