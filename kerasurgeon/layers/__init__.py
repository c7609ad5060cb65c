"""What is known of each family of layers and ops: one file per family."""
