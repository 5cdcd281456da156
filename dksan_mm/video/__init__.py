"""Videos and folders of frames, in and out. Needs NumPy and PyAV alone."""
