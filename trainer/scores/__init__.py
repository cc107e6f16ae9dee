"""What probabilities and decisions are worth: pure functions of tensors."""
