"""Faster forms of the matching, each of which is tried against the method when it is first used (check.py)."""
