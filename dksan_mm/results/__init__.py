"""Results of tests: files, tables, the report. Needs no PyTorch."""
