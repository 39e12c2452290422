"""Tests of tasks that wait for other tasks."""
