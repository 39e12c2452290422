"""Faults on purpose: kill everything, at any instruction, and see whether anything is lost."""
