"""What kinds of annotation share."""
