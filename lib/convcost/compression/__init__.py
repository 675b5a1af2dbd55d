"""Nets made smaller or cheaper: filters and weights removed, fewer bits, low rank, exported.

Each module takes a net and gives a new one, or a file; what it was given is left as found.
`filters` takes chosen filters out of one chain, step by step, to be read; `pruned` does it to nets
with branches, and has masks and blocks that go. `lowrank` writes a convolution as a product,
`bits` rounds weights, `sparse_weights` runs what masks leave, `exported` makes ONNX files, with
8 bits if wanted, and runs them.
"""
