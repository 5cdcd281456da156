"""What a test wrote: result files, tables, the report. Needs no PyTorch."""
