"""Uploaded pictures, their thumbnails and contact sheets."""
