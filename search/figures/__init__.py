"""Records and evidence -> figures, each with a title and a caption; a figure a file."""
