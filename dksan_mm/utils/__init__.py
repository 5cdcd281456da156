"""What all rooms share: files, errors, locks, timing, memory."""
