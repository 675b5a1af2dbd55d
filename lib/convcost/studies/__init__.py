"""The experiments of the notebooks that measure: one module each, rows for `convcost.records`.

A study puts the instruments together at the scale of a profile. What takes long is kept under
`data/raw/` as it comes, so that a study that was stopped goes on where it was.
"""
