"""The instruments: time, memory, zeros in activations, sparse execution."""
