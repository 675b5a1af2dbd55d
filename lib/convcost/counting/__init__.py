"""What a network costs in operations: formulas, shapes through a forward pass, conventions.

`convcost.count` is the function; `ops` and `conventions` work without torch.
"""
