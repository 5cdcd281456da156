"""Shared by all packages: files, errors, locks, timing, memory."""
