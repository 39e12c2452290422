"""What a project can add: apps for ``INSTALLED_APPS``, and fixtures for pytest."""
