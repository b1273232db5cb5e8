"""Backups: whether a file, once it is restored, can be used. It is read as it is, and nothing is restored to find out.

* :mod:`sources`: what a file may be, told by its first bytes; :mod:`dump` and :mod:`sqlite_file` read it row by row
* :mod:`check`: what the rows come to: keys needed, values that open, tables that are there
* :mod:`tables`: which tables there were at an older migration
* :mod:`service`: all of it together, and the record of it
"""
