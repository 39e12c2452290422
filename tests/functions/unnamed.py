"""A module that nothing imports: a row that names its function must not, either."""

raise AssertionError("imported")
