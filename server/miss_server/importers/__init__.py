"""Reads the national register's files into the directory, and writes fictive ones.

One import, in this order: `layout` finds the columns, `activities` reads the lines, `staging` puts
each person's lines together (`merging`) in a temporary file and sorts them, `importing` compares
with the directory in force and has `storage` fill and publish the new one.
"""
