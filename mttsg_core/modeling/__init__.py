"""The network: the paper's modules, each for itself, and what joins them. Tensors in, tensors out."""
