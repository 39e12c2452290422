"""Screenshots of the admin's pages, compared with those that the documentation shows."""
