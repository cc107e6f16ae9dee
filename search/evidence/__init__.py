"""What the best trial is worth and why, gathered once and kept with the study."""
