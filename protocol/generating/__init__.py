"""What `generate.py` is made of, one file for each kind of document."""
