"""How a stack takes its steps: in C, in torch, as a CUDA graph. Decides nothing."""
