"""K networks of one shape as tensors with a leading axis K, and what each of them pays."""
