"""What is drawn and how: distributions, known recipes, samplers, pruners, the objective."""
