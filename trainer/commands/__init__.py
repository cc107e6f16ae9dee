"""The commands train, evaluate and predict: flags, what they do, what they print."""
