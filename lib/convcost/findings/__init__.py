"""What follows from the measurements: stored tables in, tables out, one package per notebook.

Nothing here measures or imports torch. Claims, figures and notebooks share these numbers.
"""
