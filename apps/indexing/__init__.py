"""Indexing: walk a source, read what changed, keep its text in `indexed_files`.

`jobs` holds the handlers, `source` the seam between them and the places files come from (`local`, `drive`), `scan` the
walk and the step for one file, `extract` how bytes become text. Import the modules by name; nothing is imported here,
because the extraction child starts inside this package and must start fast.
"""
