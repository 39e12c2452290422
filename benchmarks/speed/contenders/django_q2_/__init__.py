"""Django Q2 with Redis as the broker and results in the database."""
