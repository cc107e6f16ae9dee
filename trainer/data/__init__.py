"""A file -> columns in their roles, a split, features fitted on train rows. Knows no network."""
