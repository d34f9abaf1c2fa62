"""What a search solves: the parents, the items that judge a candidate, the genes and what they do to tensors.

In optimisation this is called the problem. Stages, the arena and workers on other machines build it from the same
config.
"""
