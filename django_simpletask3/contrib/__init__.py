"""Apps that a project can add to ``INSTALLED_APPS`` beside the package itself."""
