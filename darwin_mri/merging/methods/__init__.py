"""The merge methods for any number of parents, as pure functions of tensors."""
