"""Whole tasks, from a data folder or video files to finished files and a report.

Each task is a function that does its work and returns a report (`train`, `evaluate`, `extract`, `check`), and beside it
an iterator of its events that ends with the same report (`iter_train`, ...). What stops nothing, such as a bad row or a
video that cannot be read, is an event and goes to the logger `mttsg`; what stops the task is an `errors.MttsgError`.
"""
