"""Inject faults into running workers and check that no task is lost."""
